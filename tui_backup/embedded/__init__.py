"""The PostgreSQL that the product starts itself, for a catalog without a server of one's own and for the demo."""

from tui_backup.embedded.instance import EmbeddedPostgres

__all__ = ["EmbeddedPostgres"]
