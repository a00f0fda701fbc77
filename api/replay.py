"""Replays dead letters: taken up, published, confirmed, written down; a few at a time."""

import asyncio
from datetime import timedelta
from functools import partial

from sqlalchemy import Engine

from api import dead_letters
from api.dead_letters import Replayable
from api.schemas import Replay, Replayed
from shared.broker.connection import BrokerConnection, blocked
from shared.broker.messages import replay_properties
from shared.database import DatabaseThreads
from shared.errors import BrokerUnavailable, InvalidRecord, Misconfigured
from shared.streams.stream import EXCHANGE

#: Most letters that wait for their confirm at the same time.
IN_FLIGHT = 100
#: A request takes up nothing more after this many seconds, or letters: the next one goes on from its cursor.
SECONDS, LETTERS = 10.0, 5_000


class Replayer:
    """Gives letters to the broker again, each under an id derived from its own.

    A letter is marked before the broker gets it and once it is confirmed, so one that was on its way when this process
    died is replayed again, and stored once. Only letters that were there at the first request are replayed: what dies
    again does not go round.
    """

    def __init__(self, engine: Engine, threads: DatabaseThreads, broker: BrokerConnection, deadline: timedelta) -> None:
        self._engine = engine
        self._threads = threads
        self._broker = broker
        self._deadline = deadline.total_seconds()

    async def run(self, replay: Replay) -> Replayed:
        """Replay, or only count. Raises WeirError: what was confirmed until then is written down."""
        by_code, last = await self._threads.run(dead_letters.counted, self._engine, replay)
        if replay.dry_run:
            return Replayed(dry_run=True, matching=sum(by_code.values()), by_code=by_code)
        after, upto = _span(replay.cursor, last)
        result = Replayed(dry_run=False, matching=sum(by_code.values()), by_code=by_code)
        clock = asyncio.get_running_loop().time
        began, done, most = clock(), 0, min(replay.limit or LETTERS, LETTERS)
        while done < most and clock() - began < SECONDS:
            limit = min(IN_FLIGHT, most - done, max(1, int((replay.rate or 10 * IN_FLIGHT) / 10)))
            taken = await self._threads.run(dead_letters.take, self._engine, replay, (after, upto), limit, replay)
            await self._publish(taken.replayable)
            result.replayed += len(taken.replayable)
            result.left_open += taken.left_open
            done += len(taken.replayable) + len(taken.left_open)
            after = taken.last
            if after >= upto:
                return result
            if replay.rate:
                await asyncio.sleep(began + done / replay.rate - clock())
        result.cursor = f"{after}-{upto}"
        return result

    async def _publish(self, letters: list[Replayable]) -> None:
        """Publish letters and write down those that are confirmed. Raises for the first that is not."""
        if not letters:
            return
        try:
            async with asyncio.timeout(self._deadline):
                channel = await self._broker.channel()
                if self._broker.blocked:
                    raise blocked()
                confirms = []
                for one in letters:
                    properties = replay_properties(one.receipt, one.content_type)
                    confirms.append(channel.publish(EXCHANGE, one.stream.name, one.body, properties))
                faults = await asyncio.gather(*confirms, return_exceptions=True)
        except TimeoutError as error:
            raise self._broker.fault or BrokerUnavailable("the broker did not confirm in time") from error
        confirmed = [one.id for one, fault in zip(letters, faults, strict=True) if fault is None]
        await self._threads.run(partial(dead_letters.replayed, self._engine, confirmed))
        for fault in faults:
            if isinstance(fault, Misconfigured):
                self._broker.reset()  # what is missing is declared anew on the next channel
            if fault is not None:
                raise fault


def _span(cursor: str | None, last: int) -> tuple[int, int]:
    """Say between which numbers to go on. Raises InvalidRecord."""
    if cursor is None:
        return 0, last
    try:
        after, upto = (int(part) for part in cursor.split("-"))
    except ValueError as error:
        raise InvalidRecord("invalid_cursor", "cursor", "must be taken from an earlier answer") from error
    return after, upto
