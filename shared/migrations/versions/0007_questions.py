"""Jobs that are asked for again, told how far they are, and cancelled."""

from alembic import op

revision = "0007"
down_revision = "0006"

STATEMENTS = (
    """
    ALTER TABLE jobs
        DROP CONSTRAINT jobs_status_check,
        ADD CONSTRAINT jobs_status_check
            CHECK (status IN ('queued', 'running', 'done', 'failed', 'cancelled', 'expired')),
        ADD progress smallint NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
        ADD question bytea,
        ADD askers integer NOT NULL DEFAULT 1,
        ADD asked_at timestamptz NOT NULL DEFAULT now(),
        ADD seen json,
        ADD checked_at timestamptz,
        ADD checked_queued bigint
    """,
    # Whoever asks what is asked already joins it: of a question one job at most waits for its start.
    "CREATE UNIQUE INDEX jobs_question_queued ON jobs (question) WHERE status = 'queued'",
    "CREATE INDEX jobs_question_asked ON jobs (question, asked_at) WHERE status IN ('running', 'done')",
    "DROP INDEX jobs_finished",
    "CREATE INDEX jobs_finished ON jobs (finished_at) WHERE status IN ('done', 'failed', 'cancelled')",
    # With what forgotten minutes of the ledger stored, the number of all that was ever stored never becomes smaller.
    "CREATE TABLE ledger_forgotten (stream text PRIMARY KEY, stored bigint NOT NULL)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
