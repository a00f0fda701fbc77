"""Background tasks that are never lost: when one dies, the process ends and its supervisor starts it anew."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

import structlog

log = structlog.get_logger()


@asynccontextmanager
async def in_background(*work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run the coroutines beside the body, which are all meant to run for ever.

    One that ends by itself is a fault: it is logged, and this process gets SIGTERM, so that it drains.
    """
    tasks = [asyncio.create_task(one) for one in work]

    def notice(task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        log.critical("a background task died", task=repr(task.get_coro()), exc_info=error)
        os.kill(os.getpid(), signal.SIGTERM)

    for task in tasks:
        task.add_done_callback(notice)
    try:
        yield
    finally:
        for task in tasks:
            task.remove_done_callback(notice)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
