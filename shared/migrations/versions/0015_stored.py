"""What was ever stored of a stream as a few counts, which a question need not add up from all minutes of the ledger."""

from alembic import op

revision = "0015"
down_revision = "0014"

STATEMENTS = (
    # Rows that change with each batch: where there is room beside them, an update touches no index.
    """
    CREATE TABLE ledger_stored (
        stream text,
        part smallint,
        stored bigint NOT NULL,
        PRIMARY KEY (stream, part)
    ) WITH (fillfactor = 50)
    """,
    # What a consumer writes meanwhile would count in neither.
    "LOCK TABLE ledger IN SHARE MODE",
    """
    INSERT INTO ledger_stored (stream, part, stored)
    SELECT stream, 0, sum(stored) FROM (
        SELECT stream, stored FROM ledger UNION ALL SELECT stream, stored FROM ledger_forgotten
    ) l GROUP BY stream
    """,
    "DROP TABLE ledger_forgotten",
    # What a consumer of before still stored would be missing from their answers, and nobody would know.
    "UPDATE jobs SET question = NULL WHERE question IS NOT NULL",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
