"""What routes need, handed to them by FastAPI."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from sqlalchemy import Engine

from api.asking import Asking
from api.ingest.devices import Devices
from api.ingest.events import EventIngest
from api.ingest.readings import ReadingIngest
from api.readers import Readers
from api.window import Moment, Window, window
from shared.broker.connection import BrokerConnection
from shared.broker.inspection import Inspection
from shared.broker.management import Management
from shared.config import Settings
from shared.database import DatabaseThreads
from shared.ledger import Acceptances


@dataclass(frozen=True)
class Services:
    """The parts of one API process, put together in app.py."""

    settings: Settings
    engine: Engine
    threads: DatabaseThreads
    broker: BrokerConnection
    devices: Devices
    readings: ReadingIngest
    events: EventIngest
    acceptances: Acceptances
    asking: Asking
    management: Management | None
    inspection: Inspection
    readers: Readers


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesOf = Annotated[Services, Depends(_services)]

Limit = Annotated[int, Query(ge=1, le=1000, description="Most items in the answer.")]
Cursor = Annotated[str | None, Query(max_length=200, description="Where to go on, from the Link header.")]


def _window(
    start: Annotated[Moment | None, Query(description="First moment of the window; UTC unless it says so.")] = None,
    end: Annotated[Moment | None, Query(description="First moment after the window; UTC unless it says so.")] = None,
) -> Window:
    return window(start, end)


WindowOf = Annotated[Window, Depends(_window)]


def link_next(request: Request, cursor: str) -> dict[str, str]:
    """Make the header that leads to the next page (RFC 8288); relative, so that it survives a proxy."""
    query = request.url.include_query_params(cursor=cursor).query
    return {"link": f'<{request.url.path}?{query}>; rel="next"'}


def page(items: Sequence[Any], limit: int) -> tuple[Sequence[Any], bool]:
    """Cut what was fetched with one to spare; the flag says whether there is more."""
    return items[:limit], len(items) > limit
