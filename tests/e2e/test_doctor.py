"""`weir doctor` says that a healthy Weir is healthy, and names what is not."""

import json
from collections.abc import Iterator

import pytest
from factories import DEFINITIONS, Weir, reading
from typer.testing import CliRunner

from cli.doctor import report
from cli.doctor.checks import Check, State
from cli.main import app
from shared.broker.management import NOT_CHECKED
from shared.streams import READINGS

POLICY = {key: DEFINITIONS["policies"][0][key] for key in ("pattern", "definition", "priority", "apply-to")}


@pytest.fixture(scope="module")
def healthy(
    postgres_url: str,
    migrated_template: str,
    amqp_url: str,
    management_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Weir]:
    """A Weir that knows its management API and has stored something; a test that breaks it mends it."""
    whole = Weir(postgres_url, migrated_template, amqp_url, management_url, tmp_path_factory.mktemp("weir"))
    whole.environment["WEIR_MANAGEMENT_URL"] = management_url
    try:
        whole.start("consumer", "worker", "upkeep", "api")
        path = f"/devices/{whole.device()}/stats/"
        assert whole.http.post(path, json=reading()).status_code == 202
        whole.wait_until_stored(1)
        yield whole
    finally:
        whole.close()


def examine(weir: Weir, **changes: object) -> dict[str, Check]:
    settings = weir.settings(**({"management_url": weir.management_url} | changes))
    return {check.name: check for check in report.examine(settings, weir.url)}


def fails(weir: Weir, name: str, state: State = State.FAIL) -> Check:
    """Wait until a check is in this state: the management API is some seconds behind."""
    weir.wait_for(lambda: examine(weir)[name].state is state)
    found = examine(weir)[name]
    assert found.advice
    return found


def is_well(weir: Weir, name: str) -> None:
    weir.wait_for(lambda: examine(weir)[name].state is State.OK)


def test_healthy_weir_passes_every_check(healthy: Weir) -> None:
    depends_on_this_machine = {"database disk", "broker disk"}

    def unwell() -> dict[str, str]:
        checks = examine(healthy)
        return {name: one.found for name, one in checks.items() if one.state is not State.OK}

    healthy.wait_for(lambda: unwell().keys() <= depends_on_this_machine)  # the management API is some seconds behind
    checks = examine(healthy)
    assert set(checks) >= {"api", "ledger", "lag", "topology", "policies", "consumers", "workers", "alarms"}
    assert set(checks) >= {"consumer timeout", "schema", "clock", "partitions", "default partition", "receipts"}
    assert set(checks) >= depends_on_this_machine


def test_open_dead_letters_are_counted_by_stream(healthy: Weir) -> None:
    healthy.rows("""
        INSERT INTO dead_letters (id, stream, content_type, body, headers, code, reason, first_seen, last_seen, replay, state)
        SELECT gen_random_uuid(), stream, '', '', '{}', 'c', 'r', now(), now(), gen_random_uuid(), state
        FROM (VALUES ('readings', 'open'), ('events', 'open'), ('events', 'replaying'), ('events', 'discarded'))
            AS v (stream, state)
    """)
    found = fails(healthy, "open dead letters", State.WARN)
    assert found.found == "2 of events, 1 of readings"
    healthy.rows("DELETE FROM dead_letters")
    is_well(healthy, "open dead letters")


def test_missing_policy_is_named(healthy: Weir) -> None:
    healthy.management("DELETE", "policies/{vhost}/streams")
    found = fails(healthy, "topology").found
    assert "reject-publish" in found
    assert "delivery-limit" in found
    assert examine(healthy)["policies"].state is State.WARN
    healthy.management("PUT", "policies/{vhost}/streams", json=POLICY)
    is_well(healthy, "topology")


def test_dead_letters_without_a_way_are_named(healthy: Weir) -> None:
    binding = f"bindings/{{vhost}}/e/weir.dead/q/{READINGS.dead_queue}"
    healthy.management("DELETE", f"{binding}/{READINGS.name}")
    assert READINGS.dead_queue in fails(healthy, "topology").found
    healthy.management("POST", binding, json={"routing_key": READINGS.name})
    is_well(healthy, "topology")


def test_alarm_is_named(healthy: Weir, rabbitmqctl) -> None:
    rabbitmqctl("set_vm_memory_high_watermark", "0")
    try:
        assert "memory" in fails(healthy, "alarms").found
    finally:
        rabbitmqctl("set_vm_memory_high_watermark", "0.4")
    is_well(healthy, "alarms")


