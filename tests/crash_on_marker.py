"""A consumer that is killed by what it reads: any message whose body has the marker in it."""

import os
import signal
import sys

from consumer.__main__ import main
from consumer.deliveries import Delivery, Reader
from shared.broker.content import Message

MARKER = b"kills whoever reads it"
read = Reader.read


def killed(reader: Reader, message: Message) -> Delivery:
    if MARKER in message.body:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(reader, message)


Reader.read = killed  # type: ignore[method-assign]
sys.exit(main())
