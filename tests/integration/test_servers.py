"""The private servers keep what the rest of Weir takes for granted."""

from dataclasses import astuple

import httpx
import pytest
import sqlalchemy

from cli.programs import port_is_free


@pytest.mark.parametrize(
    ("setting", "value"), [("fsync", "on"), ("synchronous_commit", "on"), ("server_encoding", "UTF8")]
)
def test_database_keeps_what_it_committed(postgres_url, setting, value):
    engine = sqlalchemy.create_engine(postgres_url)
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text(f"SHOW {setting}")).scalar() == value
    engine.dispose()


def test_queues_are_bounded_by_policy(management_url, rabbitmqctl):
    policies = {"weir.probe": "streams", "weir.probe.dead": "dead-letters", "weir.jobs": "", "weir.upkeep": ""}
    with httpx.Client(base_url=f"{management_url}/api/queues/weir", trust_env=False) as management:
        for queue in policies:
            arguments = {"x-queue-type": "quorum"}
            management.put(f"/{queue}", json={"durable": True, "arguments": arguments}).raise_for_status()
        listing = rabbitmqctl("list_queues", "-q", "-p", "weir", "--no-table-headers", "name", "policy")
        for queue in policies:
            management.delete(f"/{queue}")
    found = dict(line.split("\t") for line in listing.splitlines())
    assert {queue: found[queue] for queue in policies} == policies


def test_servers_listen_on_this_machine_only(rabbit_server, postgres_server):
    ports = [*astuple(rabbit_server.ports), postgres_server.port]
    assert not any(port_is_free(port) for port in ports)
    # Who listens on every address has this one, too.
    assert all(port_is_free(port, "127.0.0.2") for port in ports)
