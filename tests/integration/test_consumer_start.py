"""A consumer that is told to end while it still starts does so."""

from factories import Weir

from consumer import partitions


def test_consumer_that_waits_for_its_first_upkeep_ends_when_it_is_told_to(weir: Weir) -> None:
    waiting = """
        SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
        WHERE d.datname = %s AND l.locktype = 'advisory' AND NOT l.granted
    """
    with weir.connection() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (partitions.LOCK,))
        weir.start("consumer")
        weir.wait_for(lambda: bool(weir.scalar(waiting, weir.name)))
        assert weir.stop("consumer") == 0
    assert "partitions wait" not in weir.log("consumer")  # it says so when it has waited to the end
