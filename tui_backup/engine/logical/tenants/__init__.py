"""One tenant's rows in a database that many share: which they are, and how SQL tells.

Restoring them in place while everybody works (``restore.py``): why no row of anybody else is touched, and why nothing
is left pointing nowhere.

1. Only these statements write to live tables: DELETE and UPDATE of rows that a plan names by place and version, INSERT
   of staged rows. The plan names rows that the live map's condition gave; before they are changed they are locked, and
   only those that are still the same version (ctid and xmin, so that a reused place is another row) and still the
   tenant's. If one is not, the transaction ends and the plan is made anew.
2. Every staged row is checked by the live map's condition, where ways to the owner lead through the staged rows of the
   tables that are restored; names, types and conditions come from the live catalog, only values from the backup.
3. At the end, in the same transaction, the plan is made once more and must be empty: the rows that are the tenant's
   then are those of the backup, as multisets, by their text. A row that is not the tenant's would be missing there.
4. Isolation is READ COMMITTED on purpose: each statement sees what was committed before it, which the two rules below
   need. What the tenant's own sessions commit before the last comparison is found by it (and the plan made anew). What
   they commit after it has happened after the restore: a row that the restore changes they cannot have changed, it is
   locked. (They may have read what stood there before, as in any two transactions of that isolation level.)
5. Foreign keys. In an ordinary session the server checks them; all changes are one statement, so that it looks at the
   end state, and a key with ON DELETE CASCADE finds no child left. In a replica's session it does not, and we do:
   - Rows that go: they are locked FOR UPDATE first, in an earlier statement than the question who refers to them. A
     session that inserts a reference holds KEY SHARE on the row that it refers to: either it came first, then our lock
     waited for its commit and the later statement sees its row; or it comes later, then it waits for our commit and
     finds the row gone. Nothing slips in between.
   - Rows that come or change: the rows that they refer to are locked FOR KEY SHARE, in an earlier statement than the
     search for references that lead nowhere. A session that deletes such a row either came first, then it is missed by
     the search; or it waits for our commit, and its own check meets our row.
   Unique indexes are never off; deferrable unique and exclusion constraints are checked by triggers, so with those the
   session stays an ordinary one.
6. Locks: ROW EXCLUSIVE on the tables, which every writer takes, and row locks on rows of the tenant, and KEY SHARE on
   rows that they refer to. The exception, which is said beforehand: a login that may not be a replica disables triggers
   by ALTER TABLE, and for those tables other writers wait until the end.
"""
