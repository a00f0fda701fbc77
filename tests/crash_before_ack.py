"""A consumer that is killed at the worst moment: its transaction is committed, its ack not yet sent."""

import os
import signal
import sys

from consumer.__main__ import main
from shared.broker.channel import Channel


def killed(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


Channel.ack = killed  # type: ignore[method-assign]
sys.exit(main())
