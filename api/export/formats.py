"""The formats of a download, and which of them a client accepts."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import pyarrow as pa

from api.errors import NotAcceptable
from api.export.columnar import Arrow, Parquet
from api.export.text import Csv, Json, JsonLines


class Encoder(Protocol):
    """Turns batches into the bytes of one file; all that it was given are in it once `end` was called."""

    def begin(self) -> bytes: ...

    def encode(self, batch: pa.RecordBatch) -> bytes: ...

    def end(self) -> bytes: ...


class Format(NamedTuple):
    media_type: str
    suffix: str
    encoder: Callable[[pa.Schema], Encoder]


#: The first is what a client gets that takes anything.
FORMATS = (
    Format("text/csv", "csv", Csv),
    Format("application/json", "json", Json),
    Format("application/x-ndjson", "ndjson", JsonLines),
    Format("application/vnd.apache.arrow.stream", "arrow", Arrow),
    Format("application/vnd.apache.parquet", "parquet", Parquet),
)


def accepted(header: str | None) -> Format:
    """Choose the format with the highest q-value in an Accept header; of equals the first of ours (RFC 9110, 12.5.1).

    Raises:
        NotAcceptable: none of ours is accepted.
    """
    ranges = [one for one in (_range(text) for text in (header or "*/*").split(",")) if one]
    qualities = [_quality(one.media_type, ranges) for one in FORMATS]
    best = max(qualities)
    if best <= 0:
        raise NotAcceptable(f"there are {', '.join(one.media_type for one in FORMATS)}")
    return FORMATS[qualities.index(best)]


def _range(text: str) -> tuple[str, float] | None:
    """A media range and its q-value, or None when it says nothing."""
    media_range, *parameters = (part.strip().lower() for part in text.split(";"))
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                return None
    return (media_range, quality) if media_range and 0 <= quality <= 1 else None


def _quality(media_type: str, ranges: list[tuple[str, float]]) -> float:
    """The most specific range that fits counts: a type, then a kind of types, then any."""
    for wanted in (media_type, f"{media_type.partition('/')[0]}/*", "*/*"):
        found = [quality for media_range, quality in ranges if media_range == wanted]
        if found:
            return max(found)
    return 0.0
