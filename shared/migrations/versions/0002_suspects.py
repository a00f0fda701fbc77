"""Messages that the consumer handles alone because it died with them before."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("CREATE TABLE suspects (receipt uuid PRIMARY KEY, attempts integer NOT NULL DEFAULT 1)")
