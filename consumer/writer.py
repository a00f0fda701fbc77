"""Writes batches: receipts, the rows of those that are new, and the ledger, in one transaction."""

import asyncio
import io
import json
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import psycopg2
import psycopg2.extensions

from consumer.deliveries import DeadRecord, Delivery, Part
from shared.database import KEEPALIVE, meaning, translated
from shared.errors import DatabaseUnavailable, InvalidRecord, Unavailable
from shared.ledger import ADD
from shared.streams.stream import COPY, COPY_HEADER, COPY_TRAILER, Stream, split_rows

Result = TypeVar("Result")

#: COPY reads from us in pieces of this size.
_PIECE_BYTES = 1 << 20

#: A receipt that is there already belongs to a redelivery, or to a submission sent twice under one key.
_RECEIPTS = """
    INSERT INTO receipts (id, stream, stored, dead)
    SELECT id, %s, stored, dead::json FROM unnest(%s::uuid[], %s::int[], %s::text[]) AS r (id, stored, dead)
    ON CONFLICT DO NOTHING RETURNING id
"""


class Writer:
    """Writes one stream's batches on a connection and a thread of its own.

    Every call ends within `deadline`: a frozen server never answers, so the thread that waits for it is left behind
    and its socket shut. The outcome is then unknown, and writing the same batch again is safe.
    """

    def __init__(self, database_url: str, stream: Stream, deadline: timedelta) -> None:
        self._dsn = database_url.replace("+psycopg2", "", 1)
        self._stream = stream
        self._deadline = deadline.total_seconds()
        self._connection: psycopg2.extensions.connection | None = None
        self._thread = ThreadPoolExecutor(1, "writer")
        self._copy = f"COPY {stream.table} ({', '.join(stream.columns)}) FROM STDIN (FORMAT binary)"

    async def write(self, batch: Sequence[Delivery]) -> Counter[str]:
        """Write a batch, all of it or nothing; return how many records were stored, duplicate and dead.

        Raises:
            InvalidRecord: a record does not fit; `find_dead` tells which.
            Unavailable, Misconfigured: nothing to do with the records.
        """
        return await self._run(lambda connection: self._write(connection, batch))

    async def find_dead(self, batch: Sequence[Delivery]) -> list[Part]:
        """Find the records that cannot be written, by halving, and take them out of their parts' rows.

        Returns the parts that changed. Nothing stays written. Raises Unavailable or Misconfigured.
        """
        return await self._run(lambda connection: self._find_dead(connection, batch))

    async def device_keys(self, device_ids: Iterable[UUID]) -> dict[UUID, int]:
        """Look up devices for JSON bodies. Raises Unavailable or Misconfigured."""
        ids = [str(one) for one in device_ids]
        return await self._run(lambda connection: self._device_keys(connection, ids))

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._connection is not None:
            self._connection.close()

    async def _run(self, work: Callable[[psycopg2.extensions.connection], Result]) -> Result:
        running = asyncio.get_running_loop().run_in_executor(self._thread, self._in_transaction, work)
        try:
            async with asyncio.timeout(self._deadline):
                return await running
        except TimeoutError as error:
            self._leave_behind()
            raise DatabaseUnavailable("the database did not answer in time") from error

    def _in_transaction(self, work: Callable[[psycopg2.extensions.connection], Result]) -> Result:
        connection = self._connection
        try:
            with translated():
                if connection is None or connection.closed:
                    connection = self._connection = self._connect()
                with connection:
                    return work(connection)
        except Unavailable:
            # The next attempt starts on a connection that knows nothing of this one: a server that was a standby, or
            # read-only, stays so for those who came before it changed.
            if connection is not None:
                connection.close()
            raise

    def _connect(self) -> psycopg2.extensions.connection:
        milliseconds = int(self._deadline * 1000)
        options = f"-c statement_timeout={milliseconds} -c idle_in_transaction_session_timeout={milliseconds}"
        return psycopg2.connect(self._dsn, application_name="weir consumer", options=options, **KEEPALIVE)

    def _leave_behind(self) -> None:
        """Shut the socket, which wakes the thread if anything can, and go on with a fresh thread."""
        connection, self._connection = self._connection, None
        self._thread.shutdown(wait=False)
        self._thread = ThreadPoolExecutor(1, "writer")
        if connection is not None:
            with suppress(OSError, psycopg2.Error), socket.socket(fileno=os.dup(connection.fileno())) as twin:
                twin.shutdown(socket.SHUT_RDWR)  # of the connection; closing the twin leaves libpq its descriptor

    def _write(self, connection: psycopg2.extensions.connection, batch: Sequence[Delivery]) -> Counter[str]:
        totals: Counter[str] = Counter()
        with connection.cursor() as cursor:
            new, minutes = self._new_parts(cursor, batch)
            rows = [part.rows for part in new if part.rows]
            if rows:
                self._copy_in(cursor, rows)
            for minute in sorted(minutes):
                totals += minutes[minute]
                counts = {name: minutes[minute][name] for name in ("accepted", "stored", "duplicate", "dead")}
                cursor.execute(ADD, {"stream": self._stream.name, "minute": minute, **counts})
        return totals

    def _new_parts(self, cursor: Any, batch: Sequence[Delivery]) -> tuple[list[Part], dict[int, Counter[str]]]:
        """Insert the receipts; return the parts whose receipt is new, and what to count in each minute."""
        parts = [part for delivery in batch for part in delivery.parts]
        ids = [str(part.receipt) for part in parts]
        stored = [part.records - part.dead_records for part in parts]
        dead = [json.dumps([_summary(one) for one in part.dead]) if part.dead else None for part in parts]
        cursor.execute(_RECEIPTS, (self._stream.name, ids, stored, dead))
        unseen = {row[0] for row in cursor.fetchall()}
        new: list[Part] = []
        minutes: dict[int, Counter[str]] = {}
        for delivery in batch:
            if str(delivery.parts[0].receipt) not in unseen:
                continue  # a redelivery: all of it was written and counted before
            counts = minutes.setdefault(delivery.minute, Counter())
            if delivery.foreign:
                counts["accepted"] += delivery.records
            for part in delivery.parts:
                if str(part.receipt) not in unseen:
                    counts["duplicate"] += part.records
                    continue
                unseen.discard(str(part.receipt))
                counts["dead"] += part.dead_records
                counts["stored"] += part.records - part.dead_records
                new.append(part)
        return new, minutes

    def _copy_in(self, cursor: Any, rows: Sequence[bytes]) -> None:
        cursor.copy_expert(self._copy, io.BytesIO(b"".join([COPY_HEADER, *rows, COPY_TRAILER])), _PIECE_BYTES)

    def _find_dead(self, connection: psycopg2.extensions.connection, batch: Sequence[Delivery]) -> list[Part]:
        changed: list[Part] = []
        with connection.cursor() as cursor:
            new, _ = self._new_parts(cursor, batch)
            records: list[tuple[Part, int, bytes]] = []
            for part in new:
                try:
                    records += [(part, index, row) for index, row in enumerate(split_rows(part.rows))]
                except ValueError as error:
                    part.dead.append(DeadRecord(None, "malformed", str(error), part.rows, COPY))
                    part.rows = b""
                    changed.append(part)
            faults = self._sift(cursor, records)
            connection.rollback()
        dead: dict[int, set[int]] = {}
        for part, index, row, fault in faults:
            part.dead.append(DeadRecord(index, fault.code, str(fault), row, COPY))
            dead.setdefault(id(part), set()).add(index)
        for part in new:
            if id(part) in dead:
                part.rows = b"".join(r for i, r in enumerate(split_rows(part.rows)) if i not in dead[id(part)])
                changed.append(part)
        return changed

    def _sift(
        self, cursor: Any, records: Sequence[tuple[Part, int, bytes]]
    ) -> list[tuple[Part, int, bytes, InvalidRecord]]:
        """Try all; on failure try each half. One bad record among n costs about 2 log2(n) COPYs."""
        if not records:
            return []
        cursor.execute("SAVEPOINT half")
        try:
            self._copy_in(cursor, [row for _, _, row in records])
        except psycopg2.Error as error:
            fault = meaning(error)
            if not isinstance(fault, InvalidRecord):
                raise
            cursor.execute("ROLLBACK TO SAVEPOINT half")
            if len(records) == 1:
                return [(*records[0], fault)]
            middle = len(records) // 2
            return self._sift(cursor, records[:middle]) + self._sift(cursor, records[middle:])
        cursor.execute("RELEASE SAVEPOINT half")
        return []

    def _device_keys(self, connection: psycopg2.extensions.connection, ids: list[str]) -> dict[UUID, int]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT id::text, key FROM devices WHERE id = ANY(%s::uuid[])", (ids,))
            return {UUID(device_id): key for device_id, key in cursor.fetchall()}


def _summary(dead: DeadRecord) -> dict[str, Any]:
    return {"index": dead.index, "code": dead.code, "reason": dead.reason}
