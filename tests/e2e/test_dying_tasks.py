"""When a background task of a process dies, the process ends within seconds and says why; nothing accepted is lost."""

from pathlib import Path

import pytest
from factories import Weir

from shared.tasks import DIED

#: Every task that runs beside each process, by the name that tests/dying_task.py gives it.
TASKS = {
    "api": [
        "BrokerConnection.run",
        "Publisher.run",
        "Backlog.run",
        "Publisher.run:2",
        "Backlog.run:2",
        "Acceptances.run",
        "Inspection.run",
    ],
    "consumer": [
        "keep",
        "keep_forgetting",
        "Inspection.run",
        "_archive",
        "_archive:2",
        "BrokerConnection.run",
        "BrokerConnection.run:2",
        "BrokerConnection.run:3",
        "BrokerConnection.run:4",
        "BrokerConnection.run:5",
        "BrokerConnection.run:6",
    ],
}
#: A second until the task dies, eight until the process ends whatever it does, and some for a busy machine.
DEADLINE = 40


@pytest.fixture
def tasks(weir: Weir, tmp_path: Path) -> Path:
    weir.environment["TASKS_FILE"] = str(tmp_path / "tasks")
    return tmp_path / "tasks"


@pytest.mark.parametrize("process", TASKS)
def test_every_background_task_is_known_here(weir: Weir, tasks: Path, process: str) -> None:
    weir.run(process, "tests/dying_task.py", process, "none")
    weir.wait_for(lambda: tasks.exists() and len(tasks.read_text().split()) >= len(TASKS[process]), DEADLINE)
    assert weir.stop(process) == 0
    assert sorted(tasks.read_text().split()) == sorted(TASKS[process])


@pytest.mark.parametrize(("process", "task"), [(process, task) for process, names in TASKS.items() for task in names])
def test_process_ends_when_a_background_task_dies(weir: Weir, tasks: Path, process: str, task: str) -> None:
    weir.run(process, "tests/dying_task.py", process, task)
    assert weir.wait_for_end(process) == DIED, weir.log(process)
    assert weir.log(process).count("a background task died: the process ends, to be started anew") == 1
    assert "RuntimeError: killed by the test" in weir.log(process)


def test_consumer_whose_own_loop_dies_ends(weir: Weir, tasks: Path) -> None:
    weir.run("consumer", "tests/dying_task.py", "consumer", "StreamConsumer.run")
    assert weir.wait_for_end("consumer") != 0
    assert "killed by the test" in weir.log("consumer")
