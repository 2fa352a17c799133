"""Version 2: several processes share one database, and each org has one owner among them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Processes with their heartbeat, the owner of an org, and indexes for what grew slow with the tables."""
    op.create_table(
        "workers",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("seen_at", sa.Double, nullable=False),
    )
    op.add_column("orgs", sa.Column("owner", sa.Text))
    # The last programs of version 1 made this index themselves.
    op.create_index("idempotency_created", "idempotency", ["created_at"], if_not_exists=True)
    op.create_index(
        "changes_expiring",
        "changes",
        ["org", "expires_at"],
        sqlite_where=sa.text("live = 1"),
        postgresql_where=sa.text("live"),
    )
    kinds = sa.text("kind IN ('audit.exported', 'audit.pruned')")
    op.create_index(
        "audit_about_the_trail",
        "audit",
        ["org", "kind", "seq"],
        sqlite_where=kinds,
        postgresql_where=kinds,
    )
