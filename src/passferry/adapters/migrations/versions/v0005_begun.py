"""Version 5: of what was sent to a user it is known when it was chosen, whatever became of its reference."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """What was sent before has only its place in accept order."""
    op.add_column("accounts", sa.Column("begun_seq", sa.BigInteger))
    op.add_column("accounts", sa.Column("begun_at", sa.Double))
    op.add_column("accounts", sa.Column("begun_source", sa.Text))
    op.add_column("accounts", sa.Column("begun_accepted_at", sa.Double))
