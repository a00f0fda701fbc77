"""Which records are stored already, in streams whose records have an identity."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from shared.streams.stream import Stream, row_ends

#: Where the first column of a binary COPY tuple stands, when it is a uuid: after the number of fields and its length.
_ID_START, _ID_END = 6, 22


class New(NamedTuple):
    """Of the rows of a part those that nobody has stored, and the places of the others among the rows."""

    rows: bytes
    stored_before: list[int]


def new_rows(cursor: Any, stream: Stream, parts: Sequence[bytes]) -> list[New]:
    """Take the identities of all records that nobody has stored; return their rows, part by part.

    Of records that come together under one identity the first is new. Whoever takes one meanwhile waits for us, and
    nobody waits in a circle because identities are taken in their order.
    """
    starts_of = [[0, *row_ends(rows)] for rows in parts]
    identities_of = [
        [rows[start + _ID_START : start + _ID_END].hex() for start in starts[:-1]]
        for rows, starts in zip(parts, starts_of, strict=True)
    ]
    unseen = _take(cursor, stream, {one for identities in identities_of for one in identities})
    found = []
    for rows, starts, identities in zip(parts, starts_of, identities_of, strict=True):
        new: list[int] = []
        stored_before: list[int] = []
        for place, identity in enumerate(identities):
            (new if identity in unseen else stored_before).append(place)
            unseen.discard(identity)
        # Nearly always all are new: then nothing is copied.
        left = b"".join(rows[starts[at] : starts[at + 1]] for at in new) if stored_before else rows
        found.append(New(left, stored_before))
    return found


def _take(cursor: Any, stream: Stream, identities: set[str]) -> set[str]:
    """Write identities down; return those that were not there."""
    if not identities:
        return set()
    taking = f"INSERT INTO {stream.identities} SELECT unnest(%s::uuid[]) ON CONFLICT DO NOTHING RETURNING id"
    cursor.execute(taking, (f"{{{','.join(sorted(identities))}}}",))
    return {identity.replace("-", "") for (identity,) in cursor.fetchall()}
