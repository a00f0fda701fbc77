"""Finds the rows that PostgreSQL refuses among many that it takes."""

from collections.abc import Callable, Sequence
from typing import Any

import psycopg2

from shared.database import meaning
from shared.errors import InvalidRecord


def sift(
    cursor: Any, rows: Sequence[tuple[int, bytes]], copy_in: Callable[[Any, Sequence[bytes]], None]
) -> list[tuple[int, InvalidRecord]]:
    """Try all rows; on failure try each half. One bad row among n costs about 2 log2(n) COPYs.

    Args:
        cursor: inside a transaction that the caller rolls back.
        rows: each with the number that it is named by in the result.
        copy_in: copies rows by this cursor; it raises the driver's errors.

    Returns:
        The numbers of the rows that were refused, each with the reason.

    Raises:
        psycopg2.Error: something that no row is to blame for.
    """
    if not rows:
        return []
    cursor.execute("SAVEPOINT half")
    try:
        copy_in(cursor, [row for _, row in rows])
    except psycopg2.Error as error:
        fault = meaning(error)
        if not isinstance(fault, InvalidRecord):
            raise
        cursor.execute("ROLLBACK TO SAVEPOINT half")
        if len(rows) == 1:
            return [(rows[0][0], fault)]
        middle = len(rows) // 2
        return sift(cursor, rows[:middle], copy_in) + sift(cursor, rows[middle:], copy_in)
    cursor.execute("RELEASE SAVEPOINT half")
    return []
