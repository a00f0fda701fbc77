"""What is left of jobs whose answer is not kept any more: what they had seen goes with it, and later the row."""

from alembic import op

revision = "0014"
down_revision = "0013"

STATEMENTS = (
    "UPDATE jobs SET question = NULL, seen = NULL WHERE status = 'expired'",
    "CREATE INDEX jobs_expired ON jobs (finished_at) WHERE status = 'expired'",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
