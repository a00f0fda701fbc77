"""The hourly upkeep of the cold tier: retention, sealing, counting, tidying."""

from collections.abc import Mapping
from datetime import timedelta

import structlog
from sqlalchemy import Engine

from analytics import counted
from shared.cold import hot, ordering, retention, upkeep
from shared.cold.ordering import OrderedDay
from shared.cold.retention import Drop
from shared.cold.sealing import Sealed
from shared.cold.store import Store
from shared.cold.upkeep import Failed
from shared.database import translated
from shared.errors import Conflict, WeirError
from shared.streams import STREAMS

log = structlog.get_logger()

#: Longest that one run may take, and the time after which it begins no further day. A day of 10 million readings
#: takes half a minute.
DEADLINE, BEGIN_WITHIN = timedelta(hours=2), timedelta(minutes=50)
#: A file is written again for late readings once a day at most.
REST = timedelta(days=1)


def run(engine: Engine, store: Store, hot_days: int, terms: Mapping[str, int | None], grace: timedelta) -> None:
    """Do what is due; what cannot be done now is logged, and due again the next time."""
    try:
        with upkeep.alone(engine, store):
            upkeep.tidy(engine, store, grace)
            retention.apply(engine, store, retention.plan(engine, STREAMS, terms), _tell)
            with translated(), engine.connect() as connection:
                before = hot.today(connection) - timedelta(days=hot_days)
            sources = upkeep.due(engine, STREAMS, before, REST)
            upkeep.seal_all(engine, store, sources, BEGIN_WITHIN, _tell)
            ordering.order_all(engine, store, STREAMS, BEGIN_WITHIN, _tell)
            upkeep.tidy(engine, store, grace)
            counted.count_all(engine, store, BEGIN_WITHIN, _tell)
    except Conflict as error:
        log.info("nothing is sealed", reason=str(error))
    except WeirError as error:
        log.warning("sealing waits", reason=str(error))


def _tell(one: Sealed | OrderedDay | Drop | Failed) -> None:
    if isinstance(one, Sealed):
        log.info("day sealed", **one._asdict() | {"day": str(one.day)})
    elif isinstance(one, OrderedDay):
        log.info("day ordered", **one._asdict() | {"day": str(one.day)})
    elif isinstance(one, Drop):
        log.info("past its term, and dropped", **one.shown())
    else:
        log.warning("a day stays as it is", stream=one.stream, day=str(one.day), reason=one.reason)
