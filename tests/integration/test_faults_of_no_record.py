"""An error of the database that no record is to blame for dead-letters nothing, whatever its class; it is waited for."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from factories import Weir, channel_to, good_row, group_of, publish_group

from shared.database import CANCELLED
from shared.streams import EVENTS, READINGS, STREAMS, Stream

#: One or two of each class of https://www.postgresql.org/docs/18/errcodes-appendix.html that a statement can end with.
STATES = [
    "08006", "0A000", "21000", "22003", "22P02", "23505", "23514", "25006", "25P04", "28000", "2F003", "34000", "3F000",
    "40001", "42501", "42P01", "53100", "54000", "54001", "55000", "55P03", CANCELLED, "57P05", "58030", "72000", "P0001",
    "XX000", "XX001",
]  # fmt: skip
#: More attempts than a few seconds of growing waits leave room for, and far fewer than a loop without them makes.
MOST_ATTEMPTS = 60


@contextmanager
def raising(weir: Weir, table: str, state: str) -> Iterator[None]:
    """Have every row that comes into a table end the statement; attempts are counted by a sequence, which nothing undoes."""
    weir.rows("CREATE SEQUENCE IF NOT EXISTS attempts")
    weir.rows(f"""
        CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            PERFORM nextval('attempts');
            RAISE EXCEPTION 'refused by the test' USING ERRCODE = '{state}';
        END $$
    """)
    weir.rows(f"CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION refuse()")
    try:
        yield
    finally:
        weir.rows(f"DROP TRIGGER refuse ON {table}")


def said(weir: Weir) -> int:
    log = weir.log("consumer")
    return log.count("nothing can be written") + log.count("waiting to write")


async def waits_and_goes_on(weir: Weir, stream: Stream, table: str, states: list[str]) -> None:
    """Raise each state in turn while two messages wait; afterwards all is stored and nothing is dead."""
    weir.start("consumer")
    stored = 0
    async with channel_to(weir.amqp_url) as channel:
        for state in states:
            before = said(weir)
            with raising(weir, table, state):
                for _ in range(2):
                    rows = [good_row(stream, stored), good_row(stream, stored + 1)]
                    await publish_group(channel, group_of((rows, None), stream=stream))
                    stored += 2
                weir.wait_for(lambda before=before: said(weir) >= before + 2)
                attempts = weir.scalar("SELECT last_value FROM attempts")
                assert attempts < MOST_ATTEMPTS, state
            weir.wait_until_stored(stored, stream=stream)
            weir.rows("ALTER SEQUENCE attempts RESTART")
    assert weir.rows("SELECT * FROM dead_letters") == []
    assert weir.scalar("SELECT count(*) FROM receipts WHERE dead IS NOT NULL") == 0


async def test_receipts_that_cannot_be_written_are_waited_for_whatever_the_class(weir: Weir) -> None:
    await waits_and_goes_on(weir, READINGS, "receipts", STATES)


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
@pytest.mark.parametrize("table", ["receipts", "ledger", "ledger_stored"])
async def test_tables_beside_the_records_are_waited_for(weir: Weir, stream: Stream, table: str) -> None:
    await waits_and_goes_on(weir, stream, table, ["54000", "22003", "23514", "53100", "42P01"])


async def test_identities_that_cannot_be_written_are_waited_for(weir: Weir) -> None:
    assert EVENTS.identities is not None
    await waits_and_goes_on(weir, EVENTS, EVENTS.identities, ["54000", "22003", "23514", "53100", "42P01"])


async def test_table_of_records_that_takes_none_for_no_reason_of_theirs_is_waited_for(weir: Weir) -> None:
    await waits_and_goes_on(weir, READINGS, "readings", ["53100", "42P01", "0A000", "P0001", "XX000"])
