"""Ordered copies of cold files, and the bounds of their blocks."""

from alembic import op

revision = "0010"
down_revision = "0009"

STATEMENTS = (
    """
    CREATE TABLE cold_ordered (
        file uuid PRIMARY KEY REFERENCES cold_files ON DELETE CASCADE,
        path text NOT NULL UNIQUE,
        bytes bigint NOT NULL,
        sha256 bytea NOT NULL
    )
    """,
    # Per axis the records of shared/cold/ordered.py, back to back.
    """
    CREATE TABLE cold_blocks (
        file uuid REFERENCES cold_ordered ON DELETE CASCADE,
        device_key integer,
        blocks bytea[] NOT NULL,
        PRIMARY KEY (file, device_key)
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
