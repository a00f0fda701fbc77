"""The database as the benchmark sees it: emptied, counted, and written to as fast as PostgreSQL takes it."""

import io
import time
from collections.abc import Iterable
from contextlib import closing
from datetime import timedelta
from typing import Any

from shared.database import connect
from shared.streams.readings import READINGS
from shared.streams.stream import COPY_HEADER, COPY_TRAILER

#: The ledger grows in the transaction that writes the rows, and costs no scan.
_STORED = "SELECT coalesce(sum(stored), 0)::bigint FROM ledger WHERE stream = 'readings'"
_COPY = f"COPY {READINGS.table} ({', '.join(READINGS.columns)}) FROM STDIN (FORMAT binary)"


class Store:
    """One connection to one database, each statement its own transaction."""

    def __init__(self, url: str) -> None:
        self._engine = connect(url, pool_size=1, statement_deadline=timedelta(minutes=2))
        self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    def close(self) -> None:
        self._connection.close()
        self._engine.dispose()

    def rows(self, query: str, parameters: dict[str, Any] | None = None) -> list[Any]:
        result = self._connection.exec_driver_sql(query, parameters)
        return list(result.all()) if result.returns_rows else []

    def scalar(self, query: str) -> Any:
        return self.rows(query)[0][0]

    def stored(self) -> int:
        """How many readings the consumer has committed since `empty`."""
        return int(self.scalar(_STORED))

    def count(self) -> int:
        """How many rows there are; looks at every one."""
        return int(self.scalar("SELECT count(*) FROM readings"))

    def empty(self) -> None:
        """Begin anew, with nothing left to write back from before."""
        self.rows("TRUNCATE readings, receipts, ledger")
        self.rows("CHECKPOINT")

    def copy(self, batches: Iterable[bytes]) -> float:
        """COPY batch after batch, each committed; return the seconds it took."""
        driver: Any = self._connection.connection
        began = time.perf_counter()
        with closing(driver.cursor()) as cursor:
            for rows in batches:
                cursor.copy_expert(_COPY, io.BytesIO(b"".join((COPY_HEADER, rows, COPY_TRAILER))), 1 << 20)
        return time.perf_counter() - began
