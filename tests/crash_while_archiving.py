"""An archiver that is killed at the worst moment: its letters are committed, their acks not yet sent."""

import os
import signal
import sys

from consumer import archiver
from consumer.__main__ import main
from consumer.session import Session


class DyingSession(Session):
    async def run(self, work):
        await super().run(work)
        os.kill(os.getpid(), signal.SIGKILL)


archiver.Session = DyingSession
sys.exit(main())
