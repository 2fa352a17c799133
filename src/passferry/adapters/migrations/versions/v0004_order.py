"""Version 4: which of two references has the newer password can be told later."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """When the newest change of a reference was accepted. Of those from before it is not known."""
    op.add_column("users", sa.Column("newest_accepted_at", sa.Double))
