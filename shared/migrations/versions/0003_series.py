"""The ledger by series, so that no count depends on the life of a process; receipts by age, to forget them."""

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = (
    # Messages from before have no series: the consumer counts them as accepted itself, once it settles them.
    "UPDATE ledger SET accepted = stored + duplicate + dead WHERE accepted <> stored + duplicate + dead",
    "ALTER TABLE ledger ADD series uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000'",
    "ALTER TABLE ledger DROP CONSTRAINT ledger_pkey, ADD PRIMARY KEY (stream, minute, series)",
    "ALTER TABLE ledger ALTER series DROP DEFAULT",
    "DROP TABLE acceptance_flushes",
    "CREATE INDEX receipts_at ON receipts (at)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
