"""Receipts by stream and age: the newest of each stream says which of its own are old.

Writing waits while the index is made, and what is accepted meanwhile waits in the queue.
"""

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.execute("CREATE INDEX receipts_stream_at ON receipts (stream, at)")
    op.execute("DROP INDEX receipts_at")
