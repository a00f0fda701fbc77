"""A process of Weir of which one background task fails a second after it began: `dying_task.py api|consumer NAME`.

NAME is the qualified name of its coroutine, with `:2` for the second that has it. The names of all background tasks are
written into the file TASKS_FILE, a line each, as they are started.
"""

import asyncio
import os
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path

from shared import tasks

module, wanted = sys.argv[1:]
started: Counter[str] = Counter()
in_background = tasks.in_background


async def dying(coroutine):
    try:
        async with asyncio.timeout(1):
            await coroutine
    except TimeoutError:
        raise RuntimeError("killed by the test") from None


def background(*work):
    chosen = []
    with Path(os.environ["TASKS_FILE"]).open("a") as names:
        for one in work:
            started[one.__qualname__] += 1
            number = started[one.__qualname__]
            name = one.__qualname__ if number == 1 else f"{one.__qualname__}:{number}"
            names.write(f"{name}\n")
            chosen.append(dying(one) if name == wanted else one)
    return in_background(*chosen)


tasks.in_background = background
program = import_module(f"{module}.__main__")
if wanted == "StreamConsumer.run":  # which the process waits for itself
    run = program.StreamConsumer.run
    program.StreamConsumer.run = lambda consumer: dying(run(consumer))
sys.exit(program.main())
