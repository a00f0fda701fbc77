"""Receipts by id and stream: two streams may use the same id. And which records of an event's submission came again.

Writing waits while the index is made, and what is accepted meanwhile waits in the queue.
"""

from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.execute("ALTER TABLE receipts DROP CONSTRAINT receipts_pkey, ADD PRIMARY KEY (id, stream)")
    op.execute("ALTER TABLE receipts ADD COLUMN duplicates int4multirange")
