"""What was being handled alone: written down before, struck out after, so that what is left tells of a death."""

from typing import Any
from uuid import UUID

import structlog

from consumer.session import Connection, Session
from shared.errors import WeirError

log = structlog.get_logger()

_TRY = """
    INSERT INTO suspects (receipt) VALUES (%s)
    ON CONFLICT (receipt) DO UPDATE SET attempts = suspects.attempts + 1 RETURNING attempts
"""
_ACQUIT = "DELETE FROM suspects WHERE receipt = ANY(%s::uuid[])"


class Suspects:
    """Messages with which the consumer died before, of which each is handled with nothing beside it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._not_acquitted: set[str] = set()

    async def attempt(self, receipt: UUID) -> int:
        """Write down that a message is being handled; return which attempt this is. Raises Unavailable, Misconfigured."""
        if str(receipt) in self._not_acquitted:
            return 1  # this process has survived it
        return await self._session.run(lambda connection: _attempt(connection, str(receipt)))

    async def acquit(self, receipt: UUID) -> None:
        """Strike that out: we have survived it. What cannot be struck out now is remembered until it can."""
        self._not_acquitted.add(str(receipt))
        await self.acquit_all()

    async def acquit_all(self) -> None:
        receipts = list(self._not_acquitted)
        if not receipts:
            return
        try:
            await self._session.run(lambda connection: _acquit(connection, receipts))
        except WeirError as error:
            log.warning("a suspect waits to be acquitted", reason=str(error))
        else:
            self._not_acquitted.clear()


def _attempt(connection: Connection, receipt: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_TRY, (receipt,))
        row: tuple[Any, ...] = cursor.fetchone()
    return int(row[0])


def _acquit(connection: Connection, receipts: list[str]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_ACQUIT, (receipts,))
