"""Version 3: a source may be stopped."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Sources that may send so many changes an hour and no more."""
    op.create_table(
        "sources",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("stopped_at", sa.Double),
        sa.Column("recent", sa.Text, nullable=False),
    )
