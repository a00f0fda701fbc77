"""`make up` and `make down` as a user runs them, in a copy of the checkout."""

import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from cli.programs import free_ports, wait_until
from shared.config import PREFIX

CHECKOUT = Path(__file__).parents[2]
LEFT_OUT = {".git", ".venv", ".weir", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"}


class Copy:
    """A checkout of its own, with its own API port and the installed packages of this one."""

    def __init__(self, folder):
        self.folder = folder
        shutil.copytree(CHECKOUT, folder, ignore=lambda _, names: LEFT_OUT & set(names))
        (folder / ".venv").symlink_to(CHECKOUT / ".venv")
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "MAKE"))}
        self._environment["WEIR_API_PORT"] = str(port)

    def make(self, target, **environment):
        return subprocess.run(
            # The packages are the checkout's, and not this copy's to install anew.
            ["make", "-o", ".venv/.complete", target],
            cwd=self.folder, env=self._environment | environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=150, check=False,
        )  # fmt: skip

    def supervisorctl(self, *arguments):
        command = [".venv/bin/supervisorctl", "-c", ".weir/supervisord.conf", *arguments]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False).stdout

    def processes(self):
        """Everything alive that was started for this copy, however deep."""
        mark = str(self.folder).encode()
        return [path.parent.name for path in Path("/proc").glob("[0-9]*/environ") if mark in _read(path)]


def _read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    copy = Copy(tmp_path_factory.mktemp("stack") / "weir")
    try:
        yield copy
    finally:
        copy.make("reset")


@pytest.fixture(scope="module")
def first_up(copy):
    up = copy.make("up")
    assert up.returncode == 0, up.stdout + up.stderr
    return up


def test_up_answers_and_says_where_things_are(copy, first_up):
    assert copy.url in first_up.stdout
    assert f"{copy.url}/docs" in first_up.stdout
    assert "RabbitMQ" in first_up.stdout
    assert httpx.get(f"{copy.url}/readyz", trust_env=False).status_code == httpx.codes.OK


@pytest.mark.usefixtures("first_up")
def test_second_up_changes_nothing(copy):
    before = copy.supervisorctl("pid", "all")
    assert copy.make("up").returncode == 0
    assert copy.supervisorctl("pid", "all") == before


@pytest.mark.usefixtures("first_up")
@pytest.mark.parametrize("program", ["postgres", "rabbitmq", "epmd", "api", "consumer", "worker", "upkeep", "beat"])
def test_killed_program_comes_back(copy, program):
    pid = int(copy.supervisorctl("pid", program))
    os.kill(pid, signal.SIGKILL)
    _wait_until_back(lambda: copy.supervisorctl("pid", program).strip() not in {str(pid), "0"})
    _wait_until_back(lambda: "RUNNING" in copy.supervisorctl("status", program))
    _wait_until_back(lambda: _is_ready(copy))


@pytest.mark.usefixtures("first_up")
def test_both_workers_are_ready_under_names_of_their_own(copy):
    logs = copy.folder / ".weir" / "logs"
    for name, node in (("worker", "celery"), ("upkeep", "upkeep")):
        ready = f"{node}@{socket.gethostname()} ready"
        wait_until(lambda ready=ready, log=logs / f"{name}.log": ready in log.read_text(), 60, f"no `{ready}`")


@pytest.mark.usefixtures("first_up")
def test_every_command_finds_the_api_where_it_was_started(copy):
    """The port stands in no environment here, and is not the default one."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WEIR_")}

    def run(*arguments, **named):
        command = [".venv/bin/python", "-m", "cli", *arguments]
        done = {"cwd": copy.folder, "env": environment | named, "capture_output": True, "text": True, "timeout": 120}
        return subprocess.run(command, check=False, **done)

    assert run("address").stdout.strip() == copy.url
    doctor = json.loads(run("doctor", "--json").stdout)
    assert {one["name"]: one["state"] for one in doctor["checks"]}["api"] == "ok"
    assert run("dead-letters", "list", "--json").stdout.strip() == "[]"
    assert run("dead-letters", "parked").returncode == 0
    assert run("address", WEIR_API_PORT="9").stdout.strip() == "http://127.0.0.1:9"


@pytest.mark.usefixtures("first_up")
def test_taken_port_is_named(copy):
    taken = json.loads((copy.folder / ".weir" / "stack.json").read_text())["postgres"]
    up = copy.make("up", WEIR_API_PORT=str(taken))
    assert up.returncode
    assert f"port {taken} is taken" in up.stderr
    assert "WEIR_API_PORT" in up.stderr


@pytest.mark.usefixtures("first_up")
def test_down_leaves_nothing_running_and_reset_nothing_at_all(copy):
    assert copy.make("down").returncode == 0
    assert not copy.processes()
    assert copy.make("down").returncode == 0
    assert copy.make("reset").returncode == 0
    assert not (copy.folder / ".weir").exists()
    assert copy.make("reset").returncode == 0


def _is_ready(copy):
    try:
        return httpx.get(f"{copy.url}/readyz", trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _wait_until_back(condition, seconds=40):
    wait_until(condition, seconds, "it did not come back")
