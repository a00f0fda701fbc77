"""Publishes that wait for the broker's word, and what becomes of each."""

import asyncio
from itertools import takewhile

from shared.errors import Misconfigured, WeirError


class Confirms:
    """The unconfirmed publishes of one channel, in the order of their numbers, which the broker counts, too."""

    def __init__(self) -> None:
        self._published = 0
        self._unconfirmed: dict[int, tuple[str | None, asyncio.Future[None]]] = {}
        self._returned: set[str | None] = set()

    def add(self, message_id: str | None) -> asyncio.Future[None]:
        """Number the next publish, and return what will be its confirm."""
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._published += 1
        self._unconfirmed[self._published] = message_id, confirmed
        return confirmed

    def returned(self, message_id: str | None) -> None:
        """No queue takes this message. Its ack comes next, and means nothing."""
        self._returned.add(message_id)

    def settle(self, last: int, fault: WeirError | None, *, multiple: bool) -> None:
        """The broker has spoken of a number, or of all up to it: kept, or not because of `fault`."""
        numbers = list(takewhile(lambda number: number <= last, self._unconfirmed)) if multiple else [last]
        for number in numbers:
            if number not in self._unconfirmed:
                continue  # of a channel that is lost on our side
            message_id, confirmed = self._unconfirmed.pop(number)
            found = fault
            if message_id in self._returned:
                self._returned.discard(message_id)
                found = Misconfigured("the broker has no queue for this message")
            if confirmed.done():
                continue  # whoever published it has given up
            if found is None:
                confirmed.set_result(None)
            else:
                confirmed.set_exception(found)

    def lose(self) -> list[asyncio.Future[None]]:
        """The channel is lost: forget all, and return those who still wait."""
        waiting = [confirmed for _, confirmed in self._unconfirmed.values() if not confirmed.done()]
        self._unconfirmed.clear()
        return waiting
