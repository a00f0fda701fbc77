"""A store that is not where it was is told from one whose files are lost, and nothing is sealed into its place."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from cold_tier import DAY, MIDNIGHT, ColdTier, readings
from factories import Weir, partition

from analytics import tasks
from cli.doctor.checks import State
from cli.doctor.cold import Cold
from shared.celery_app import celery_app
from shared.cold import forgetting, mark, ordering, upkeep, verification
from shared.cold.ordering import OrderedDay
from shared.cold.sealing import Sealed
from shared.cold.store import MARK
from shared.errors import ColdUnavailable, Conflict, Misconfigured, WeirError
from shared.jobs import Job, Jobs, Nudge
from shared.questions import Question
from shared.streams import READINGS
from shared.watchdog import Watchdog

GONE = "away"
DEADLINE = timedelta(minutes=10)


@pytest.fixture
def cold(weir: Weir) -> Iterator[ColdTier]:
    """One day is cold, another is due."""
    found = ColdTier(weir)
    found.insert(readings(100, seed=1))
    found.seal()
    partition(weir, "readings", DAY - timedelta(days=1))
    found.insert(readings(50, seed=2, day=MIDNIGHT - timedelta(days=1)))
    yield found
    found.engine.dispose()


@pytest.fixture(params=["not mounted", "another one"])
def expected(cold: ColdTier, request: pytest.FixtureRequest) -> type[WeirError]:
    """Take the store away; return what is to be said."""
    cold.folder.rename(cold.folder.with_name(GONE))
    cold.folder.mkdir()
    if request.param == "not mounted":
        return ColdUnavailable
    (cold.folder / MARK).write_text(f"{uuid4()}\n")
    return Misconfigured


def test_nothing_is_sealed_into_the_place_of_a_store(cold: ColdTier, expected: type[WeirError]) -> None:
    with pytest.raises(expected):
        cold.seal()
    with pytest.raises(expected), upkeep.alone(cold.engine, cold.store):
        pass
    assert cold.weir.stored() == 50
    assert cold.on_disk() == set()
    cold.folder.joinpath(MARK).unlink(missing_ok=True)
    cold.folder.rmdir()
    cold.folder.with_name(GONE).rename(cold.folder)
    cold.seal()
    assert len(cold.all()) == 150


def test_no_file_is_called_lost_that_is_only_away(cold: ColdTier, expected: type[WeirError]) -> None:
    with pytest.raises(expected):
        list(verification.verify(cold.engine, cold.store, [READINGS]))
    checks = {check.name: check for check in Cold(cold.engine, str(cold.folder), 7, {}).checks()}
    assert checks["cold files"].state is State.FAIL
    assert "DELETE" not in str(checks["cold files"])


def test_reader_finds_a_store_that_is_not_mounted_unavailable(cold: ColdTier) -> None:
    cold.folder.rename(cold.folder.with_name(GONE))
    with pytest.raises(ColdUnavailable):
        cold.store.read(cold.file())


def make_unreadable(cold: ColdTier, path: str) -> None:
    """Have it as a file of a failing disk, or one that only others may read, which root could."""
    place = cold.folder / path
    place.unlink()
    place.symlink_to(place.name)


@pytest.fixture
def jobs(cold: ColdTier) -> Jobs:
    return Jobs(cold.engine, celery_app(cold.weir.amqp_url, DEADLINE))


def is_over(cold: ColdTier, jobs: Jobs, job: Job) -> bool:
    """Run a job as a worker does that finds nothing mended after its pauses."""
    watchdog = Watchdog(cold.engine)

    def run(nudge: Nudge) -> None:
        tasks.run(jobs, cold.engine, cold.store, watchdog, job.id, nudge, DEADLINE)

    return tasks.run_patiently(run, jobs, watchdog, job.id, Nudge(uuid4()), (0, 0, 0))


def test_job_that_needs_a_file_which_cannot_be_read_fails_and_names_it(cold: ColdTier, jobs: Jobs) -> None:
    path = cold.file().path
    make_unreadable(cold, path)
    job = jobs.submit("statistics_of_all", Question().as_json())
    assert is_over(cold, jobs, job)
    found = jobs.fetch(job.id)
    assert (found.status, found.error) == (
        "failed",
        f"the cold file {path} cannot be read: Too many levels of symbolic links",
    )


def test_job_that_needs_a_store_which_is_away_waits(cold: ColdTier, jobs: Jobs) -> None:
    cold.folder.rename(cold.folder.with_name(GONE))
    job = jobs.submit("statistics_of_all", Question().as_json())
    assert not is_over(cold, jobs, job)
    found = jobs.fetch(job.id)
    assert (found.status, found.attempts) == ("running", 1)


def test_file_that_cannot_be_read_keeps_no_other_day_from_being_done(
    cold: ColdTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordering, "FEWEST_ROWS", 10)
    unreadable = cold.file()
    cold.seal()
    cold.insert(readings(10, seed=3))
    make_unreadable(cold, unreadable.path)
    partition(cold.weir, "readings", DAY - timedelta(days=2))
    cold.insert(readings(60, seed=4, day=MIDNIGHT - timedelta(days=2)))
    sources = sorted(cold.sources(), key=lambda source: source.day, reverse=True)
    sealed = upkeep.seal_all(cold.engine, cold.store, sources, DEADLINE)
    assert [type(one) for one in sealed] == [upkeep.Failed, Sealed]
    ordered = ordering.order_all(cold.engine, cold.store, [READINGS], DEADLINE)
    assert [type(one) for one in ordered] == [upkeep.Failed, OrderedDay, OrderedDay]


def test_file_that_cannot_be_read_just_now_is_not_given_up(cold: ColdTier, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise OSError("input/output error")

    monkeypatch.setattr(cold.store, "digests", fail)
    (found,) = verification.verify(cold.engine, cold.store, [READINGS])
    assert (found.fault, found.advice) == (verification.UNREAD, verification.AGAIN)
    with pytest.raises(Conflict):
        forgetting.find(cold.engine, cold.store, [READINGS], found.path)


def test_store_is_marked_once(cold: ColdTier) -> None:
    before = (cold.folder / MARK).read_text()
    cold.seal()
    assert (cold.folder / MARK).read_text() == before


def test_mark_that_was_left_by_a_killed_seal_is_taken(weir: Weir) -> None:
    cold = ColdTier(weir)
    cold.folder.mkdir(parents=True, exist_ok=True)
    (cold.folder / MARK).write_text(f"{uuid4()}\n")
    before = (cold.folder / MARK).read_text()
    mark.ensure(cold.engine, cold.store)
    mark.check(cold.engine, cold.store)
    assert (cold.folder / MARK).read_text() == before
    cold.engine.dispose()
