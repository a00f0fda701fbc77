"""Which columns of a file a record is made of: its header, or names given by option, and the mapping to our fields."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from cli.importing.lines import Record, records
from shared.errors import WeirError

#: The first columns of a file of rejected lines. They say what was wrong, and are no part of the records.
REJECT_COLUMNS = ("line", "field", "code")
#: The next column of rejected events: where ids that are no UUIDs come from.
NAMESPACE = "namespace"


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is written, and what its columns mean.

    Attributes:
        delimiter: between two cells.
        columns: the names of the columns of a file without a header line; None: the first line has them.
        mapping: for a field of ours, the column that holds it. `=TEXT` is the same text in every record.
        time_columns: the columns that make up the time, joined by a blank; none: the one of our name.
        missing: cells of these texts hold no value.
    """

    delimiter: str = ","
    columns: tuple[str, ...] | None = None
    mapping: Mapping[str, str] = field(default_factory=dict)
    time_columns: tuple[str, ...] = ()
    missing: frozenset[str] = frozenset()


class MissingColumns(WeirError):
    """The file lacks columns. `fields` are ours that have none, `names` the columns that there are."""

    def __init__(self, message: str, fields: Sequence[str], names: Sequence[str]) -> None:
        super().__init__(message)
        self.fields = fields
        self.names = names


class Table:
    """The records of a file, and the names of its columns.

    Raises:
        WeirError: it has no first line, or a column is named twice.
    """

    def __init__(self, lines: Iterator[str], layout: Layout, known: Sequence[str], also: Mapping[str, str]) -> None:
        self._records: Iterator[Record] = records(lines, layout.delimiter)
        first = next(self._records, None)
        if first is None:
            raise WeirError("the file is empty")
        if first.fault:
            raise WeirError("the first line cannot be read: it has a quote that is not closed, or text behind one")
        names = [name.strip() for name in first.cells]
        self.is_of_rejects = tuple(names[: len(REJECT_COLUMNS)]) == REJECT_COLUMNS
        #: How many columns come before those of the file that the lines were rejected from.
        self.before = len(REJECT_COLUMNS) * self.is_of_rejects
        if self.is_of_rejects and names[self.before : self.before + 1] == [NAMESPACE]:
            self.before += 1
        #: The header as it stands in the file, or would stand.
        self.header = first.raw.rstrip("\r\n")
        if layout.columns is not None and not self.is_of_rejects:
            names = list(layout.columns)
            self.header = layout.delimiter.join(names)
            self._records = chain([first], self._records)
        self.first_line = first.raw.rstrip("\r\n")
        self.names = _ours(names, known, also)
        own = self.names[self.before :]
        twice = sorted({name for name in own if name and own.count(name) > 1})
        if twice:
            raise WeirError(
                f"the first line names a column twice: {', '.join(twice)}. Mend it, or give the columns names by "
                "--no-header --columns NAME,NAME,…"
            )

    def records(self) -> Iterator[Record]:
        return self._records

    def index(self, name: str) -> int:
        """Return the place of a column. Raises WeirError."""
        if name in self.names[self.before :]:
            return self.names.index(name, self.before)
        found = [place for place, one in enumerate(self.names) if place >= self.before and one.lower() == name.lower()]
        if len(found) == 1:
            return found[0]
        raise WeirError(f"there is no column {name}; the columns are {', '.join(self.names)}")


def _ours(names: list[str], known: Sequence[str], also: Mapping[str, str]) -> list[str]:
    """Write our own names in lower case, and those that stand for one of them as that one."""
    found = [name.lower() if name.lower() in known else name for name in names]
    for other, column in also.items():
        found = [column if name.lower() == other and column not in found else name for name in found]
    return found
