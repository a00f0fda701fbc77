"""Lets go of a cold file that is lost: what was in it is counted no more, and no answer of before is given again."""

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection, Engine, text

from shared.cold import mark, ordered_manifest, switch, verification
from shared.cold.manifest import ColdFile
from shared.cold.store import Store
from shared.cold.switch import InTheWay
from shared.cold.verification import UNREAD, File
from shared.errors import Conflict, NotFound
from shared.streams import Stream

#: Not among the leftovers, which are removed: what is left of a day may be all that there is.
_FILE = text("DELETE FROM cold_files WHERE id = :id")
_COPY = text("DELETE FROM cold_ordered WHERE path = :path")


class Lost(NamedTuple):
    """A live file, or an ordered copy of one, that is damaged or missing."""

    stream: str
    file: File
    fault: str

    @property
    def rows(self) -> int:
        """Records that go with it; those of an ordered copy are in the day's file, too."""
        return self.file.rows if isinstance(self.file, ColdFile) else 0


def find(engine: Engine, store: Store, streams: Iterable[Stream], path: str) -> Lost:
    """Find a file that counts, by its path below the store or by the one that `weir verify` tells, and read it.

    Raises:
        NotFound: no file that counts is there.
        Conflict: it is what was sealed, or nobody can tell.
        ColdUnavailable, Misconfigured: the store is away, or is another one.
        DatabaseUnavailable: nobody knows.
    """
    mark.check(engine, store)
    for stream in streams:
        for file in verification.live(engine, stream):
            if path in {file.path, store.path(file)}:
                fault = verification.fault_of(engine, store, stream, file)
                if fault is None:
                    raise Conflict("the file is what was sealed, and stays")
                if fault == UNREAD and isinstance(file, ColdFile):
                    raise Conflict(f"the file {UNREAD}, and may be whole: {verification.AGAIN}")
                return Lost(stream.name, file, fault)
    raise NotFound("no file of this path counts; `weir verify` names those that are damaged")


def forget(engine: Engine, lost: Lost) -> None:
    """Have it count no more. A day's file is left where it is, and nothing will remove it.

    Raises:
        InTheWay: it counts no more already.
        DatabaseUnavailable: also when somebody reads all the while.
    """
    switch.patiently(lambda connection: _forget(connection, lost.file), engine)


def _forget(connection: Connection, file: File) -> None:
    if isinstance(file, ColdFile):
        switch.forget_answers(connection)
        ordered_manifest.retire(connection, file.id)
        gone = connection.execute(_FILE, {"id": file.id})
    else:
        ordered_manifest.retire(connection, file.file)
        gone = connection.execute(_COPY, {"path": file.path})
    if gone.rowcount != 1:
        raise InTheWay("the file counts no more already")
