"""What the checks make of a broker's words, where a real one cannot be brought to say them."""

import pytest

from cli.doctor import broker
from cli.doctor.checks import Check, State, attempted, ok, warn, worst
from shared.broker import inspection
from shared.errors import BrokerUnavailable
from shared.job_queues import QUEUE, UPKEEP_QUEUE
from shared.streams import STREAMS

AS_DESIGNED = {
    "name": "weir.readings",
    "type": "quorum",
    "arguments": {"x-queue-type": "quorum"},
    "effective_policy_definition": {"overflow": "reject-publish", "delivery-limit": 1_000_000_000},
}


class Broker:
    """Answers as the management API would."""

    def __init__(self, node=None, consumers=(), **queue):
        self.virtual_host = "weir"
        self._answers = {"nodes": [node or {}], "consumers/{vhost}": list(consumers)}
        self._queue = AS_DESIGNED | queue

    def get(self, path):
        return self._answers[path]

    def queue(self, name):
        return self._queue | {"name": name}


def test_queue_as_designed_has_no_fault():
    assert inspection.of_queue(AS_DESIGNED, may_give_up=False) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"type": "classic"}, "not quorum"),
        ({"arguments": {"x-queue-type": "quorum", "x-max-length": 5}}, "x-max-length"),
        ({"effective_policy_definition": None}, "reject-publish"),
        ({"effective_policy_definition": {"overflow": "drop-head"}}, "reject-publish"),
        ({"effective_policy_definition": {"overflow": "reject-publish"}}, "20 times"),
        (
            {"effective_policy_definition": AS_DESIGNED["effective_policy_definition"] | {"dead-letter-exchange": "x"}},
            "dead-letter",
        ),
    ],
    ids=["type", "arguments", "no policy", "drops", "gives up", "dead-letters"],
)
def test_queue_that_is_not_as_designed_is_described(change, said):
    found = inspection.of_queue(AS_DESIGNED | change, may_give_up=False)
    assert any(said in fault for fault in found)


@pytest.mark.parametrize(
    ("free", "state"), [(400, State.FAIL), (700, State.WARN), (5000, State.OK)], ids=["full", "nearly full", "roomy"]
)
def test_disk_of_the_broker_is_judged_by_its_limit(free, state):
    node = {"disk_free": free * 10**6, "disk_free_limit": 512 * 10**6}
    assert broker._disk(Broker(node)).state is state


@pytest.mark.parametrize(
    ("settings", "state"),
    [
        ("consumer_timeout = 86400000\n", State.OK),
        ("consumer_timeout = 1800000\n", State.WARN),
        ("# consumer_timeout = 86400000\n", State.WARN),
        ("consumer_timeout = 1000\nheartbeat = 5\n  consumer_timeout=86400000\n", State.OK),
    ],
    ids=["a day", "half an hour", "not set", "the last counts"],
)
def test_consumer_timeout_is_read_from_the_nodes_own_files(tmp_path, settings, state):
    file = tmp_path / "rabbitmq.conf"
    file.write_text(settings)
    node = {"config_files": [str(tmp_path / "missing.conf"), str(file)]}
    assert broker._consumer_timeout(Broker(node)).state is state


def test_consumer_timeout_of_a_policy_counts_before_the_files():
    policy = {"effective_policy_definition": {"consumer-timeout": 1000}}
    assert broker._consumer_timeout(Broker({}, **policy)).state is State.WARN


def consumers(*prefetches: int, channel: str = "one") -> list[dict[str, object]]:
    """Of every stream the same."""
    return [
        {
            "queue": {"name": stream.queue},
            "channel_details": {"name": f"{stream.name} {channel}"},
            "prefetch_count": one,
        }
        for stream in STREAMS
        for one in prefetches
    ]


def test_consumer_without_a_bound_is_named():
    found = broker._consumers(Broker(consumers=consumers(100, 0)), 2000)
    assert (found.state, "prefetch of 0" in found.found) == (State.WARN, True)


def test_what_one_channel_consumes_counts_together():
    assert broker._consumers(Broker(consumers=consumers(100, 1901)), 2000).state is State.WARN
    two = consumers(100, 1900) + consumers(100, channel="another")
    assert broker._consumers(Broker(consumers=two), 2000).state is State.OK


@pytest.mark.parametrize(("taken", "missing"), [((), QUEUE), ((UPKEEP_QUEUE,), QUEUE), ((QUEUE,), UPKEEP_QUEUE)])
def test_worker_that_is_missing_is_named(taken, missing):
    found = broker._workers(Broker(consumers=[{"queue": {"name": name}} for name in taken]))
    assert (found.state, missing in found.found) == (State.WARN, True)


def test_check_that_cannot_find_out_fails():
    def look() -> Check:
        raise BrokerUnavailable("nobody there")

    check = attempted("alarms", look, "start it")
    assert (check.state, check.found, check.advice) == (State.FAIL, "nobody there", "start it")


def test_worst_check_decides():
    checks = [ok("a", ""), warn("b", "", "")]
    assert worst([]) is State.OK
    assert worst(checks) is State.WARN
    assert worst([*checks, attempted("c", lambda: Check("c", State.FAIL, ""), "")]) is State.FAIL
