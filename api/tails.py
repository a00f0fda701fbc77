"""The newest readings of cold files, which are sorted by device: no more is unpacked than may hold them."""

import threading
from collections.abc import Iterator
from uuid import UUID

from api.gathering import Gathered, Tail
from api.places import Found, moment_of, since_1970
from api.queries import Hot, Wanted
from api.window import OLDEST
from shared.cold.manifest import ColdFile
from shared.cold.store import Store

#: Readings that are kept of a file, and files of which they are: some two megabytes.
READINGS, FILES = 5_000, 8


class Tails:
    """Finds what pages need of cold files, and remembers it where the next page will need the rest.

    The newest readings of all devices are in every part of a file: whoever pages through a day would have the whole of
    it unpacked again for each page.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: dict[UUID, Tail] = {}
        self._lock = threading.Lock()

    def newest(self, wanted: Wanted, hot: Hot) -> list[Found]:
        """Return the cold readings that a page may need beside its hot ones.

        Raises:
            ColdFileDamaged, ColdUnavailable: a file that it may need cannot be read.
        """
        page = Gathered(wanted, hot)
        for file in hot.files:
            if not page.may_need(file):
                continue
            if wanted.key is not None or not any(page.take(tail) for tail in self._tails(file, wanted)):
                page.read(self._store, file)
        return page.found()

    def _tails(self, file: ColdFile, wanted: Wanted) -> Iterator[Tail]:
        """Yield the tail that is kept, if it begins late enough, then one that begins where the page does."""
        end = min(since_1970(wanted.end), since_1970(file.last) + 1)
        kept = self._kept.get(file.id)
        if kept is not None and kept.end >= end:
            yield kept
        gathered = Gathered(Wanted(None, OLDEST, moment_of(end), None, READINGS), Hot([], 0, [file]))
        gathered.read(self._store, file)
        tail = gathered.tail()
        with self._lock:
            self._kept.pop(file.id, None)
            self._kept[file.id] = tail
            while len(self._kept) > FILES:
                self._kept.pop(next(iter(self._kept)))
        yield tail
