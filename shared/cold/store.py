"""Where cold files are: a folder, or S3-compatible storage, through pyarrow's filesystems."""

import builtins
import hashlib
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.fs as pf
import pyarrow.parquet as pq

from shared.cold import disk
from shared.cold.choosing import matching, may_hold
from shared.cold.digests import MAGIC, Digests, digest, footer_of
from shared.cold.manifest import ColdFile
from shared.cold.ordered_manifest import OrderedCopy
from shared.errors import ColdFileDamaged, ColdFileUnreadable, ColdUnavailable, Misconfigured

#: The file that says which store this is, one for all of it.
MARK = "_weir"

#: How often storage of objects is asked before it is away. One that hangs costs three seconds each time.
_ATTEMPTS = 3


class Store:
    """The cold files below one address: an absolute path, or a URL such as s3://bucket/folder.

    Raises:
        Misconfigured: nothing can be made of the address.
    """

    def __init__(self, url: str) -> None:
        try:
            filesystem, root = pf.FileSystem.from_uri(url)
        except (pa.ArrowException, OSError) as error:
            raise Misconfigured("no cold store can be at WEIR_COLD_URL") from error
        self._filesystem = _impatient(filesystem, url)
        self._root = root.rstrip("/")
        self._scheme = "" if self._is_local else url.partition("://")[0] + "://"

    @property
    def _is_local(self) -> bool:
        return isinstance(self._filesystem, pf.LocalFileSystem)

    def path(self, file: ColdFile | OrderedCopy) -> str:
        """Say where a file is, for other readers: a path, or a URL. They notice less of what is damaged than `open`."""
        return self._scheme + self._place(file.path)

    def open(self, file: ColdFile) -> pq.ParquetFile:
        """Open a file whose size and footer are as they were sealed; its pages are checked as they are read.

        What is read from it is to be read `within(file)`.

        Raises:
            ColdFileDamaged: it is missing, cut, or its footer is another.
            ColdFileUnreadable: the store can be reached, and this file cannot be read.
            ColdUnavailable: the store cannot be reached.
        """
        with self.within(file):
            source = self.source(file.path)
            if source.size() != file.bytes:
                raise ColdFileDamaged(file.path, f"has {source.size()} bytes and not {file.bytes}")
            footer = footer_of(source)
            if hashlib.sha256(footer).digest() != file.footer_sha256:
                raise ColdFileDamaged(file.path, "has another footer than was sealed")
            source.seek(0)
            return _parquet(source, pq.read_metadata(pa.BufferReader(MAGIC + footer)))

    def read(
        self,
        file: ColdFile,
        columns: Sequence[str] | None = None,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        device_keys: Collection[int] | None = None,
    ) -> pa.Table:
        """Return the records with start <= time < end of these devices, in the file's order. Raises as `open` does."""
        pieces = list(self.pieces(file, columns, start=start, end=end, device_keys=device_keys))
        return pa.concat_tables(pieces)

    def pieces(
        self,
        file: ColdFile,
        columns: Sequence[str] | None = None,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        device_keys: Collection[int] | None = None,
    ) -> Iterator[pa.Table]:
        """The same, one row group after another and at least one table: memory does not grow with the file."""
        keys = None if device_keys is None else pa.array(sorted(device_keys), pa.int32())
        names = None if columns is None else list(columns)
        with self.within(file), self.open(file) as parquet:
            yield parquet.schema_arrow.empty_table().select(names or parquet.schema_arrow.names)
            needed = _needed(names, keys is not None, timed=start is not None or end is not None)
            for group in range(parquet.num_row_groups):
                if may_hold(parquet.metadata.row_group(group), start, end, keys):
                    table = matching(parquet.read_row_group(group, columns=needed), start, end, keys)
                    yield table if names is None else table.select(names)

    @contextmanager
    def within(self, file: ColdFile | OrderedCopy) -> Iterator[None]:
        """Turn pyarrow's errors into ours. Raises as `open` does."""
        try:
            yield
        except FileNotFoundError as error:
            self.reach()
            raise ColdFileDamaged(file.path, "is missing") from error
        except (pa.ArrowException, OSError) as error:
            self.reach()
            if self._is_as_sealed(file):
                raise ColdFileUnreadable(file.path, "did not come through, and is whole") from error
            raise ColdFileDamaged(file.path, "cannot be read") from error

    def reach(self) -> None:
        """Tell a file that is missing or damaged from a store that is away. Raises ColdUnavailable."""
        if self.content(MARK) is None:
            raise ColdUnavailable("the cold store is not there: is it mounted?")

    def content(self, path: str) -> builtins.bytes | None:
        """Return a small file; None: there is none. Raises ColdUnavailable."""
        try:
            with self._filesystem.open_input_file(self._place(path)) as source:
                return bytes(source.read())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ColdUnavailable("the cold store cannot be reached") from error

    def source(self, path: str) -> Any:
        """Open a file for reading at any place. Raises OSError or ArrowException."""
        return self._filesystem.open_input_file(self._place(path))

    def digests(self, path: str) -> Digests:
        """Read a whole file and say what it is known by. Raises OSError or ArrowException."""
        with self.source(path) as source:
            footer = footer_of(source)
            return Digests(*digest(source), hashlib.sha256(footer).digest())

    def parquet(self, path: str) -> pq.ParquetFile:
        """Open a file that the manifest does not know yet. Raises OSError or ArrowException."""
        return _parquet(self.source(path))

    @contextmanager
    def create(self, path: str) -> Iterator[Any]:
        """Write a file, which is on disk once the body is through. Raises ColdUnavailable."""
        place = self._place(path)
        folder = place.rpartition("/")[0]
        with self.writable():
            folders = disk.unsettled(folder) if self._is_local else []
            self._filesystem.create_dir(folder, recursive=True)
            with self._filesystem.open_output_stream(place) as sink:
                yield sink
            if self._is_local:
                disk.settle([place, *folders])

    def rename(self, old: str, new: str) -> None:
        """Give a file its name. Raises ColdUnavailable."""
        with self.writable():
            self._filesystem.move(self._place(old), self._place(new))
            if self._is_local:
                disk.settle([self._place(new).rpartition("/")[0]])

    def remove(self, path: str) -> bool:
        """Remove a file; return whether there was one. Raises ColdUnavailable."""
        with self.writable():
            try:
                self._filesystem.delete_file(self._place(path))
            except FileNotFoundError:
                return False
        return True

    def working_name(self, path: str) -> str:
        """Return the name of a file while it is written, which readers of whole folders pass over.

        Objects come into being whole and cannot be renamed: they have theirs at once.
        """
        folder, _, name = path.rpartition("/")
        return f"{folder}/.{name}" if self._is_local else path

    @contextmanager
    def writable(self) -> Iterator[None]:
        """Turn errors of writing into ours. Raises ColdUnavailable."""
        try:
            yield
        except OSError as error:
            raise ColdUnavailable(f"the cold store cannot be written to: {error}") from error

    def _place(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _is_as_sealed(self, file: ColdFile | OrderedCopy) -> bool:
        """Read a file another time, because one failure may be of the way to it. Raises ColdFileUnreadable."""
        try:
            with self.source(file.path) as source:
                return digest(source)[1] == file.sha256
        except pa.ArrowException:
            return False
        except OSError as error:
            # Without the words of pyarrow where the system has its own: they have the whole path of this machine.
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise ColdFileUnreadable(file.path, f"cannot be read: {reason}") from error


def _impatient(filesystem: pf.FileSystem, url: str) -> pf.FileSystem:
    """Ask S3 less often than pyarrow does by itself: it would wait 100 s for each look at a server that hangs.

    No URL can say so. What was made of it tells its options only as it tells pickle, and not all: a URL with others,
    such as tls_verify_certificates, keeps pyarrow's patience.
    """
    if not isinstance(filesystem, pf.S3FileSystem):
        return filesystem
    _, (options,) = filesystem.__reduce__()
    if not parse_qs(urlsplit(url).query).keys() <= options.keys():
        return filesystem
    return pf.S3FileSystem(**options, retry_strategy=pf.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS))


def _parquet(source: Any, metadata: pq.FileMetaData | None = None) -> pq.ParquetFile:
    """Buffering ahead would hold as much as is read of a file at all."""
    return pq.ParquetFile(source, metadata=metadata, pre_buffer=False, page_checksum_verification=True)


def _needed(names: list[str] | None, keyed: bool, *, timed: bool) -> list[str] | None:
    """Return the columns to read: those asked for, and those to choose rows by."""
    if names is None:
        return None
    return list(dict.fromkeys([*names, *(["device_key"] if keyed else []), *(["time"] if timed else [])]))
