"""Like crash_on_marker.py, but who tries a suspect waits a moment for another one to be tried as well, and dies beside it."""

import asyncio
import runpy
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from consumer.suspects import Suspects

MOMENT_SECONDS = 1
attempt, acquit = Suspects.attempt, Suspects.acquit
at_work: set[UUID] = set()
several = asyncio.Event()


async def attempt_beside(suspects: Suspects, receipt: UUID) -> int:
    number = await attempt(suspects, receipt)
    at_work.add(receipt)
    if len(at_work) > 1:
        several.set()
    with suppress(TimeoutError):
        async with asyncio.timeout(MOMENT_SECONDS):
            await several.wait()
    return number


async def acquit_one(suspects: Suspects, receipt: UUID) -> None:
    at_work.discard(receipt)
    await acquit(suspects, receipt)


Suspects.attempt, Suspects.acquit = attempt_beside, acquit_one  # type: ignore[method-assign]
runpy.run_path(str(Path(__file__).with_name("crash_on_marker.py")), run_name="__main__")
