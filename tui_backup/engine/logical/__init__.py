"""Logical backups: consistent copies of databases, tables cut into chunks of COPY text, and their way back."""
