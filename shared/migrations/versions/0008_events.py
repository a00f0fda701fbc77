"""Events, each stored once by its id, and in receipts how many were there already."""

from alembic import op

revision = "0008"
down_revision = "0007"

STATEMENTS = (
    """
    CREATE TABLE events (
        event_id uuid NOT NULL,
        time timestamptz NOT NULL,
        user_id text NOT NULL,
        event_type text NOT NULL,
        properties jsonb NOT NULL DEFAULT '{}'
    ) PARTITION BY RANGE (time)
    """,
    "CREATE INDEX events_time ON events USING brin (time)",
    """
    CREATE TABLE events_default PARTITION OF events (
        CONSTRAINT events_default_time CHECK (time >= '0001-01-01 00:00:00+00' AND time < '10000-01-01 00:00:00+00')
    ) DEFAULT
    """,
    # Beside the partitions and not in them: an event that comes again after its day was sealed and dropped is known.
    "CREATE TABLE event_ids (id uuid PRIMARY KEY)",
    "ALTER TABLE receipts ADD duplicate integer NOT NULL DEFAULT 0",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
