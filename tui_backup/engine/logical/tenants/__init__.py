"""One tenant's rows in a database that many share: which they are, and how SQL tells."""
