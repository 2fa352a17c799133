"""Version 4: which of two references has the newer password can be told later."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """When the newest change of a reference was accepted: known of those whose newest change is stored."""
    op.add_column("users", sa.Column("newest_accepted_at", sa.Double))
    op.execute(
        "UPDATE users SET newest_accepted_at = changes.accepted_at FROM changes"
        " WHERE changes.org = users.org AND changes.user_key = users.key AND changes.seq = users.newest_seq"
    )
