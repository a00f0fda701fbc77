"""A setting that makes no sense stops the start, and one line says which."""

import os
import subprocess
import sys

import pytest
from factories import COMMANDS, ROOT

from shared.config import load
from shared.errors import Misconfigured
from shared.streams import STREAMS

WRONG = {
    "WEIR_POOL_SIZ": ("3", "unknown setting WEIR_POOL_SIZ; docs/configuration.md lists them all"),
    "WEIR_BODY_LIMIT_BYTES": ("-1", "WEIR_BODY_LIMIT_BYTES: Input should be greater than 0"),
    "WEIR_PREFETCH": ("many", "WEIR_PREFETCH: Input should be a valid integer"),
    "WEIR_API_PORT": ("65536", "WEIR_API_PORT: Input should be less than 65536"),
    "WEIR_PUBLISH_DEADLINE": ("0", "WEIR_PUBLISH_DEADLINE: must be longer than 0 seconds"),
    "WEIR_HEARTBEAT": ("1e400", "WEIR_HEARTBEAT: Input should be a valid timedelta"),
    "WEIR_WRITE_DEADLINE": ("nan", "WEIR_WRITE_DEADLINE: Input should be a valid timedelta"),
    "WEIR_DATABASE_URL": ("mysql://x", "WEIR_DATABASE_URL: must look like postgresql://"),
    "WEIR_EARLIEST_TIMESTAMP": ("1990-01-01T00:00:00", "WEIR_EARLIEST_TIMESTAMP needs an offset"),
    "WEIR_MESSAGE_LIMIT": ("200001", "WEIR_MESSAGE_LIMIT is greater than WEIR_WAITING_LIMIT"),
    "WEIR_SUBMISSION_LIMIT": ("200001", "WEIR_SUBMISSION_LIMIT is greater than WEIR_WAITING_LIMIT"),
    "WEIR_BODIES_LIMIT_BYTES": ("4194303", "WEIR_BODY_LIMIT_BYTES is greater than WEIR_BODIES_LIMIT_BYTES"),
    "WEIR_BATCH_WAIT": ("61", "WEIR_BATCH_WAIT is greater than WEIR_WRITE_DEADLINE"),
    "WEIR_JOB_RETENTION": ("PT5M", "WEIR_JOB_DEADLINE is greater than WEIR_JOB_RETENTION"),
    "WEIR_COLD_URL": ("cold", "WEIR_COLD_URL: must be an absolute path"),
    "WEIR_COLD_GRACE": ("PT5M", "WEIR_JOB_DEADLINE is greater than WEIR_COLD_GRACE"),
    "WEIR_RETENTION_DAYS_EVENTS": ("0", "WEIR_RETENTION_DAYS_EVENTS: Input should be greater than 0"),
    "WEIR_RETENTION_DAYS_READINGS": (
        "999999",
        "WEIR_RETENTION_DAYS_READINGS: Input should be less than or equal to 36525",
    ),
    "WEIR_HOT_DAYS": ("999999", "WEIR_HOT_DAYS: Input should be less than or equal to 36525"),
    "WEIR_TIMESTAMP_AHEAD": ("P8D", "WEIR_TIMESTAMP_AHEAD reaches further than WEIR_PARTITIONS_AHEAD"),
}


@pytest.mark.parametrize(("name", "value", "fault"), [(name, *wrong) for name, wrong in WRONG.items()], ids=WRONG)
def test_setting_that_makes_no_sense_is_named(monkeypatch, name, value, fault):
    monkeypatch.setenv(name, value)
    with pytest.raises(Misconfigured) as caught:
        load()
    said = str(caught.value)
    assert said.startswith(fault)
    assert "\n" not in said


def test_value_itself_is_not_repeated(monkeypatch):
    """It may be a password."""
    monkeypatch.setenv("WEIR_AMQP_URL", "http://weir:secret@host")
    with pytest.raises(Misconfigured) as caught:
        load()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("command", [*COMMANDS.values(), ("-m", "shared.migrations")], ids=" ".join)
def test_every_process_ends_with_that_line(command):
    environment = {"PATH": os.defpath, "WEIR_JOB_RETENTION": "60"}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "WEIR_JOB_DEADLINE is greater than WEIR_JOB_RETENTION" in line


def test_settings_come_from_the_environment_that_is_handed_over(monkeypatch):
    monkeypatch.setenv("WEIR_LOG_LEVEL", "debug")
    monkeypatch.setenv("WEIR_API_PORT", "1")
    assert load({"WEIR_API_PORT": "8111", "weir_prefetch": "7", "PATH": "/"}) == load({}).model_copy(
        update={"api_port": 8111, "prefetch": 7}
    )
    assert load({}).log_level == "info"
    with pytest.raises(Misconfigured, match="WEIR_NOTHING"):
        load({"WEIR_NOTHING": "1"})
    monkeypatch.setenv("WEIR_NOTHING", "1")
    load({})


def test_each_stream_has_a_term(monkeypatch):
    monkeypatch.setenv("WEIR_RETENTION_DAYS_EVENTS", "30")
    terms = load().terms
    assert set(terms) == {stream.name for stream in STREAMS}
    assert (terms["readings"], terms["events"]) == (None, 30)