def test_schema_that_is_not_the_newest_is_named(healthy: Weir) -> None:
    (newest,) = healthy.rows("SELECT version_num FROM alembic_version")[0]
    healthy.rows("UPDATE alembic_version SET version_num = '0001'")
    assert "migrate" in str(fails(healthy, "schema").advice)
    healthy.rows("UPDATE alembic_version SET version_num = %s", newest)
    is_well(healthy, "schema")


def test_partition_that_will_be_missed_is_named(healthy: Weir) -> None:
    tomorrow = healthy.scalar("SELECT to_char(now() + interval '1 day', 'YYYYMMDD')")
    healthy.rows(f"ALTER TABLE readings_{tomorrow} RENAME TO elsewhere")
    assert "readings has no partition from" in fails(healthy, "partitions").found
    healthy.rows(f"ALTER TABLE elsewhere RENAME TO readings_{tomorrow}")
    is_well(healthy, "partitions")


def test_records_of_no_day_are_named(healthy: Weir) -> None:
    healthy.rows("INSERT INTO readings VALUES (1, '2001-01-01', 0, 0, 0)")
    assert "readings_default" in fails(healthy, "default partition", State.WARN).found
    healthy.rows("DELETE FROM readings_default")


def test_ledger_that_does_not_balance_is_named(healthy: Weir) -> None:
    healthy.wait_for(lambda: examine(healthy)["ledger"].state is State.OK)
    healthy.rows(
        "INSERT INTO ledger (stream, minute, series, accepted)"
        " VALUES ('readings', date_trunc('minute', now()) - interval '1 hour', gen_random_uuid(), 5)"
    )
    found = fails(healthy, "ledger").found
    assert "neither settled nor in the queue" in found
    assert "5 accepted" in found
    assert examine(healthy)["lag"].state is State.WARN
    healthy.rows("DELETE FROM ledger WHERE accepted = 5 AND stored = 0")
    is_well(healthy, "ledger")


def test_receipts_that_nobody_forgets_are_named(healthy: Weir) -> None:
    healthy.rows(
        "INSERT INTO receipts (id, stream, stored, at)"
        " SELECT gen_random_uuid(), 'events', 1, now() - day * '16 d'::interval FROM generate_series(0, 1) day"
    )
    assert fails(healthy, "receipts", State.WARN)
    replay = str(healthy.scalar("SELECT id FROM receipts WHERE stream = 'events' ORDER BY at LIMIT 1"))
    healthy.rows(
        "INSERT INTO dead_letters (id, stream, content_type, body, headers, code, reason, first_seen, last_seen, state,"
        " replay) VALUES (%s, 'events', '', '', '{}', '22003', 'too large', now(), now(), 'replayed', %s)",
        replay,
        replay,
    )
    is_well(healthy, "receipts")  # it stays as long as its letter
    healthy.rows("DELETE FROM dead_letters")
    healthy.rows("DELETE FROM receipts WHERE stream = 'events'")


def test_without_a_management_api_it_says_what_it_could_not_check(healthy: Weir) -> None:
    checks = examine(healthy, management_url="")
    assert {name for name, one in checks.items() if one.found == NOT_CHECKED} == {
        "topology", "policies", "consumers", "workers", "consumer timeout", "dead letters", "parked", "alarms", "broker disk"
    }  # fmt: skip
    assert all(one.state is State.WARN for one in checks.values() if one.found == NOT_CHECKED)


def test_command_prints_json_and_its_exit_code_tells(healthy: Weir, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in healthy.environment.items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(app, ["doctor", "--json"])
    checks = json.loads(done.stdout)["checks"]
    assert {"name", "state", "found", "advice"} == set(checks[0])
    assert done.exit_code == (1 if any(one["state"] == "fail" for one in checks) else 0)
    healthy.stop("consumer")
    healthy.wait_for(lambda: CliRunner().invoke(app, ["doctor"]).exit_code == 1)
    assert "nobody consumes weir.readings" in CliRunner().invoke(app, ["doctor"]).output
    healthy.stop("api")
    found = examine(healthy)
    assert found["api"].state is found["ledger"].state is found["clock"].state is State.FAIL
    healthy.start("consumer", "api")
