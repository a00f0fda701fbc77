"""Imported history lies among itself in the default partition: each of its days is found, and read without the others."""

from datetime import date, timedelta

import pytest
from factories import Weir
from sealed import engine_of

from shared.cold import hot
from shared.streams import STREAMS, Stream

FIRST, DAYS, ROWS = date(2024, 1, 1), 400, 100_000
VALUES = {
    "readings": "mod(n, 5), {time}, 0, 0, 0",
    "events": "gen_random_uuid(), {time}, 'user', 'login', '{{}}'",
}


@pytest.fixture(params=STREAMS, ids=lambda stream: stream.name)
def stream(request: pytest.FixtureRequest, weir: Weir) -> Stream:
    """Records of four hundred days, in no order."""
    stream: Stream = request.param
    time = f"timestamptz '{FIRST} 00:00:00+00' + mod(n * 7919, {ROWS}) * interval '{DAYS} days' / {ROWS}"
    values = VALUES[stream.name].format(time=time)
    weir.rows(f"INSERT INTO {stream.table} SELECT {values} FROM generate_series(1, {ROWS}) n")
    weir.rows(f"ANALYZE {stream.table}")
    return stream


def test_every_day_is_found_and_read_without_the_others(weir: Weir, stream: Stream) -> None:
    """Sealing would take the square of the days otherwise."""
    days = [FIRST + timedelta(days=number) for number in range(DAYS)]
    with engine_of(weir) as engine, engine.connect() as connection:
        found = hot.sources(connection, stream, FIRST + timedelta(days=2 * DAYS))
        assert [source.day for source in found] == days
        assert [source.day for source in hot.sources(connection, stream, days[7])] == days[:7]
        source = found[DAYS // 2]
        assert hot.rows_in(connection, source) == ROWS // DAYS
        query = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM {source.table} WHERE {source.inside}"
        plan = connection.exec_driver_sql(query).scalar_one()[0]["Plan"]
        pages = connection.exec_driver_sql(f"SELECT pg_relation_size('{source.table}') / 8192").scalar_one()
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < pages / 2
