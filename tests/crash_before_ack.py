"""A consumer that is killed at the worst moment: its transaction is committed, its ack not yet sent."""

import os
import signal
import sys

from consumer.__main__ import main
from shared.broker.connection import Channel


async def killed(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


Channel.basic_ack = killed  # type: ignore[method-assign,assignment]
sys.exit(main())
