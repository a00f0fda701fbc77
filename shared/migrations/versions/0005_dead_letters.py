"""Dead letters as rows, and what people did with them."""

from alembic import op

revision = "0005"
down_revision = "0004"

STATEMENTS = (
    # What came from the broker is never changed: an edit stands beside the body.
    """
    CREATE TABLE dead_letters (
        id uuid PRIMARY KEY,
        number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
        stream text NOT NULL,
        device_id uuid,
        receipt uuid,
        index integer,
        content_type text NOT NULL,
        body bytea NOT NULL,
        headers json NOT NULL,
        code text NOT NULL,
        reason text NOT NULL,
        attempts integer NOT NULL DEFAULT 1,
        first_seen timestamptz NOT NULL,
        last_seen timestamptz NOT NULL,
        state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'replaying', 'replayed', 'discarded')),
        edited bytea,
        replay uuid NOT NULL UNIQUE,
        replay_of uuid REFERENCES dead_letters ON DELETE SET NULL,
        replays integer NOT NULL DEFAULT 0
    )
    """,
    "CREATE INDEX dead_letters_open ON dead_letters (number) WHERE state IN ('open', 'replaying')",
    "CREATE INDEX dead_letters_device ON dead_letters (device_id, number)",
    "CREATE INDEX dead_letters_replay_of ON dead_letters (replay_of)",
    """
    CREATE TABLE dead_letter_acts (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        letter uuid NOT NULL REFERENCES dead_letters ON DELETE CASCADE,
        at timestamptz NOT NULL DEFAULT now(),
        act text NOT NULL CHECK (act IN ('edit', 'replay', 'discard')),
        by text,
        why text,
        edited bytea
    )
    """,
    "CREATE INDEX dead_letter_acts_letter ON dead_letter_acts (letter)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
