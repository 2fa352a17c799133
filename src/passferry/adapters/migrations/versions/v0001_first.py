"""Version 1: where every upgrade begins.

A database of version 1 has its tables and no mark of Alembic's, so this revision is the first that is run on
it. New databases are made from `schema.py`; the tables of version 1 stand in tests/data/schema-1-*.sql alone.
"""

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Nothing: it is there."""
