"""Which variant of which experiment answered whom, and what happened after a forecast."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns and the table; all that was logged before came from champions."""
    op.add_column("forecasts", sa.Column("variant", sa.Text(), nullable=False, server_default="champion"))
    op.add_column("forecasts", sa.Column("experiment", sa.Text()))
    op.add_column("forecasts", sa.Column("user_token", sa.Text()))
    op.create_index("forecasts_by_experiment", "forecasts", ["experiment"])
    op.create_table(
        "outcomes",
        sa.Column("model", sa.Text(), primary_key=True),
        sa.Column("symbol", sa.Text(), primary_key=True),
        sa.Column("known_at", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("horizon_bars", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("return_bps", sa.Double(), nullable=False),
    )
