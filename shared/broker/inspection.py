"""Looks whether the broker's queues, bindings and policies are as designed, and says so loudly where they are not."""

import asyncio
from collections.abc import Iterable
from typing import Any

import structlog

from shared.broker.management import NOT_CHECKED, Management
from shared.errors import NotFound, WeirError
from shared.streams.stream import DEAD_EXCHANGE, EXCHANGE, Stream

log = structlog.get_logger()

EVERY_SECONDS = 60.0
#: So far may the management API be behind: what is missing in it is looked for again.
BEHIND_SECONDS = 6.0
#: RabbitMQ 4 gives a message up after 20 deliveries unless told otherwise; a policy that counts so far never does.
LEAST_DELIVERY_LIMIT = 1_000_000


def faults(management: Management, streams: Iterable[Stream]) -> list[str]:
    """Say what is not as designed, a sentence each. Blocks. Raises WeirError when it cannot be found out."""
    found = []
    for stream in streams:
        queues = ((EXCHANGE, stream.queue), (DEAD_EXCHANGE, stream.dead_queue), (None, stream.parked_queue))
        for exchange, queue in queues:
            try:
                description = management.queue(queue)
            except NotFound:
                found.append(f"queue {queue} is missing")
                continue
            found += of_queue(description, may_give_up=queue == stream.dead_queue)
            if exchange is None:  # the default exchange leads to every queue by its name
                continue
            bindings = management.get(f"bindings/{{vhost}}/e/{exchange}/q/{queue}")
            if not any(one.get("routing_key") == stream.name for one in bindings):
                found.append(f"queue {queue} is not bound to exchange {exchange}")
    return found


def of_queue(queue: dict[str, Any], *, may_give_up: bool) -> list[str]:
    """Say what is not as designed about a queue, as the management API describes it."""
    name, arguments = queue["name"], queue.get("arguments") or {}
    policy = queue.get("effective_policy_definition") or {}
    found = []
    if queue.get("type") != "quorum":
        found.append(f"queue {name} is of type {queue.get('type')}, not quorum: it is not safe")
    if extra := sorted(set(arguments) - {"x-queue-type"}):
        found.append(f"queue {name} has arguments that can never be changed: {', '.join(extra)}")
    if policy.get("overflow") != "reject-publish":
        found.append(f"no policy makes queue {name} reject what it has no room for (overflow: reject-publish)")
    if "dead-letter-exchange" in policy:
        found.append(f"a policy lets the broker dead-letter from queue {name} by itself")
    # A dead letter is looked at, not delivered again and again.
    if not may_give_up and policy.get("delivery-limit", 0) < LEAST_DELIVERY_LIMIT:
        found.append(f"no policy keeps RabbitMQ 4 from dropping what queue {name} delivered 20 times (delivery-limit)")
    return found


class Inspection:
    """Inspects again and again, and keeps what it found; without a management API it cannot."""

    def __init__(self, management: Management | None, streams: Iterable[Stream]) -> None:
        self._management = management
        self._streams = tuple(streams)
        #: `ok`, or what is not as designed, or why that is not known.
        self.verdict = "not checked yet" if management else NOT_CHECKED

    async def run(self) -> None:
        """Inspect now and every minute, until cancelled."""
        while True:
            await self._inspect()
            await asyncio.sleep(EVERY_SECONDS)

    async def _inspect(self) -> None:
        if self._management is None:
            return
        try:
            found = await asyncio.to_thread(faults, self._management, self._streams)
            if found:
                await asyncio.sleep(BEHIND_SECONDS)
                found = await asyncio.to_thread(faults, self._management, self._streams)
        except WeirError as error:
            self.verdict = f"not checked: {error}"
            return
        verdict = "; ".join(found) or "ok"
        if found and verdict != self.verdict:
            log.error("the broker's topology is not as designed", faults=found)
        self.verdict = verdict
