"""Users, devices, readings, receipts, the ledger and jobs."""

from alembic import op

revision = "0001"
down_revision = None

STATEMENTS = (
    """
    CREATE TABLE users (
        id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text NOT NULL,
        email text NOT NULL
    )
    """,
    "CREATE UNIQUE INDEX users_email ON users (lower(email))",
    """
    CREATE TABLE devices (
        id uuid PRIMARY KEY,
        key integer GENERATED ALWAYS AS IDENTITY UNIQUE,
        user_id integer NOT NULL REFERENCES users,
        name text
    )
    """,
    "CREATE INDEX devices_user ON devices (user_id, key)",
    # No foreign key to devices: it costs a fifth of the speed, and keys come only from the devices table.
    # NaN sorts above Infinity in PostgreSQL, so the upper bounds keep it out too.
    """
    CREATE TABLE readings (
        device_key integer NOT NULL,
        time timestamptz NOT NULL,
        x double precision NOT NULL CHECK (x > '-Infinity' AND x < 'Infinity'),
        y double precision NOT NULL CHECK (y > '-Infinity' AND y < 'Infinity'),
        z double precision NOT NULL CHECK (z > '-Infinity' AND z < 'Infinity')
    ) PARTITION BY RANGE (time)
    """,
    "CREATE INDEX readings_device_time ON readings (device_key, time)",
    # For "newest of all devices": a second btree would cost a quarter of the write speed, this costs nothing.
    "CREATE INDEX readings_time ON readings USING brin (time)",
    "CREATE TABLE readings_default PARTITION OF readings DEFAULT",
    """
    CREATE TABLE receipts (
        id uuid PRIMARY KEY,
        stream text NOT NULL,
        stored integer NOT NULL,
        dead json,
        at timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE ledger (
        stream text,
        minute timestamptz,
        accepted bigint NOT NULL DEFAULT 0,
        stored bigint NOT NULL DEFAULT 0,
        duplicate bigint NOT NULL DEFAULT 0,
        dead bigint NOT NULL DEFAULT 0,
        PRIMARY KEY (stream, minute)
    )
    """,
    # A commit whose outcome is unknown is tried again under the same id, and counts once.
    """
    CREATE TABLE acceptance_flushes (
        id uuid PRIMARY KEY,
        at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX ledger_open ON ledger (stream) WHERE accepted > stored + duplicate + dead",
    """
    CREATE TABLE jobs (
        id uuid PRIMARY KEY,
        kind text NOT NULL,
        parameters json NOT NULL,
        status text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'running', 'done', 'failed', 'expired')),
        attempts integer NOT NULL DEFAULT 0,
        sent_at timestamptz NOT NULL DEFAULT now(),
        started_by uuid,
        started_at timestamptz,
        finished_at timestamptz,
        result json,
        error text
    )
    """,
    "CREATE INDEX jobs_waiting ON jobs (sent_at) WHERE status IN ('queued', 'running')",
    "CREATE INDEX jobs_finished ON jobs (finished_at) WHERE status IN ('done', 'failed')",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
