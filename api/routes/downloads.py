"""Readings and events as files of any size: CSV, JSON, Arrow or Parquet, as the client accepts."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response
from sqlalchemy import Engine, select

from api.dependencies import Services, ServicesOf, WindowOf
from api.export import events, readings
from api.export.columns import EVENTS, READINGS
from api.export.formats import FORMATS, accepted
from api.problems import problems
from api.schemas import Key
from api.window import Window
from shared.database import Device, translated
from shared.errors import NotFound

router = APIRouter()

_BYTES = {"type": "string", "format": "binary"}
_STORED = {"$ref": "#/components/schemas/Stored"}


def _answer(description: str, item: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    content: dict[str, Any] = {one.media_type: {"schema": _BYTES} for one in FORMATS}
    content["application/json"] = {"schema": {"type": "array", "items": item}}
    return {200: {"description": description, "content": content}} | problems(406)


_READINGS = _answer("The readings, oldest first", _STORED) | problems(404)
_EVENTS = _answer("The events, oldest first", {"type": "object"})

Accept = Annotated[str | None, Header(include_in_schema=False)]


class File(Response):
    """Says only that the answer is no JSON unless that is asked for."""

    media_type = FORMATS[0].media_type


@router.get("/devices/{device_id}/readings", tags=["readings"], response_class=File, responses=_READINGS)
async def download_device(device_id: UUID, services: ServicesOf, window: WindowOf, accept: Accept = None) -> Response:
    """Download all readings of a device, the oldest first. `Accept` chooses the format; CSV without one.

    A connection that ends before the whole is there was cut: something failed in the middle.
    """
    key = await services.devices.key(device_id)
    if not key:
        raise NotFound("no device has this id")
    return _file(services, [key], window, accept, str(device_id))


@router.get("/readings", tags=["readings"], response_class=File, responses=_READINGS)
async def download_all(
    services: ServicesOf,
    window: WindowOf,
    user_id: Annotated[Key | None, Query(description="Only those of this user's devices.")] = None,
    accept: Accept = None,
) -> Response:
    """Download the readings of all devices, or of a user's: day by day, in a day by device, then by time."""
    if user_id is None:
        return _file(services, None, window, accept, "readings")
    keys = await services.threads.run(_keys, services.engine, user_id)
    return _file(services, keys, window, accept, f"user-{user_id}")


@router.get("/events", tags=["events"], response_class=File, responses=_EVENTS)
async def download_events(services: ServicesOf, window: WindowOf, accept: Accept = None) -> Response:
    """Download all events, by time and id. `properties` are an object in JSON, and its text elsewhere."""
    readers = services.readers
    batches = partial(events.batches, readers.engine, readers.store, window)
    return readers.downloads.response(accepted(accept), EVENTS, batches, "events")


def _file(services: Services, keys: Sequence[int] | None, window: Window, accept: str | None, name: str) -> Response:
    readers = services.readers
    batches = partial(readings.batches, readers.engine, readers.store, keys, window)
    return readers.downloads.response(accepted(accept), READINGS, batches, name)


def _keys(engine: Engine, user_id: int) -> list[int]:
    with translated(), engine.connect() as connection:
        found = connection.execute(select(Device.key).where(Device.user_id == user_id).order_by(Device.key)).scalars()
        keys = list(found)
    if not keys:
        raise NotFound("no user with devices has this id")
    return keys
