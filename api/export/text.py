"""CSV, JSON and lines of JSON: rows become text inside Arrow, which leaves the interpreter to others meanwhile."""

from collections.abc import Sequence

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from api.export.columns import HOLDS, JSON, TEXT, TIME

#: Digits alone: JSON has them read as a whole number, and -0 would lose its sign.
_WHOLE, _WITH_POINT = r"^(-?[0-9]+)$", r"\1.0"


class Csv:
    """RFC 4180 with a header. Times in UTC with microseconds, numbers the shortest that read back the same."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema

    def begin(self) -> bytes:
        return f"{','.join(self._schema.names)}\n".encode()

    def encode(self, batch: pa.RecordBatch) -> bytes:
        pieces: list[pa.Array | str] = []
        for field, column in zip(self._schema, batch.columns, strict=True):
            pieces += ['"', pc.replace_substring(column, '"', '""'), '"'] if _holds(field) else [_text(column)]
            pieces.append(",")
        return _joined(pieces[:-1], "\n")

    def end(self) -> bytes:
        return b""


class JsonLines:
    """One JSON object on each line (NDJSON)."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema

    def begin(self) -> bytes:
        return b""

    def encode(self, batch: pa.RecordBatch) -> bytes:
        return _joined(_object(self._schema, batch), "\n")

    def end(self) -> bytes:
        return b""


class Json:
    """One array of objects, each on a line of its own."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._separator = b"[\n"

    def begin(self) -> bytes:
        return b""

    def encode(self, batch: pa.RecordBatch) -> bytes:
        rows = _joined(_object(self._schema, batch), ",\n")
        if not rows:
            return b""
        found = self._separator + rows[: -len(b",\n")]
        self._separator = b",\n"
        return found

    def end(self) -> bytes:
        return b"[]\n" if self._separator == b"[\n" else b"\n]\n"


def _holds(field: pa.Field) -> bytes | None:
    """What is in a column of strings: any text, or JSON; None: neither needs care."""
    return (field.metadata or {}).get(HOLDS)


def _object(schema: pa.Schema, batch: pa.RecordBatch) -> list[pa.Array | str]:
    pieces: list[pa.Array | str] = []
    for field, column in zip(schema, batch.columns, strict=True):
        pieces.append(f'{"," if pieces else "{"}"{field.name}":')
        if _holds(field) == TEXT:
            pieces.append(_quoted(column))
        elif _holds(field) == JSON or pa.types.is_floating(field.type):
            pieces.append(_text(column))
        else:
            pieces += ['"', _text(column), '"']
    return [*pieces, "}"]


def _quoted(column: pa.Array) -> pa.Array:
    """Any text as JSON has it; what comes often is quoted once."""
    words = column.dictionary_encode()
    quoted = pa.array([msgspec.json.encode(word).decode() for word in words.dictionary.to_pylist()], pa.string())
    return quoted.take(words.indices)


def _text(column: pa.Array) -> pa.Array:
    if column.type == TIME:
        naive = pc.cast(column.view(pa.timestamp("us")), pa.string())
        return pc.binary_join_element_wise(pc.binary_replace_slice(naive, 10, 11, "T"), "Z", "")
    if pa.types.is_floating(column.type):
        return pc.replace_substring_regex(pc.cast(column, pa.string()), _WHOLE, _WITH_POINT)
    return column


def _joined(pieces: Sequence[pa.Array | str], end: str) -> bytes:
    """Join the pieces of each row, and all rows: an array of texts holds them back to back."""
    rows = pc.binary_join_element_wise(*pieces, end, "")
    _, offsets, data = rows.buffers()
    if data is None:
        return b""
    first, last = (memoryview(offsets).cast("i")[place] for place in (rows.offset, rows.offset + len(rows)))
    return bytes(memoryview(data)[first:last])
