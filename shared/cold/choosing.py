"""Chooses rows of a cold file: row groups by their statistics, then rows exactly."""

from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def may_hold(group: Any, start: datetime | None, end: datetime | None, keys: pa.Array | None) -> bool:
    """Whether a row group can hold what is looked for, by its statistics."""
    for index in range(group.num_columns):
        column = group.column(index)
        if column.path_in_schema not in {"time", "device_key"} or not column.is_stats_set:
            continue
        statistics = column.statistics
        if column.path_in_schema == "time":
            if (start is not None and statistics.max < start) or (end is not None and statistics.min >= end):
                return False
        elif keys is not None:
            inside = pc.and_(pc.greater_equal(keys, statistics.min), pc.less_equal(keys, statistics.max))
            if not pc.any(inside).as_py():
                return False
    return True


def matching(table: pa.Table, start: datetime | None, end: datetime | None, keys: pa.Array | None) -> pa.Table:
    """Return the rows with start <= time < end of these devices."""
    if keys is not None:
        table = table.filter(pc.is_in(table["device_key"], keys))
    if start is not None:
        table = table.filter(pc.greater_equal(table["time"], pa.scalar(start, table.schema.field("time").type)))
    if end is not None:
        table = table.filter(pc.less(table["time"], pa.scalar(end, table.schema.field("time").type)))
    return table
