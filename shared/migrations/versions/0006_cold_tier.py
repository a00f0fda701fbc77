"""The manifest of the cold tier; how long a device's records are kept."""

from alembic import op

revision = "0006"
down_revision = "0005"

STATEMENTS = (
    # What is here is live: a file that another has taken the place of is among the leftovers.
    """
    CREATE TABLE cold_files (
        id uuid PRIMARY KEY,
        stream text NOT NULL,
        day date NOT NULL,
        path text NOT NULL UNIQUE,
        rows bigint NOT NULL CHECK (rows > 0),
        bytes bigint NOT NULL,
        sha256 bytea NOT NULL,
        footer_sha256 bytea NOT NULL,
        first timestamptz NOT NULL,
        last timestamptz NOT NULL,
        sealed_at timestamptz NOT NULL DEFAULT now(),
        UNIQUE (stream, day)
    )
    """,
    # One value per axis. A sum is exact: floats to be added up, with zeros where another axis needs more of them.
    """
    CREATE TABLE cold_summaries (
        file uuid REFERENCES cold_files ON DELETE CASCADE,
        device_key integer,
        first_row bigint NOT NULL,
        rows bigint NOT NULL,
        first timestamptz NOT NULL,
        last timestamptz NOT NULL,
        min double precision[] NOT NULL,
        max double precision[] NOT NULL,
        sum double precision[][] NOT NULL,
        PRIMARY KEY (file, device_key)
    )
    """,
    # Paths at which a file may be that does not count: no longer, or not yet. One is here before its file is begun.
    """
    CREATE TABLE cold_leftovers (
        path text PRIMARY KEY,
        was_live boolean NOT NULL,
        since timestamptz NOT NULL DEFAULT now()
    )
    """,
    # The mark that is in the store, too: one row, once something was sealed.
    "CREATE TABLE cold_store (id uuid NOT NULL, one boolean PRIMARY KEY DEFAULT true CHECK (one))",
    # No other times can be asked for, or sealed. The days' partitions have bounds of their own. Rows of before are let be.
    """
    ALTER TABLE readings_default ADD CONSTRAINT readings_default_time
    CHECK (time >= '0001-01-01 00:00:00+00' AND time < '10000-01-01 00:00:00+00') NOT VALID
    """,
    "ALTER TABLE devices ADD COLUMN retention_days integer CHECK (retention_days > 0)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
