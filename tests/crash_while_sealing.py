"""Seals what is due and is killed at a step: `crash_while_sealing.py STREAM STEP`."""

import os
import signal
import sys
from datetime import date, timedelta

from shared.cold import hot
from shared.cold.sealing import seal
from shared.cold.store import Store
from shared.config import load
from shared.database import connect
from shared.streams import STREAMS


def step(name: str) -> None:
    if name == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)


settings = load()
engine = connect(settings.database_url, pool_size=3, statement_deadline=timedelta(seconds=30))
(stream,) = (one for one in STREAMS if one.name == sys.argv[1])
with engine.connect() as connection:
    (source,) = hot.sources(connection, stream, date(2026, 2, 1))
seal(engine, Store(settings.cold_url), source, step)
