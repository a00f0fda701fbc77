"""A device's readings for charts: any window, few points."""

from functools import partial
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query, Response

from api.chart import Drawn, Wish, draw
from api.dependencies import ServicesOf, WindowOf
from api.problems import problems
from api.questions import Whole
from api.reduction import Method, Points
from api.schemas import Chart
from shared.errors import InvalidRecord, NotFound

router = APIRouter(tags=["analytics"])

AXES = ("x", "y", "z")


@router.get("/devices/{device_id}/series", response_model=Chart, responses=problems(404))
async def device_chart(
    device_id: UUID,
    services: ServicesOf,
    window: WindowOf,
    points: Annotated[Whole, Query(ge=3, le=10_000, description="Most points of each axis.")] = 1000,
    method: Annotated[Method, Query(description="lttb keeps the shape; minmax each bucket's extremes.")] = "lttb",
    axes: Annotated[str, Query(max_length=20, description="Some of x, y and z, with commas between.")] = "x,y,z",
) -> Response:
    """Draw the readings of a device in a window with few points: a year as well as a minute.

    lttb is MinMaxLTTB. Times are milliseconds since 1970, UTC.
    """
    key = await services.devices.key(device_id)
    if not key:
        raise NotFound("no device has this id")
    wish = Wish(key, window, _axes(axes), method, points)
    deadline, readers = services.settings.statement_deadline, services.readers
    drawn = await readers.charts.call(partial(draw, readers.engine, readers.store, wish, deadline), deadline)
    return Response(msgspec.json.encode(_shown(device_id, wish, drawn)), media_type="application/json")


def _axes(text: str) -> list[str]:
    wanted = text.split(",")
    if not set(wanted) <= set(AXES) or len(set(wanted)) < len(wanted):
        raise InvalidRecord("not_an_axis", "axes", "must be some of x, y and z, each once, with commas between")
    return wanted


def _shown(device_id: UUID, wish: Wish, drawn: Drawn) -> dict[str, Any]:
    return {
        "device_id": device_id,
        "start": wish.window.start,
        "end": wish.window.end,
        "as_of": drawn.as_of,
        "method": wish.method,
        "readings": drawn.hot + drawn.cold,
        "hot": drawn.hot,
        "cold": drawn.cold,
        "axes": {name: _columns(points) for name, points in drawn.axes.items()},
    }


def _columns(points: Points) -> dict[str, list[Any]]:
    """Whole milliseconds as whole numbers, which are shorter; others to the microsecond."""
    whole = not (points.times % 1000).any()
    return {
        "time": (points.times // 1000 if whole else points.times / 1000).tolist(),
        "value": points.values.tolist(),
    }
