"""Answers a question about all readings, and says what it took: `statistics_in_memory.py ROOM START END`.

Prints the answer and by how many bytes the process grew at most, beyond what it takes to answer the same of a shorter
window: what is loaded and made ready once is there by then.
"""

import json
import sys
from datetime import datetime, timedelta
from pathlib import Path

from analytics.progress import Progress
from analytics.statistics import Answer, Statistics
from shared.cold.store import Store
from shared.config import load
from shared.database import connect
from shared.questions import Question

SELF = Path("/proc/self")


class Silent:
    def began(self, version: object) -> None:
        pass

    def reached(self, percent: int) -> None:
        pass


def kept_bytes(name: str) -> int:
    """VmRSS is what the process holds now, VmHWM the most that it held since that was forgotten."""
    (found,) = (line for line in (SELF / "status").read_text().splitlines() if line.startswith(name))
    return int(found.split()[1]) * 1024


def ask(question: Question, room: int) -> Answer:
    return Statistics(engine, store, Progress(Silent()), room).of_all(question)


settings = load()
engine = connect(settings.database_url, pool_size=2, statement_deadline=timedelta(minutes=1))
store = Store(settings.cold_url)
start, end = map(datetime.fromisoformat, sys.argv[2:])
ask(Question(start, end, magnitude=True), room=1)
before = kept_bytes("VmRSS")
(SELF / "clear_refs").write_text("5")
answer = ask(Question(magnitude=True), int(sys.argv[1]))
sys.stdout.write(json.dumps({"answer": answer, "bytes": kept_bytes("VmHWM") - before}))
