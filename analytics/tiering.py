"""The hourly upkeep of the cold tier: sealing, retention, tidying, ordering, counting."""

import time
from collections.abc import Mapping
from datetime import timedelta

import structlog
from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy import Engine

from analytics import counted
from shared.cold import hot, ordering, retention, upkeep
from shared.cold.ordering import OrderedDay
from shared.cold.retention import Drop
from shared.cold.sealing import Sealed
from shared.cold.store import Store
from shared.cold.upkeep import Failed, NotRemoved
from shared.database import translated
from shared.errors import Conflict, WeirError
from shared.streams import STREAMS

log = structlog.get_logger()

#: Longest that one run may take. A day of 10 million readings takes half a minute.
DEADLINE = timedelta(hours=2)
#: The time after which a run begins nothing any more: what is at work then still ends before the deadline.
RUN_WITHIN = timedelta(minutes=105)
#: The time after which no further day is sealed (or ordered, or counted), and that for writing files again without devices
#: whose term is over: together less than the hour after which it all begins again, so that neither keeps the other from
#: being done, and what is left over is always removed.
BEGIN_WITHIN, REWRITE_WITHIN = timedelta(minutes=40), timedelta(minutes=10)
#: What says that the task's time is over is no fault of the day that is at work.
ENDS = (SoftTimeLimitExceeded,)
#: A file is written again for late readings once a day at most.
REST = timedelta(days=1)


def run(
    engine: Engine,
    store: Store,
    hot_days: int,
    terms: Mapping[str, int | None],
    grace: timedelta,
    within: timedelta = RUN_WITHIN,
) -> None:
    """Do what is due, beginning nothing after this long; what is not done now is logged, and due again the next time."""
    end = time.monotonic() + within.total_seconds()

    def left(most: timedelta) -> timedelta:
        return min(most, max(timedelta(seconds=end - time.monotonic()), timedelta(0)))

    try:
        with upkeep.alone(engine, store):
            # First what is quickly done, so that nothing is sealed that is past its term.
            drops = retention.plan(engine, STREAMS, terms)
            retention.apply(
                engine, store, [one for one in drops if not one.is_rewriting], _tell, left(REWRITE_WITHIN), ENDS
            )
            with translated(), engine.connect() as connection:
                before = hot.today(connection) - timedelta(days=hot_days)
            sources = upkeep.due(engine, STREAMS, before, REST, terms)
            upkeep.seal_all(engine, store, sources, left(BEGIN_WITHIN), _tell, ENDS)
            drops = [one for one in retention.plan(engine, STREAMS, terms) if one.is_rewriting]
            retention.apply(engine, store, drops, _tell, left(REWRITE_WITHIN), ENDS)
            # Before what a backlog may take all the time for: it is quickly done, and the disk may be full.
            upkeep.tidy(engine, store, grace, _tell)
            ordering.order_all(engine, store, STREAMS, left(BEGIN_WITHIN), _tell, ENDS)
            counted.count_all(engine, store, left(BEGIN_WITHIN), _tell, ENDS)
    except Conflict as error:
        log.info("nothing is sealed", reason=str(error))
    except WeirError as error:
        log.warning("sealing waits", reason=str(error))


def _tell(one: Sealed | OrderedDay | Drop | Failed | NotRemoved) -> None:
    if isinstance(one, Sealed):
        log.info("day sealed", **one._asdict() | {"day": str(one.day)})
    elif isinstance(one, OrderedDay):
        log.info("day ordered", **one._asdict() | {"day": str(one.day)})
    elif isinstance(one, Drop):
        log.info("past its term, and dropped", **one.shown())
    elif isinstance(one, NotRemoved):
        log.warning("a file that does not count stays", **one._asdict())
    else:
        log.warning("a day stays as it is", stream=one.stream, day=str(one.day), reason=one.reason)
