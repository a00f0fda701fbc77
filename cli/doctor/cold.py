"""Checks of the cold tier: is everything sealed that is due, and are its files what was sealed."""

from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import Engine

from cli.doctor.checks import Check, attempted, fail, ok, warn
from shared.cold import hot, upkeep, verification
from shared.cold.store import Store
from shared.database import translated
from shared.streams import STREAMS

#: Days after which a day should have been sealed; it is tried every hour.
LATE, TOO_LATE = timedelta(days=1), timedelta(days=7)
#: Late records of a day wait for its file to be so old; a day more is too long.
RESTED = timedelta(days=2)


class Cold:
    """Looks at one cold tier."""

    def __init__(self, engine: Engine, url: str, hot_days: int, terms: Mapping[str, int | None]) -> None:
        self._engine = engine
        self._url = url
        self._hot_days = hot_days
        self._terms = terms

    def checks(self) -> list[Check]:
        return [
            attempted("sealing", self._overdue, "see that WEIR_DATABASE_URL is right and the database is up"),
            attempted("cold files", self._damaged, "see that WEIR_COLD_URL is right and can be read from here"),
        ]

    def _overdue(self) -> Check:
        with translated(), self._engine.connect() as connection:
            due = hot.today(connection) - timedelta(days=self._hot_days)
        late = upkeep.due(self._engine, STREAMS, due - LATE, RESTED, self._late_terms())
        if not late:
            return ok("sealing", f"no day before {due - LATE} is hot")
        days = "1 day" if len(late) == 1 else f"{len(late)} days"
        found = f"{days} should have been sealed; the oldest is {late[0].day} of {late[0].stream.name}"
        advice = "do beat and upkeep run? Upkeep logs `a day stays as it is`, and why; `weir seal` does it now"
        # Nobody knows since when rows are in a default partition: they may have come a minute ago.
        too_late = any(one.day < due - TOO_LATE for one in late if not one.is_default)
        return fail("sealing", found, advice) if too_late else warn("sealing", found, advice)

    def _late_terms(self) -> dict[str, int | None]:
        """A term that is shorter than days are hot is sealed by its end, as `weir seal` does; it may be as late as others."""
        return {name: term and term + LATE // timedelta(days=1) for name, term in self._terms.items()}

    def _damaged(self) -> Check:
        files, damaged = verification.look(self._engine, Store(self._url), STREAMS)
        if damaged:
            found = f"{len(damaged)} of {files} are damaged or missing; the first: {damaged[0].path} {damaged[0].fault}"
            return fail("cold files", found, "`weir verify` names all, and says what to do")
        return ok("cold files", f"{files} are there, whole at their ends; `weir verify` reads all of them")
