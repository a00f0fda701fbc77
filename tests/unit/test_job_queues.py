"""The names of Celery's queues are spelled where no Python is read, too."""

import re
from pathlib import Path

from shared.job_queues import QUEUE, UPKEEP_QUEUE

ROOT = Path(__file__).parents[2]


def test_containers_consume_the_queues_that_there_are() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    assert re.findall(r"--queues, ([a-z.]+)", compose) == [QUEUE, UPKEEP_QUEUE]
