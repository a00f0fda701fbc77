"""How many distinct users the events of a sealed day have, so that its file is read once for it."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE cold_users (
            file uuid PRIMARY KEY REFERENCES cold_files ON DELETE CASCADE,
            users bigint NOT NULL
        )
    """)
