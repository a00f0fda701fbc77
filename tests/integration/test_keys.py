"""Idempotency-Keys: another process's are known from what is stored, and a database that is away stops nobody."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from factories import Weir

from api.errors import KeyReused
from api.ingest import keys as keys_module
from api.ingest.keys import Keys
from shared.broker.messages import digest_of
from shared.database import DatabaseThreads, connect

FIRST, OTHER = digest_of(b"first"), digest_of(b"other")


@pytest.fixture
def keys(weir: Weir) -> Iterator[Keys]:
    engine = connect(weir.database_url, pool_size=2, statement_deadline=timedelta(seconds=30))
    threads = DatabaseThreads(2)
    yield Keys(engine, threads, 3)
    threads.close()
    engine.dispose()


def stored(weir: Weir, digest: bytes | None) -> object:
    receipt = uuid4()
    weir.rows("INSERT INTO receipts VALUES (%s, 'readings', 1, NULL, now(), %s)", str(receipt), digest)
    return receipt


async def test_another_body_of_what_is_stored_is_refused(weir: Weir, keys: Keys) -> None:
    receipt = stored(weir, FIRST)
    for _ in range(2):
        await keys.claim(receipt, FIRST)
        with pytest.raises(KeyReused):
            await keys.claim(receipt, OTHER)


async def test_first_of_several_bodies_at_once_has_the_key(keys: Keys) -> None:
    receipt = uuid4()
    claims = [keys.claim(receipt, digest) for digest in (FIRST, OTHER, FIRST, OTHER)]
    refused = await asyncio.gather(*claims, return_exceptions=True)
    assert [type(one) for one in refused] == [type(None), KeyReused, type(None), KeyReused]


async def test_keys_that_wait_together_are_one_query(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, query = [], keys._query

    def seen(receipts):
        asked.append(len(receipts))
        return query(receipts)

    monkeypatch.setattr(keys, "_query", seen)
    await asyncio.gather(*(keys.claim(uuid4(), FIRST) for _ in range(20)))
    assert sum(asked) == 20
    assert len(asked) <= 2  # the first alone, when it was on its way already


async def test_receipt_of_a_version_before_has_no_digest_and_takes_the_next(weir: Weir, keys: Keys) -> None:
    receipt = stored(weir, None)
    await keys.claim(receipt, FIRST)
    with pytest.raises(KeyReused):
        await keys.claim(receipt, OTHER)


async def test_database_that_is_away_is_asked_once_a_second_and_stops_nobody(
    weir: Weir, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    weir.administer(f"ALTER DATABASE {weir.name} ALLOW_CONNECTIONS false")
    receipt = uuid4()
    await keys.claim(receipt, FIRST)
    with pytest.raises(KeyReused):
        await keys.claim(receipt, OTHER)  # remembered

    asked: list[object] = []
    monkeypatch.setattr(keys, "_query", asked.append)
    await keys.claim(uuid4(), FIRST)
    assert not asked


async def test_guess_of_while_the_database_was_away_does_not_outlast_it(
    weir: Weir, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys_module, "PAUSE_SECONDS", 0.0)
    receipt, new = stored(weir, FIRST), uuid4()
    weir.administer(f"ALTER DATABASE {weir.name} ALLOW_CONNECTIONS false")
    for one in (receipt, new):
        await keys.claim(one, OTHER)
    weir.administer(f"ALTER DATABASE {weir.name} ALLOW_CONNECTIONS true")
    with pytest.raises(KeyReused):
        await keys.claim(receipt, OTHER)
    await keys.claim(receipt, FIRST)
    with pytest.raises(KeyReused):
        await keys.claim(new, FIRST)  # nothing else is stored: it was no mere guess
    asked: list[object] = []
    monkeypatch.setattr(keys, "_query", asked.append)
    await keys.claim(receipt, FIRST)
    await keys.claim(new, OTHER)
    assert not asked  # all of it is known now


async def test_connection_that_broke_while_nobody_used_it_is_replaced(weir: Weir, keys: Keys) -> None:
    await keys.claim(uuid4(), FIRST)
    receipt = stored(weir, FIRST)
    ended = weir.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
        weir.name,
    )
    assert ended
    with pytest.raises(KeyReused):
        await keys.claim(receipt, OTHER)


async def test_fault_of_ours_is_told_to_whoever_waits_and_not_taken_for_an_answer(
    weir: Weir, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt = stored(weir, FIRST)

    def wrong(_):
        raise LookupError("ours")

    with monkeypatch.context() as patched:
        patched.setattr(keys, "_query", wrong)
        told = await asyncio.gather(*(keys.claim(receipt, OTHER) for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in told] == [LookupError] * 3
    await keys.claim(receipt, FIRST)


async def test_what_is_remembered_has_a_bound(keys: Keys) -> None:
    for _ in range(10):
        await keys.claim(uuid4(), FIRST)
    assert len(keys._used) == 3
