"""Background tasks that are never lost: when one dies, the process ends and its supervisor starts it anew."""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

import structlog

log = structlog.get_logger()

#: After a background task died, the process has this long to drain; then it ends as it is. What was not confirmed by
#: then is unknown to its senders, and what was not acked is delivered again.
SECONDS_TO_END = 8.0
#: Exit code of a process of which a background task died.
DIED = 70

_deaths: list[str] = []


def exit_code() -> int:
    """Return the code that this process should end with: 0, or DIED when a background task died."""
    return DIED if _deaths else 0


@asynccontextmanager
async def in_background(*work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run the coroutines beside the body, which are all meant to run for ever.

    One that ends by itself is a fault: it is logged, and this process gets SIGTERM, so that it drains. Where draining
    takes longer than SECONDS_TO_END, the process ends without it: a supervisor can only start anew what has ended.
    """
    tasks = [asyncio.create_task(one) for one in work]

    def notice(task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        name = getattr(task.get_coro(), "__qualname__", repr(task))
        log.critical("a background task died: the process ends, to be started anew", task=name, exc_info=error)
        _end_this_process(name)

    for task in tasks:
        task.add_done_callback(notice)
    try:
        yield
    finally:
        for task in tasks:
            task.remove_done_callback(notice)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _end_this_process(task: str) -> None:
    if not _deaths:
        # A thread, because a loop that is blocked or never idle would not come to a timer of its own.
        timer = threading.Timer(SECONDS_TO_END, os._exit, (DIED,))
        timer.daemon = True
        timer.start()
    _deaths.append(task)
    os.kill(os.getpid(), signal.SIGTERM)
