"""Writes batches: receipts, the rows of those that are new, and the ledger, in one transaction."""

import io
import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import count
from typing import Any
from uuid import UUID

from consumer.deliveries import DeadRecord, Delivery, Part
from consumer.identities import new_rows
from consumer.session import Connection, Session
from consumer.sifting import sift
from consumer.suspects import Suspects
from shared.errors import WeirError
from shared.ledger import ADD, ADD_STORED, NO_SERIES, STORED_PARTS
from shared.streams.stream import COPY, COPY_HEADER, COPY_TRAILER, Stream, split_rows

#: Minute and series.
Place = tuple[int, str]
#: A part whose receipt is new, and the counts of its place in the ledger.
NewPart = tuple[Part, Counter[str]]

#: For each writer of a process another; those of other processes begin elsewhere, mostly.
_PARTS = count(random.randrange(STORED_PARTS))

#: COPY reads from us in pieces of this size.
_PIECE_BYTES = 1 << 20

#: A receipt that is there already belongs to a redelivery, or to a submission sent twice under one key. They are inserted
#: in their order, so that two writers with receipts in common never wait for each other in a circle; of two parts under
#: one receipt the first counts, here as below.
_RECEIPTS = """
    INSERT INTO receipts (id, stream, stored, dead, digest)
    SELECT id, %s, stored, dead::json, digest
    FROM unnest(%s::uuid[], %s::int[], %s::text[], %s::bytea[]) WITH ORDINALITY AS r (id, stored, dead, digest, place)
    ORDER BY id, place ON CONFLICT DO NOTHING RETURNING id
"""

_DUPLICATES = """
    UPDATE receipts AS r SET stored = r.stored - found.count, duplicate = found.count, duplicates = found.places
    FROM unnest(%s::uuid[], %s::int[], %s::int4multirange[]) AS found (id, count, places)
    WHERE r.id = found.id AND r.stream = %s
"""
_DIGESTS = """
    SELECT id::text, digest FROM receipts WHERE stream = %s AND id = ANY(%s::uuid[]) AND digest IS NOT NULL
"""
_SEEN = "SELECT id::text FROM receipts WHERE stream = %s AND id = ANY(%s::uuid[])"
_KEYS = "SELECT id::text, key FROM devices WHERE id = ANY(%s::uuid[])"


class KeyReused(WeirError):
    """Keyed submissions came whose keys are taken by other bodies; nothing of the batch is written."""

    def __init__(self, parts: Sequence[Part]) -> None:
        super().__init__("a key was used for another body before")
        self.parts = parts


