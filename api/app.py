"""Puts the API together: settings in, one ASGI application out."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from api.asking import Asking
from api.dependencies import Services
from api.errors import INTERNAL, RequestTimeout, problem, problem_of
from api.front import Front, allowed
from api.ingest.body import BodyLimit
from api.ingest.devices import Devices
from api.ingest.events import EventIngest
from api.ingest.ingest import Common
from api.ingest.keys import Keys
from api.ingest.lane import Lane
from api.ingest.readings import ReadingIngest
from api.ingest.room import Room
from api.problems import complete
from api.readers import Readers
from api.routes import (
    analytics,
    charts,
    dead_letters,
    devices,
    downloads,
    engagement,
    events,
    ledger,
    operations,
    parked,
    readings,
    receipts,
    stored,
    users,
)
from api.routes.readings import as_response
from shared import metrics
from shared.broker import topology
from shared.broker.connection import BrokerConnection
from shared.broker.inspection import Inspection
from shared.broker.management import Management
from shared.broker.messages import Group
from shared.broker.publisher import Publisher
from shared.celery_app import celery_app
from shared.config import Settings, load
from shared.database import DatabaseThreads, connect
from shared.errors import PublishRefused, TooLarge, Unavailable, WeirError
from shared.jobs import Jobs
from shared.ledger import Acceptances
from shared.streams import EVENTS, READINGS, STREAMS, Stream
from shared.streams.rejections import safe_name
from shared.tasks import in_background

log = structlog.get_logger()

#: Threads and connections to the database that only submissions use (devices, keys, the ledger), so that no reader, however
#: slow, keeps one waiting.
SUBMITTING = 4

ROUTERS = (
    users.router,
    devices.router,
    readings.router,
    charts.router,
    downloads.router,
    events.router,
    receipts.router,
    stored.router,
    analytics.router,
    engagement.router,
    dead_letters.router,
    operations.router,
    parked.router,
    ledger.router,
)


#: Every path of ours; what FastAPI makes of included routers tells no methods.
ROUTES = [route for router in ROUTERS for route in router.routes]


def create_app(settings: Settings | None = None) -> Lane:
    """Build the application; nothing is connected before it starts up."""
    settings = settings or load()
    engine = connect(
        settings.database_url, pool_size=settings.pool_size, statement_deadline=settings.statement_deadline
    )
    threads = DatabaseThreads(settings.pool_size)
    submission_engine = connect(
        settings.database_url, pool_size=SUBMITTING, statement_deadline=settings.statement_deadline
    )
    submission_threads = DatabaseThreads(SUBMITTING)
    acceptances = Acceptances(submission_engine, submission_threads)
    broker = BrokerConnection(settings.amqp_url, settings.heartbeat, partial(topology.declare, streams=STREAMS))

    publishers = {stream.name: _publisher(stream, settings, broker, acceptances) for stream in STREAMS}
    known = Devices(
        submission_engine,
        submission_threads,
        settings.device_memory,
        settings.unknown_device_memory,
        settings.device_memory_limit,
    )
    room = Room(settings.bodies_limit_bytes)
    common = Common(
        Keys(submission_engine, submission_threads, settings.key_memory_limit),
        room,
        settings.body_limit_bytes,
        settings.submission_limit,
        settings.earliest_timestamp,
        settings.timestamp_ahead,
    )
    reading_ingest = ReadingIngest(known, publishers[READINGS.name], common)
    event_ingest = EventIngest(publishers[EVENTS.name], common)
    jobs = Jobs(engine, celery_app(settings.amqp_url, settings.job_deadline))
    asking = Asking(settings.database_url, jobs, threads, acceptances, settings.job_wait_limit)
    management = Management(settings.management_url, settings.amqp_url) if settings.management_url else None
    inspection = Inspection(management, STREAMS)
    readers = Readers.of(settings)
    services = Services(
        settings,
        engine,
        threads,
        broker,
        known,
        reading_ingest,
        event_ingest,
        acceptances,
        asking,
        management,
        inspection,
        readers,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        publishing = [work for one in publishers.values() for work in (one.run(), one.backlog.run())]
        async with in_background(broker.run(), *publishing, acceptances.run(), inspection.run()):
            yield
            # uvicorn has answered every request by now; what is left is what they were promised.
            await asyncio.gather(*(one.drain() for one in publishers.values()))
            try:
                await acceptances.flush()
            except Unavailable as error:
                log.warning("the ledger lacks the last acceptances", reason=str(error))
        submission_threads.close()
        threads.close()
        asking.close()
        readers.close()
        submission_engine.dispose()
        engine.dispose()

    app = FastAPI(
        title="Weir",
        description="Takes readings and events, keeps every one it said yes to, and answers questions about them.",
        version="0.1.0",
        lifespan=lifespan,
    )
    app.add_middleware(BodyLimit, limit=settings.body_limit_bytes, room=room)
    app.state.services = services
    describe = app.openapi
    app.openapi = lambda: complete(describe())  # type: ignore[method-assign]
    for router in ROUTERS:
        app.include_router(router)
    app.add_exception_handler(WeirError, _on_weir_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_fault)
    return Lane(reading_ingest, event_ingest, Front(app, ROUTES))


def _publisher(stream: Stream, settings: Settings, broker: BrokerConnection, acceptances: Acceptances) -> Publisher:
    """Make the publisher of a stream, counted in the ledger and the metrics."""
    accepted_records = metrics.accepted_records.labels(stream.name)
    published_messages = metrics.published_messages.labels(stream.name)
    group_records = metrics.group_records.labels(stream.name)

    def count(group: Group) -> None:
        acceptances.add(group)
        accepted_records.inc(group.records)
        published_messages.inc()
        group_records.observe(group.records)

    publisher = Publisher(
        stream,
        broker,
        deadline=settings.publish_deadline,
        message_limit=settings.message_limit,
        waiting_limit=settings.waiting_limit,
        waiting_limit_bytes=settings.waiting_limit_bytes,
        on_confirm=count,
    )
    metrics.waiting_records.labels(stream.name).set_function(lambda: publisher.waiting)
    return publisher


async def _on_weir_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, WeirError)
    return as_response(problem_of(error))


async def _on_invalid_request(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if any(one["type"] == "json_invalid" for one in error.errors()):
        return as_response(problem(400, "malformed", "The body is not valid JSON in UTF-8"))
    faults = [_fault(one) for one in error.errors()]
    return as_response(problem(422, "invalid", "The input is not valid", errors=faults))


def _fault(error: Mapping[str, Any]) -> dict[str, Any]:
    """Name the field and the reason; the value itself, and names that are no plain words, stay out of the answer."""
    parts = [str(part) for part in error["loc"][1:]]
    if error["type"] == "extra_forbidden":
        parts[-1] = safe_name(parts[-1]) or ""
    field = ".".join(parts) if all(parts) else None
    return {"field": field or None, "code": error["type"], "message": str(error["msg"])}


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return as_response(problem_of(TooLarge(error.detail)))
    if error.status_code == HTTPStatus.REQUEST_TIMEOUT:
        return as_response(problem_of(RequestTimeout(error.detail)))
    if error.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
        return as_response(problem_of(PublishRefused(error.detail)))
    titles = {404: "There is no such page", 405: "This page does not take this method"}
    answer = problem(error.status_code, "http", titles.get(error.status_code, "The request cannot be answered"))
    response = as_response(answer)
    response.headers.update(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers["allow"] = allowed(ROUTES, request.scope)
    return response


async def _on_fault(_: Request, error: Exception) -> Response:
    log.error("a request failed", exc_info=error)
    return as_response(INTERNAL)
