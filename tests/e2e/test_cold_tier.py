"""The cold tier as its operators meet it: commands, the hourly task, the doctor, a device's term."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cold_tier import DAY, MIDNIGHT, ColdTier, readings
from factories import ROOT, Weir, partition

from cli.doctor.checks import State
from cli.doctor.cold import Cold
from cli.programs import inherited_environment
from shared.celery_app import celery_app
from shared.cold import ordered_manifest, ordering, upkeep
from shared.cold.manifest import ColdFile
from shared.streams import STREAMS


@pytest.fixture
def cold(weir: Weir) -> Iterator[ColdTier]:
    found = ColdTier(weir)
    yield found
    found.engine.dispose()


def run(cold: ColdTier, *arguments: str, answer: str = "", **variables: str) -> tuple[int, Any, str]:
    """Run a command of `weir`, with an answer to what it asks: exit code, what it printed, complaints."""
    done = subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        cwd=ROOT, env=inherited_environment() | cold.weir.environment | variables,
        input=answer, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return (
        done.returncode,
        json.loads(done.stdout) if "--json" in arguments and done.stdout else done.stdout,
        done.stderr,
    )


def place(cold: ColdTier, file: ColdFile) -> Path:
    return Path(cold.store.path(file))


def sealed_days(cold: ColdTier, count: int) -> list[ColdFile]:
    for number in range(count):
        cold.insert(readings(200, seed=number, day=MIDNIGHT.replace(day=10 + number)))
    cold.seal()
    return cold.files()


def test_seal_says_what_it_would_do_and_does_it(cold: ColdTier) -> None:
    partition(cold.weir, "readings", DAY)
    rows = readings(200, seed=1)
    cold.insert(rows)
    assert run(cold, "seal", "--dry-run", "--json", "--before", str(DAY)) == (0, [], "")
    code, found, _ = run(cold, "seal", "--dry-run", "--json")
    assert (code, found) == (0, [{"stream": "readings", "day": str(DAY), "table": f"readings_{DAY:%Y%m%d}"}])
    assert cold.weir.stored() == 200
    code, (sealed,), _ = run(cold, "seal", "--json")
    assert (code, sealed["rows"], sealed["bytes"]) == (0, 200, cold.file().bytes)
    assert cold.all() == sorted(rows)
    assert run(cold, "seal")[:2] == (0, "There is nothing to do.\n")
    assert run(cold, "verify", "--json")[:2] == (
        0, {"files": 1, "rows": 200, "bytes": cold.file().bytes, "damaged": []},
    )  # fmt: skip
    assert run(cold, "verify")[1] == "1 files with 200 records, 0 damaged\n"


@pytest.mark.parametrize("before", ["yesterday", "2999-01-01"])
def test_seal_refuses_days_that_are_none_or_not_over(cold: ColdTier, before: str) -> None:
    code, _, said = run(cold, "seal", "--before", before)
    assert code == 2
    assert "day" in said


def test_verify_names_each_damaged_file_and_harms_no_other(cold: ColdTier) -> None:
    flipped, cut, gone, whole = sealed_days(cold, 4)
    content = bytearray(place(cold, flipped).read_bytes())
    content[len(content) // 3] ^= 4
    place(cold, flipped).write_bytes(content)
    place(cold, cut).write_bytes(place(cold, cut).read_bytes()[:-100])
    place(cold, gone).unlink()
    kept = place(cold, whole).read_bytes()

    code, found, _ = run(cold, "verify", "--json")
    assert code == 1
    assert found["files"] == 4
    assert [(one["path"], one["fault"].split()[:2]) for one in found["damaged"]] == [
        (str(place(cold, flipped)), ["has", "another"]),
        (str(place(cold, cut)), ["has", str(cut.bytes - 100)]),
        (str(place(cold, gone)), ["is", "missing"]),
    ]
    assert all(one["advice"] for one in found["damaged"])
    code, said, _ = run(cold, "verify")
    assert code == 1
    assert said.count("damaged  ") == 3
    assert place(cold, whole).read_bytes() == kept
    assert len(cold.store.read(whole)) == 200

    checks = {check.name: check for check in Cold(cold.engine, str(cold.folder), 7, {}).checks()}
    assert checks["cold files"].state is State.FAIL
    assert "2 of 4" in checks["cold files"].found  # it reads no pages


def test_forgotten_file_is_in_no_answer_and_stays_where_it_is(cold: ColdTier) -> None:
    cold.weir.start("api", "worker")
    device = cold.weir.device()
    assert cold.weir.scalar("SELECT key FROM devices") == 1
    damaged, whole = sealed_days(cold, 2)

    def count() -> int:
        answer = cold.weir.http.get(f"/devices/{device}/analytics/", params={"wait": 30}).json()
        return answer["result"]["x"]["count"]

    of_one = {file.day: cold.store.read(file, device_keys=[1]).num_rows for file in cold.files()}
    assert count() == sum(of_one.values())
    left = place(cold, damaged).read_bytes()[:-100]
    place(cold, damaged).write_bytes(left)
    code, found, _ = run(cold, "verify", "--json")
    path = found["damaged"][0]["path"]
    assert f"`weir verify --forget {path}`" in found["damaged"][0]["advice"]

    assert run(cold, "verify", "--forget", path, answer="n\n")[0] == 1
    assert run(cold, "verify", "--forget", path)[0] == 1  # there is nobody to ask
    assert cold.files() == [damaged, whole]
    code, said, asked = run(cold, "verify", "--forget", path, answer="y\n")
    assert (code, said.strip().partition(";")[0]) == (0, "forgotten")
    assert "200 records, readings of 2026-01-10" in asked
    assert cold.files() == [whole]
    assert count() == of_one[whole.day]
    assert run(cold, "verify")[0] == 0
    assert upkeep.tidy(cold.engine, cold.store, timedelta(0)) == 0
    assert place(cold, damaged).read_bytes() == left


def test_scripts_forget_what_is_lost_and_never_what_is_whole(cold: ColdTier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordering, "FEWEST_ROWS", 10)
    gone, whole = sealed_days(cold, 2)
    ordering.order_all(cold.engine, cold.store, STREAMS, timedelta(minutes=1))
    with cold.engine.connect() as connection:
        of_gone, of_whole = (cold.folder / copy.path for copy in ordered_manifest.copies(connection, "readings"))
    place(cold, gone).unlink()
    code, found, _ = run(cold, "verify", "--yes", "--json", "--forget", gone.path)
    assert (code, found) == (
        0, {"forgotten": {
            "stream": "readings", "day": str(gone.day), "path": gone.path, "rows": 200, "fault": "is missing",
        }},
    )  # fmt: skip
    # The copy follows from the file: it is removed as any that counts no more.
    assert upkeep.tidy(cold.engine, cold.store, timedelta(0)) == 1
    assert not of_gone.exists()
    for path in (gone.path, whole.path, str(of_whole)):
        code, _, said = run(cold, "verify", "--yes", "--forget", path)
        assert code == 2
        assert ("no file of this path counts" if path == gone.path else "is what was sealed") in said

    of_whole.write_bytes(b"x")
    assert run(cold, "verify", "--yes", "--forget", str(of_whole))[0] == 0
    assert cold.files() == [whole]
    assert run(cold, "verify", "--json")[1]["files"] == 1
    assert len(ordering.order_all(cold.engine, cold.store, STREAMS, timedelta(minutes=1))) == 1


def test_retention_says_what_would_go_and_drops_it(cold: ColdTier) -> None:
    sealed_days(cold, 2)
    forever = run(cold, "retention", "--dry-run", "--json")
    assert forever[:2] == (0, [])
    term = {"WEIR_RETENTION_DAYS_READINGS": "30"}
    code, found, _ = run(cold, "retention", "--dry-run", "--json", **term)
    assert (code, [(one["what"], one["rows"]) for one in found]) == (0, [("file", 200), ("file", 200)])
    assert len(cold.files()) == 2
    assert run(cold, "retention", "--json", **term)[:2] == (0, found)
    assert cold.all() == []


def test_overdue_day_is_told_and_the_hourly_task_seals_it(cold: ColdTier) -> None:
    partition(cold.weir, "readings", DAY)
    rows = readings(200, seed=1)
    cold.insert(rows)

    def sealing() -> State:
        return Cold(cold.engine, str(cold.folder), 7, {}).checks()[0].state

    assert sealing() is State.FAIL
    cold.weir.start("upkeep")
    celery_app(cold.weir.amqp_url, timedelta(minutes=1)).send_task("weir.seal")
    cold.weir.wait_for(lambda: cold.weir.stored() == 0)
    assert sealing() is State.OK
    assert cold.all() == sorted(rows)
    cold.weir.wait_for(lambda: "day sealed" in cold.weir.log("upkeep"))


def test_doctor_sees_what_is_due_in_the_default_partition(cold: ColdTier) -> None:
    def sealing() -> State:
        return Cold(cold.engine, str(cold.folder), 7, {}).checks()[0].state

    cold.insert(readings(20, seed=1))
    assert sealing() is State.WARN
    cold.seal()
    cold.insert(readings(20, seed=2))
    assert sealing() is State.OK  # the day's file is new
    cold.weir.rows("UPDATE cold_files SET sealed_at = sealed_at - interval '3 days'")
    assert sealing() is State.WARN


def test_term_of_a_device_is_set_shown_and_taken_away(running_weir: Weir) -> None:
    http = running_weir.http
    running_weir.device()
    made = http.post("/devices/", json={"user_id": 1, "name": "a", "retention_days": 30}).json()
    path = f"/devices/{made['id']}"
    assert http.get(path).json() == made
    assert made["retention_days"] == 30
    changed = http.patch(path, json={"retention_days": 7})
    assert (changed.status_code, changed.json()) == (200, made | {"retention_days": 7})
    assert http.patch(path, json={"retention_days": None, "name": "b"}).json() == {
        **made, "name": "b", "retention_days": None,
    }  # fmt: skip
    assert http.patch(path, json={}).json() == http.get(path).json()
    for wrong in (0, -1, 1.5, "7", 36_526, True):
        refused = http.patch(path, json={"retention_days": wrong})
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "retention_days")
    assert http.patch(f"/devices/{uuid4()}", json={"retention_days": 7}).status_code == 404
