"""Faults of the database and of the way to it."""

import time
from contextlib import ExitStack
from datetime import timedelta
from random import Random
from signal import Signals

from sqlalchemy.exc import OperationalError

from cli.faults.fault import fault
from cli.faults.proxy import Trap
from cli.faults.weir import Weir
from cli.process_tree import signalled
from shared.database import connect
from shared.streams import STREAMS

COMMIT = b"COMMIT\0"
#: What the consumer logs while it waits for a database, and for a person.
WAITING, STUCK = "waiting to write", "operator action required: nothing can be written"
#: More than PostgreSQL lets in.
_MANY_CONNECTIONS = 120
_TERMINATE = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = 'weir consumer' AND datname = current_database()
"""


@fault("database-stopped", "25", starred=True, quick=True)
def database_stopped(weir: Weir, chance: Random) -> None:
    """PostgreSQL stops at once, as in a crash, and starts again up to ten seconds later."""
    weir.postgres.kill(Signals.SIGQUIT)
    time.sleep(chance.uniform(0, 10))
    weir.postgres.start()
    weir.postgres.ready()


@fault("database-frozen", "26", starred=True, settings={"WEIR_WRITE_DEADLINE": "3"})
def database_frozen(weir: Weir, chance: Random) -> None:
    """Every process of PostgreSQL stands still for up to ten seconds; the consumer waits three for a transaction."""
    with signalled(weir.postgres.pid, Signals.SIGSTOP, Signals.SIGCONT):
        time.sleep(chance.uniform(1, 10))


@fault("commit-unknown", "27", starred=True, quick=True)
def commit_unknown(weir: Weir, chance: Random) -> None:
    """The connection breaks after COMMIT was sent: half of the time it arrived, and the consumer cannot know."""
    for _ in range(3):
        trap = Trap(COMMIT, forward=chance.random() < 0.5)  # noqa: PLR2004
        weir.spring(trap)
        time.sleep(chance.uniform(0.1, 0.5))
        weir.consumer_to_database.reset()


@fault("backend-terminated", "28")
def backend_terminated(weir: Weir, chance: Random) -> None:
    """An administrator ends the consumer's session, five times at any moment."""
    for _ in range(5):
        weir.sql(_TERMINATE)
        time.sleep(chance.uniform(0, 0.5))


@fault("connections-exhausted", "29")
def connections_exhausted(weir: Weir, chance: Random) -> None:
    """Others hold every connection that PostgreSQL gives out, for some seconds."""
    engine = connect(weir.database_url, pool_size=_MANY_CONNECTIONS, statement_deadline=timedelta(seconds=30))
    weir.sql("SELECT 1")  # keeps a connection for the next statement
    with ExitStack() as held:
        held.callback(engine.dispose)
        until = time.monotonic() + chance.uniform(4, 8)
        ended = False
        while time.monotonic() < until:
            try:
                held.enter_context(engine.connect())
            except OperationalError:
                if not ended:
                    weir.sql(_TERMINATE)
                ended = True
                time.sleep(0.01)
        weir.expect(ended, "the connections did not run out")
    weir.expect_consumer_said(WAITING)


def _chaos(name: str, numbers: str, state: str, meaning: str) -> None:
    """Put a fault into the table that has the database answer most writes with an SQLSTATE."""

    def inject(weir: Weir, chance: Random) -> None:
        weir.sql(f"""
            CREATE FUNCTION chaos() RETURNS trigger LANGUAGE plpgsql AS
            $$BEGIN IF random() < 0.9 THEN RAISE 'chaos' USING ERRCODE = '{state}'; END IF; RETURN NULL; END$$
        """)
        for stream in STREAMS:
            weir.sql(
                f"CREATE TRIGGER chaos BEFORE INSERT ON {stream.table} FOR EACH STATEMENT EXECUTE FUNCTION chaos()"
            )
        time.sleep(chance.uniform(2, 6))
        weir.sql("DROP FUNCTION chaos CASCADE")
        weir.expect_consumer_said(WAITING)

    inject.__doc__ = f"Nine of ten writes end with SQLSTATE {state}, {meaning}, for some seconds."
    fault(name, numbers)(inject)


_chaos("disk-full", "30", "53100", "disk full")
_chaos("out-of-memory", "30", "53200", "out of memory")
_chaos("deadlock", "32", "40P01", "deadlock detected")
_chaos("serialization-failure", "32", "40001", "serialization failure")


@fault("read-only", "31")
def read_only(weir: Weir, chance: Random) -> None:
    """The database is read-only for some seconds, for every new connection."""
    setting = f"ALTER DATABASE {weir.name} SET default_transaction_read_only"
    weir.administer(f"{setting} = on")
    try:
        weir.sql(_TERMINATE)
        time.sleep(chance.uniform(2, 6))
    finally:
        weir.administer(f"{setting} = off")
    weir.expect_consumer_said(WAITING)


@fault("table-missing", "34", quick=True)
def table_missing(weir: Weir, chance: Random) -> None:
    """The tables have other names for some seconds, as after half a migration: nothing may be dead-lettered."""
    for stream in STREAMS:
        weir.sql(f"ALTER TABLE {stream.table} RENAME TO {stream.table}_elsewhere")
    time.sleep(chance.uniform(2, 6))
    for stream in STREAMS:
        weir.sql(f"ALTER TABLE {stream.table}_elsewhere RENAME TO {stream.table}")
    weir.expect_consumer_said(STUCK)


@fault("column-missing", "34")
def column_missing(weir: Weir, chance: Random) -> None:
    """A column of each table has another name for some seconds: nothing may be dead-lettered."""
    for stream in STREAMS:
        weir.sql(f"ALTER TABLE {stream.table} RENAME COLUMN {stream.columns[-1]} TO elsewhere")
    time.sleep(chance.uniform(2, 6))
    for stream in STREAMS:
        weir.sql(f"ALTER TABLE {stream.table} RENAME COLUMN elsewhere TO {stream.columns[-1]}")
    weir.expect_consumer_said(STUCK)
