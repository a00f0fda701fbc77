"""Queries of a job stay within their bounds, and end when the job is to end."""

import errno
import os
import re
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

import analytics.duck
from analytics.duck import session
from analytics.events import Batches
from shared.errors import WeirError

MINUTE = timedelta(minutes=1)
ENDLESS = "SELECT count(DISTINCT a.range * b.range) FROM range(100_000_000) a, range(1_000_000) b"
SCHEMA = pa.schema([("user_id", pa.string())])


class ToldToEnd(Exception):
    """What a worker's signal raises."""


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise ToldToEnd

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def users(batches: int, faulty: int | None = None) -> Batches:
    def give() -> Iterator[pa.RecordBatch]:
        for number in range(batches):
            if number == faulty:
                raise WeirError("this one is broken")
            yield pa.record_batch([pa.array([f"{number} {user}" for user in range(100)])], schema=SCHEMA)

    return Batches(SCHEMA, give())


def test_batches_are_gone_through_once() -> None:
    with session(MINUTE) as duck:
        assert duck.run("SELECT count(DISTINCT user_id) FROM events", events=users(7)) == [(700,)]
        assert duck.run("SELECT count(*) FROM events", events=users(2)) == [(200,)]


def test_query_ends_at_its_deadline() -> None:
    began = time.monotonic()
    with session(timedelta(seconds=0.2)) as duck, pytest.raises(WeirError, match="longer than a job may"):
        duck.run(ENDLESS)
    assert time.monotonic() - began < 20


def test_signal_ends_a_query_and_is_not_lost() -> None:
    began = time.monotonic()
    with session(MINUTE) as duck, alarm(0.2), pytest.raises(ToldToEnd):
        duck.run(ENDLESS)
    assert time.monotonic() - began < 20


def test_error_of_what_is_read_is_the_error_of_the_query() -> None:
    with session(MINUTE) as duck:
        with pytest.raises(WeirError, match="this one is broken"):
            duck.run("SELECT count(DISTINCT user_id) FROM events", events=users(10, faulty=3))
        assert duck.run("SELECT 1 FROM events LIMIT 1", events=users(100)) == [(1,)]
        with pytest.raises(duckdb.ParserException):
            duck.run("SELEC")


@pytest.mark.parametrize("query", ["FROM read_csv('/etc/hosts')", "INSTALL httpfs", "LOAD httpfs", "SET threads = 64"])
def test_query_reaches_neither_files_nor_network_nor_its_own_bounds(query: str) -> None:
    with session(MINUTE) as duck, pytest.raises(duckdb.Error):
        duck.run(query)


@contextmanager
def files_of_at_most(most: int) -> Iterator[None]:
    """A disk that is full, as far as this process can tell."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def count_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count users who do not fit into memory."""
    monkeypatch.setitem(analytics.duck._SETTINGS, "memory_limit", "80MB")
    with session(MINUTE) as duck:
        assert duck.run("SELECT count(DISTINCT user_id) FROM events", events=users(30_000)) == [(3_000_000,)]


def test_query_that_needs_more_than_its_memory_and_disk_ends_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    count_many(monkeypatch)
    monkeypatch.setattr(analytics.duck, "SPILLED", "4MB")
    with pytest.raises(WeirError, match="more than 192MB of memory and 4MB of disk; ask for fewer days"):
        count_many(monkeypatch)


def test_query_that_finds_the_disk_full_ends_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    with files_of_at_most(1 << 20), pytest.raises(WeirError) as failed:
        count_many(monkeypatch)
    assert f"({os.strerror(errno.EFBIG)})" in str(failed.value)
    assert "ask for fewer days, or again when there is room" in str(failed.value)
    count_many(monkeypatch)


def test_query_without_a_folder_to_be_had_ends_with_the_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(WeirError, match=re.escape(os.strerror(errno.ENOENT))), session(MINUTE):
        pass
