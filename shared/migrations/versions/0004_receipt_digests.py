"""What was sent under an Idempotency-Key, as a digest: another body under it is noticed."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute("ALTER TABLE receipts ADD COLUMN digest bytea")
