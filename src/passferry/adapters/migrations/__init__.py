"""Alembic's scripts: one revision a version of the tables, forward only. `adapters/migrate.py` runs them."""
