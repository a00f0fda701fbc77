"""What a file in the cold store is known by."""

import builtins
import hashlib
from typing import Any, NamedTuple

import pyarrow as pa

#: At the end of every Parquet file: the footer's length, then this.
MAGIC, _TAIL_BYTES = b"PAR1", 8
_PIECE_BYTES = 1 << 20


class Digests(NamedTuple):
    """What a file is known by: its size, its SHA-256, and that of its footer, which is quickly looked at."""

    bytes: int
    sha256: builtins.bytes
    footer_sha256: builtins.bytes


def digest(source: Any) -> tuple[int, bytes]:
    """Read a whole file; return its size and its SHA-256. Raises OSError or ArrowException."""
    whole = hashlib.sha256()
    source.seek(0)
    while piece := source.read(_PIECE_BYTES):
        whole.update(piece)
    return source.size(), whole.digest()


def footer_of(source: Any) -> bytes:
    """Return footer, length and magic. Raises ArrowInvalid when this is not how a Parquet file ends."""
    size = source.size()
    source.seek(max(0, size - _TAIL_BYTES))
    tail = source.read(_TAIL_BYTES)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != MAGIC or length > size - _TAIL_BYTES:
        raise pa.ArrowInvalid("it does not end like a Parquet file")
    source.seek(size - _TAIL_BYTES - length)
    return bytes(source.read(length + _TAIL_BYTES))
