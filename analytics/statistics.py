"""The five numbers of each axis: min, max, count, sum and median, exact."""

import io
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, text

from shared.database import translated
from shared.ledger import queued
from shared.streams.readings import READINGS
from shared.streams.stream import COPY_HEADER, COPY_TRAILER

AXES = ("x", "y", "z")

Values = NDArray[np.float64]

#: A row of x, y, z in PostgreSQL's binary COPY format: field count, then each value after its length.
_ROWS = np.dtype(
    [("fields", ">i2"), ("x_bytes", ">i4"), ("x", ">f8"), ("y_bytes", ">i4"), ("y", ">f8"), ("z_bytes", ">i4"), ("z", ">f8")]
)  # fmt: skip


def summarise(values: Values) -> dict[str, float | int | None]:
    """Return the five numbers of one axis.

    The sum is the exact sum rounded once (fsum), so the order of the rows cannot change it; None when it is beyond a
    float. The median of an even count lies half way between the two middle values. Nothing: count 0, sum 0, rest None.
    """
    count = len(values)
    if not count:
        return {"min": None, "max": None, "count": 0, "sum": 0.0, "median": None}
    lower, upper = (count - 1) // 2, count // 2
    parted = np.partition(values, (lower, upper))
    return {
        "min": float(values.min()),
        "max": float(values.max()),
        "count": count,
        "sum": _sum(values),
        "median": float(parted[lower]) / 2 + float(parted[upper]) / 2 if lower != upper else float(parted[lower]),
    }


def _sum(values: Values) -> float | None:
    try:
        total = math.fsum(values.tolist())
    except OverflowError:
        return None
    return total if math.isfinite(total) else None


def of_device(engine: Engine, device_id: UUID, start: datetime | None, end: datetime | None) -> dict[str, Any]:
    """Return the statistics of one device's readings with start <= time < end. Raises WeirError."""
    with translated(), _snapshot(engine) as connection:
        keys = connection.execute(text("SELECT key FROM devices WHERE id = :id"), {"id": device_id}).scalars().all()
        columns = [_read(connection, key, start, end) for key in keys]
        return _answer(columns, _coverage(connection, start, end))


def of_user(
    engine: Engine, user_id: int, start: datetime | None, end: datetime | None, *, by_device: bool
) -> dict[str, Any]:
    """Return the statistics of a user's devices, together or each by itself. Raises WeirError."""
    with translated(), _snapshot(engine) as connection:
        devices = connection.execute(
            text("SELECT id, key FROM devices WHERE user_id = :user_id ORDER BY key"), {"user_id": user_id}
        ).all()
        coverage = _coverage(connection, start, end)
        columns = [(device_id, _read(connection, key, start, end)) for device_id, key in devices]
    if by_device:
        return {"devices": {str(device_id): _answer([read], coverage) for device_id, read in columns}}
    return _answer([read for _, read in columns], coverage)


def _snapshot(engine: Engine) -> Connection:
    """Open a connection whose statements all see the same moment."""
    return engine.connect().execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def _coverage(connection: Connection, start: datetime | None, end: datetime | None) -> dict[str, Any]:
    """Say what an answer covers: the window, the moment, and how much had not arrived yet."""
    as_of: datetime = connection.execute(text("SELECT now()")).scalar_one()
    return {
        "start": start and start.isoformat(),
        "end": end and end.isoformat(),
        "as_of": as_of.isoformat(),
        "queued": queued(connection, READINGS.name),
    }


def _answer(columns: Sequence[NDArray[np.void]], coverage: dict[str, Any]) -> dict[str, Any]:
    def axis(name: str) -> Values:
        return np.concatenate([np.empty(0), *(rows[name].astype(np.float64) for rows in columns)])

    return {**{name: summarise(axis(name)) for name in AXES}, **coverage}


def _read(connection: Connection, key: int, start: datetime | None, end: datetime | None) -> NDArray[np.void]:
    """Read the values of one device as columns; binary COPY is the fastest way out of PostgreSQL."""
    cursor: Any = connection.connection.cursor()
    conditions, parameters = ["device_key = %s"], [key]
    for moment, comparison in ((start, ">="), (end, "<")):
        if moment is not None:
            conditions.append(f"time {comparison} %s")
            parameters.append(moment)  # type: ignore[arg-type]
    query = cursor.mogrify(f"SELECT x, y, z FROM readings WHERE {' AND '.join(conditions)}", parameters).decode()  # noqa: S608
    out = io.BytesIO()
    cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT binary)", out)
    size = out.tell() - len(COPY_HEADER) - len(COPY_TRAILER)
    return np.frombuffer(out.getbuffer(), _ROWS, size // _ROWS.itemsize, len(COPY_HEADER))
