"""Events of imported history by time: they lie among each other, in any order, and each of their days is sealed alone."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    # A BRIN tells nothing where each page has records of many days. Readings have an index of device and time, in which
    # PostgreSQL skips from device to device; another would cost as much as writing them does.
    op.execute("CREATE INDEX events_default_by_time ON events_default (time)")
