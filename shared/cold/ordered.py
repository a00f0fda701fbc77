"""The form of an ordered copy: one axis of one device in one file, sorted, in blocks that are read one by one."""

import zlib
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Values = NDArray[np.float64]
Counts = NDArray[np.uint32]
Blocks = NDArray[np.void]

#: A block's lowest and highest value, how many rows have its values and how many different ones these are; then where
#: its bytes are, and their CRC-32. Kept as it is in PostgreSQL.
BLOCK = np.dtype(
    [
        ("low", "<f8"), ("high", "<f8"), ("rows", "<i4"), ("entries", "<i4"),
        ("offset", "<i8"), ("bytes", "<i4"), ("crc", "<u4"),
    ]
)  # fmt: skip

#: Rows of a block are a 64th of all, within these bounds. Small blocks are read soon, but there is more to know of them.
_SHARES, _FEWEST, _MOST = 64, 1024, 4096

_ENTRY_BYTES = 12
_zstd = pa.Codec("zstd", 1)


class BlockDamaged(ValueError):
    """The bytes are not those of the block."""


def rows_of_block(rows: int) -> int:
    """Say how many rows a block is to have where a device has so many."""
    return min(max(rows // _SHARES, _FEWEST), _MOST)


def blocks(values: Values, rows: int, offset: int = 0) -> Iterator[tuple[np.void, bytes]]:
    """Cut values into blocks of about so many rows, whose bytes begin at `offset` of a file and follow each other.

    Yields one record of BLOCK after another with its bytes.
    """
    different, counts = _distinct(values)
    for first, end in _cuts(counts, rows):
        packed = _pack(different[first:end], counts[first:end])
        found = (different[first], different[end - 1], counts[first:end].sum(), end - first)
        record: Any = np.array((*found, offset, len(packed), zlib.crc32(packed)), BLOCK)
        yield record[()], packed
        offset += len(packed)


def unpack(packed: bytes, block: np.void) -> tuple[Values, Counts]:
    """Return a block's different values, ascending, and how many rows have each. Raises BlockDamaged."""
    if zlib.crc32(packed) != block["crc"]:
        raise BlockDamaged("has a block with another checksum")
    entries = int(block["entries"])
    raw = _zstd.decompress(packed, entries * _ENTRY_BYTES)
    return _value(np.cumsum(np.frombuffer(raw, "<i8", entries))), np.frombuffer(raw, "<u4", entries, 8 * entries)


def _distinct(values: Values) -> tuple[Values, Counts]:
    ordered = np.sort(values + 0.0)  # -0.0 becomes 0.0: they are one value
    firsts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    return ordered[firsts], np.diff(firsts, append=len(ordered)).astype("<u4")


def _cuts(counts: Counts, rows: int) -> Iterator[tuple[int, int]]:
    """Say where blocks of about so many rows begin and end; a value is never in two of them."""
    through = np.cumsum(counts, dtype=np.int64)
    ends = np.searchsorted(through, np.arange(rows, through[-1], rows)) + 1
    edges = np.unique(np.concatenate([[0], ends, [len(counts)]])).tolist()
    return pairwise(edges)


def _pack(values: Values, counts: Counts) -> bytes:
    """Neighbours differ little, as integers: the upper bytes of the differences are zeros, and nearly all counts are 1."""
    differences = np.diff(_image(values), prepend=np.int64(0))
    packed: bytes = _zstd.compress(differences.astype("<i8").tobytes() + counts.tobytes(), asbytes=True)
    return packed


def _image(values: Values) -> NDArray[np.int64]:
    """Floats as integers in the same order: the bits, with those of negative ones turned around."""
    return _turned(values.view(np.int64))


def _value(images: NDArray[np.int64]) -> Values:
    return _turned(images).view(np.float64)


def _turned(bits: NDArray[np.int64]) -> NDArray[np.int64]:
    return bits ^ ((bits >> 63) & np.int64(0x7FFF_FFFF_FFFF_FFFF))
