"""The tables of the first log; a SQLite file that has them already is taken over as it is."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables that are absent."""
    op.create_table(
        "forecasts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("known_at", sa.BigInteger(), nullable=False),
        sa.Column("abstention", sa.Text()),
        sa.Column("asked_at", sa.BigInteger(), nullable=False),
        sa.Column("latency_ms", sa.Double(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("forecast", sa.Text(), nullable=False),
        if_not_exists=True,
    )
    op.create_index("forecasts_by_time", "forecasts", ["model", "known_at"], if_not_exists=True)
    op.create_table(
        "inputs",
        sa.Column("input_sha256", sa.Text(), primary_key=True),
        sa.Column("newest", sa.LargeBinary(), nullable=False),
        if_not_exists=True,
        sqlite_with_rowid=False,
    )
