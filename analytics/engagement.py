"""What users do: daily active users, top events and retention, exact, over hot and cold events."""

from contextlib import ExitStack
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Engine, text

from analytics.counted import SealedUsers
from analytics.duck import session
from analytics.events import Batches, Selection, condition, local_day
from analytics.progress import Progress
from shared import data_version
from shared.cold.manifest import snapshot
from shared.cold.store import Store
from shared.days import Days
from shared.ledger import queued
from shared.scope import Scope
from shared.segments import Segment
from shared.streams import EVENTS

Answer = dict[str, Any]


class Engagement:
    """One job's look at the events. The answers also say `as_of` when they hold, and how many events were `queued` then.

    Raises:
        WeirError: what is asked for cannot be read, or takes too much.
    """

    def __init__(self, engine: Engine, store: Store, progress: Progress, deadline: timedelta) -> None:
        self._engine = engine
        self._store = store
        self._progress = progress
        self._deadline = deadline

    def daily_users(self, days: Days, segment: Segment | None) -> Answer:
        """Count the distinct users of each day.

        Returns:
            `days`: {date, unique_users} of each, also where there are none.
        """
        ours, parameters = condition(segment)
        query = f"""
            SELECT day, count(*) FROM (
                SELECT DISTINCT {local_day(days)} AS day, user_id FROM events WHERE {ours}
            ) WHERE day BETWEEN ? AND ? GROUP BY day
        """  # noqa: S608
        with Selection(["time", "user_id"], segment, days.start, days.end) as selection:
            coverage, counted = self._take(selection, of_use=segment is None and days.are_utc)
            selection.files = [file for file in selection.files if file.day not in counted.users]
            with session(self._deadline) as duck:
                found = dict(duck.run(query, [*parameters, *_bounds(days)], self._read(selection)))
        users = {day: found.get(day.toordinal(), 0) for day in days} | counted.users
        counted.keep(self._engine, users)
        found_days = [{"date": day.isoformat(), "unique_users": count} for day, count in users.items()]
        return {"days": found_days, **coverage}

    def top_events(self, days: Days, segment: Segment | None, limit: int) -> Answer:
        """Count the events of each type; of two types with as many, the one whose name is first comes first.

        Returns:
            `events`: {event_type, count} of the `limit` types with the most.
        """
        ours, parameters = condition(segment)
        query = f"""
            SELECT event_type, count(*) AS count FROM events
            WHERE {ours} AND {local_day(days)} BETWEEN ? AND ?
            GROUP BY event_type ORDER BY count DESC, event_type LIMIT ?
        """  # noqa: S608
        with Selection(["time", "event_type"], segment, days.start, days.end) as selection:
            coverage, _ = self._take(selection)
            with session(self._deadline) as duck:
                found = duck.run(query, [*parameters, *_bounds(days), limit], self._read(selection))
        return {"events": [{"event_type": event_type, "count": count} for event_type, count in found], **coverage}

    def retention(self, zone: ZoneInfo, start: date, windows: int, segment: Segment | None) -> Answer:
        """Follow the users whose first event ever is on `start`: how many are active one day later, two days later, ...

        Events outside the segment count as if they had never been, also for which event is the first.

        Returns:
            `cohort_size`; and `windows`: {day, count, rate} of each day from 1 to `windows`.
        """
        days = Days(zone, start, start + timedelta(days=windows))
        ours, parameters = condition(segment)
        with ExitStack() as stack:
            before = stack.enter_context(Selection(["user_id"], segment, None, days.start, only_different=True))
            selection = stack.enter_context(Selection(["time", "user_id"], segment, days.start, days.end))
            coverage, _ = self._take(before, selection)
            duck = stack.enter_context(session(self._deadline))
            duck.run(_ACTIVE.format(day=local_day(days), ours=ours), parameters, self._read(selection))
            duck.run(_COHORT, [start.toordinal()])
            duck.run(_EARLIER.format(ours=ours), parameters, self._read(before))
            found = dict(duck.run(_COME_BACK))
        size = found.get(start.toordinal(), 0)
        counts = [(day, found.get(start.toordinal() + day, 0)) for day in range(1, windows + 1)]
        return {
            "cohort_size": size,
            "windows": [{"day": day, "count": count, "rate": count / size if size else 0.0} for day, count in counts],
            **coverage,
        }

    def _take(self, *selections: Selection, of_use: bool = False) -> tuple[Answer, SealedUsers]:
        """Take selections that follow one another, as of one moment; return that, and what was counted where it is of use."""
        scope = Scope(None, selections[0].start, selections[-1].end, EVENTS)
        with snapshot(self._engine) as connection:
            version = data_version.at_start(connection, scope)
            for selection in selections:
                selection.take(connection, self._progress.step)
            files = {file.id: file for selection in selections for file in selection.files}
            counted = SealedUsers.of(connection, list(files.values())) if of_use else SealedUsers()
            as_of: datetime = connection.execute(text("SELECT now()")).scalar_one()
            coverage = {"as_of": as_of.isoformat(), "queued": queued(connection, EVENTS.name)}
        hot = sum(selection.hot_rows for selection in selections)
        self._progress.saw(version | data_version.read(hot, map(str, files)))
        copied = sum(selection.copied_rows for selection in selections)
        self._progress.expect(copied + sum(file.rows for file in files.values()))
        return coverage, counted

    def _read(self, selection: Selection) -> Batches:
        return selection.batches(self._store, lambda batch: self._progress.done(batch.num_rows))


#: When a user was first active on each day.
_ACTIVE = """
    CREATE TABLE active AS
    SELECT user_id, {day} AS day, min(time) AS time FROM events WHERE {ours} GROUP BY ALL
"""
#: Where clocks went back at midnight, the earlier of two events may be of the later day: the time decides.
_COHORT = "CREATE TABLE cohort AS SELECT user_id FROM active GROUP BY user_id HAVING arg_min(day, time) = ?"
_EARLIER = "CREATE TABLE earlier AS SELECT DISTINCT user_id FROM events SEMI JOIN cohort USING (user_id) WHERE {ours}"
_COME_BACK = """
    SELECT day, count(*) FROM active SEMI JOIN cohort USING (user_id) ANTI JOIN earlier USING (user_id) GROUP BY day
"""


def _bounds(days: Days) -> tuple[int, int]:
    return days.first.toordinal(), days.last.toordinal()
