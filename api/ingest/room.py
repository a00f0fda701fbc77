"""Room for bodies: how many bytes of them the API holds at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import PublishRefused


class Room:
    """A bound on the bytes of all bodies that come in pieces or wait to be decoded."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.taken = 0

    @contextmanager
    def part(self) -> Iterator["Part"]:
        """Hold room for one body until the end of the block."""
        part = Part(self)
        try:
            yield part
        finally:
            self.taken -= part.size

    def take(self, size: int) -> None:
        """Raises PublishRefused: there is no room left."""
        if self.taken + size > self._limit:
            raise PublishRefused("too many large bodies are on their way in")
        self.taken += size


class Part:
    """The room of one body."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.size = 0

    def take(self, size: int) -> None:
        """Take more of it. Raises PublishRefused."""
        self._room.take(size)
        self.size += size