class Writer:
    """Writes one stream's batches. Writing the same batch again is always safe: its receipts are there already."""

    def __init__(self, database_url: str, stream: Stream, deadline: timedelta) -> None:
        self._session = Session(database_url, deadline)
        self.suspects = Suspects(self._session)
        self._stream = stream
        self._part = next(_PARTS) % STORED_PARTS
        self._copy = f"COPY {stream.table} ({', '.join(stream.columns)}) FROM STDIN (FORMAT binary)"

    async def write(self, batch: Sequence[Delivery]) -> Counter[str]:
        """Write a batch, all of it or nothing; return how many records were stored, duplicate and dead.

        Raises:
            InvalidRecord: a record does not fit.
            KeyReused: these parts are to be given up first.
            Unavailable, Misconfigured: nothing to do with the records.
        """
        return await self._session.run(lambda connection: self._write(connection, batch))

    async def find_dead(self, delivery: Delivery) -> list[Part]:
        """Find the records that cannot be written, by halving, and take them out of their parts' rows.

        Returns the parts that changed. Nothing stays written. Raises Unavailable or Misconfigured.
        """
        found = await self._session.run(lambda connection: self._find_dead(connection, delivery))
        for part, rows, dead in found:
            part.rows = rows
            part.dead += dead
        return [part for part, _, _ in found]

    async def seen(self, parts: Iterable[Part]) -> set[UUID]:
        """Return which of these parts' receipts are written already. Raises Unavailable or Misconfigured."""
        ids = [str(part.receipt) for part in parts]
        rows = await self._session.run(lambda connection: _select(connection, _SEEN, self._stream.name, ids))
        return {UUID(receipt) for (receipt,) in rows}

    async def device_keys(self, device_ids: Iterable[UUID]) -> dict[UUID, int]:
        """Look up devices for JSON bodies. Raises Unavailable or Misconfigured."""
        ids = [str(one) for one in device_ids]
        rows = await self._session.run(lambda connection: _select(connection, _KEYS, ids))
        return {UUID(device_id): key for device_id, key in rows}

    def close(self) -> None:
        self._session.close()

    def _write(self, connection: Connection, batch: Sequence[Delivery]) -> Counter[str]:
        totals: Counter[str] = Counter()
        with connection.cursor() as cursor:
            new, repeated, minutes = self._new_parts(cursor, batch)
            self._refuse_other_bodies(cursor, repeated)
            rows = self._once(cursor, new) if self._stream.identity else [part.rows for part, _ in new if part.rows]
            if rows:
                self._copy_in(cursor, rows)
            counting = []
            for minute, series in sorted(minutes):
                found = minutes[minute, series]
                settled = {name: found[name] for name in ("stored", "duplicate", "dead")}
                totals.update(settled)
                accepted = {"added": found["added"], "reached": found["reached"]}
                place = {"stream": self._stream.name, "minute": minute, "series": series}
                counting.append(cursor.mogrify(ADD, {**place, **accepted, **settled}))
            if totals["stored"]:
                total = {"stream": self._stream.name, "part": self._part, "stored": totals["stored"]}
                counting.append(cursor.mogrify(ADD_STORED, total))
            if counting:
                cursor.execute(b";".join(counting))  # in one round trip: others wait for these rows until we commit
        return totals

    def _new_parts(
        self, cursor: Any, batch: Sequence[Delivery]
    ) -> tuple[list[NewPart], list[Part], dict[Place, Counter[str]]]:
        """Insert the receipts; return the parts whose receipt is new, each with its place's counts, those sent again,
        and what to count where in the ledger.
        """
        parts = [part for delivery in batch for part in delivery.parts]
        ids = [str(part.receipt) for part in parts]
        stored = [str(part.records - part.dead_records) for part in parts]
        dead = [json.dumps([_summary(one) for one in part.dead]) if part.dead else None for part in parts]
        digests = [rf'"\\x{part.digest.hex()}"' if part.digest else "NULL" for part in parts]
        columns = (_array(ids), _array(stored), dead if any(dead) else None, _array(digests))
        cursor.execute(_RECEIPTS, (self._stream.name, *columns))
        unseen = {row[0] for row in cursor.fetchall()}
        new: list[NewPart] = []
        repeated: list[Part] = []
        minutes: dict[Place, Counter[str]] = {}
        for delivery in batch:
            if str(delivery.parts[0].receipt) not in unseen:
                continue  # a redelivery: all of it was written and counted before
            counts = minutes.setdefault((delivery.minute, str(delivery.series or NO_SERIES)), Counter())
            if delivery.series is None:
                counts["added"] += delivery.records
            counts["reached"] = max(counts["reached"], delivery.reached)
            for part in delivery.parts:
                if str(part.receipt) not in unseen:
                    counts["duplicate"] += part.records
                    repeated.append(part)
                    continue
                unseen.discard(str(part.receipt))
                counts["dead"] += part.dead_records
                counts["stored"] += part.records - part.dead_records
                new.append((part, counts))
        return new, repeated, minutes

    def _once(self, cursor: Any, new: Sequence[NewPart]) -> list[bytes]:
        """Leave out the records that are stored already, and count them as duplicates; return the rows that are left."""
        found = new_rows(cursor, self._stream, [part.rows for part, _ in new])
        duplicates: list[tuple[str, int, str]] = []
        for (part, counts), (_, stored_before) in zip(new, found, strict=True):
            if stored_before:
                places = part.places()
                of_submission = _ranges(places[place] for place in stored_before)
                duplicates.append((str(part.receipt), len(stored_before), of_submission))
                counts["stored"] -= len(stored_before)
                counts["duplicate"] += len(stored_before)
        if duplicates:
            cursor.execute(
                _DUPLICATES, (*(list(column) for column in zip(*duplicates, strict=True)), self._stream.name)
            )
        return [rows for rows, _ in found if rows]

    def _refuse_other_bodies(self, cursor: Any, repeated: Sequence[Part]) -> None:
        """Look whether what was sent again is what was sent first. Raises KeyReused."""
        keyed = [part for part in repeated if part.digest is not None]
        if not keyed:
            return
        cursor.execute(_DIGESTS, (self._stream.name, [str(part.receipt) for part in keyed]))
        first = {receipt: bytes(digest) for receipt, digest in cursor.fetchall()}
        others = [part for part in keyed if first.get(str(part.receipt), part.digest) != part.digest]
        if others:
            raise KeyReused(others)

    def _copy_in(self, cursor: Any, rows: Sequence[bytes]) -> None:
        cursor.copy_expert(self._copy, io.BytesIO(b"".join([COPY_HEADER, *rows, COPY_TRAILER])), _PIECE_BYTES)

    def _find_dead(self, connection: Connection, delivery: Delivery) -> list[tuple[Part, bytes, list[DeadRecord]]]:
        """Return each part with dead records, the rows it keeps, and the dead."""
        with connection.cursor() as cursor:
            new, _, _ = self._new_parts(cursor, [delivery])
            found = []
            for part, _ in new:
                try:
                    rows = split_rows(part.rows)
                except ValueError as error:
                    found.append((part, b"", [DeadRecord(None, "malformed", str(error), part.rows, COPY)]))
                    continue
                faults = dict(sift(cursor, list(enumerate(rows)), self._copy_in))
                if faults:
                    places = part.places()
                    dead = [DeadRecord(places[at], one.code, str(one), rows[at], COPY) for at, one in faults.items()]
                    found.append((part, b"".join(row for i, row in enumerate(rows) if i not in faults), dead))
            connection.rollback()
        return found


def _ranges(places: Iterable[int]) -> str:
    """Write places, which ascend, as PostgreSQL reads a multirange: many that stand side by side take no room."""
    found: list[tuple[int, int]] = []
    for place in places:
        if found and found[-1][1] == place:
            found[-1] = (found[-1][0], place + 1)
        else:
            found.append((place, place + 1))
    return "{" + ",".join(f"[{start},{end})" for start, end in found) + "}"


def _select(connection: Connection, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def _array(elements: Sequence[str]) -> str:
    """Write an array as PostgreSQL reads it: the driver would quote each element by itself, which takes its time."""
    return "{" + ",".join(elements) + "}"


def _summary(dead: DeadRecord) -> dict[str, Any]:
    return {"index": dead.index, "code": dead.code, "reason": dead.reason}
