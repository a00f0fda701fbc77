"""Faults of the broker and of the way to it."""

import time
from random import Random
from signal import Signals

import httpx

from cli.faults.fault import fault
from cli.faults.proxy import Direction
from cli.faults.senders import BURST, STEADY
from cli.faults.weir import Weir
from cli.process_tree import signalled
from cli.servers import NAME
from shared.streams import STREAMS, Stream
from shared.streams.stream import EXCHANGE

#: A connection silent for three times this is dead: short, so that a run need not last a minute.
_SHORT_HEARTBEAT = {"WEIR_HEARTBEAT": "2"}


@fault("broker-killed", "1", starred=True, quick=True)
def broker_killed(weir: Weir, chance: Random) -> None:
    """The broker is killed with -9 and started again up to five seconds later."""
    weir.rabbit.kill()
    time.sleep(chance.uniform(0, 5))
    weir.rabbit.start()
    weir.rabbit.ready()


@fault("broker-stopped", "2", starred=True)
def broker_stopped(weir: Weir, chance: Random) -> None:
    """The broker is stopped in good order (`stop_app`) and started again."""
    weir.ctl("stop_app")
    try:
        time.sleep(chance.uniform(0, 5))
    finally:
        weir.ctl("start_app")
    weir.rabbit.ready()


@fault("broker-frozen", "3", starred=True, settings=_SHORT_HEARTBEAT)
def broker_frozen(weir: Weir, chance: Random) -> None:
    """The broker stops for up to 15 seconds without closing anything; heartbeats are 2 s here, so 6 s is dead."""
    with signalled(weir.rabbit.pid, Signals.SIGSTOP, Signals.SIGCONT):
        time.sleep(chance.uniform(1, 15))


@fault("connections-closed", "4", starred=True, quick=True)
def connections_closed(weir: Weir, chance: Random) -> None:
    """An administrator closes every connection, up to three times."""
    for _ in range(chance.randint(1, 3)):
        weir.ctl("close_all_connections", "--vhost", weir.name, "fault")
        time.sleep(chance.uniform(0, 2))


@fault("confirm-lost", "5", starred=True, quick=True)
def confirm_lost(weir: Weir, chance: Random) -> None:
    """What the broker says to the API is lost, from any byte on: messages are kept and nobody is told."""
    weir.api_to_broker.lose(Direction.TO_CLIENT, chance.choice([0, chance.randrange(200)]))
    time.sleep(chance.uniform(0.5, 7))


@fault("ack-lost", "19", starred=True)
def ack_lost(weir: Weir, chance: Random) -> None:
    """What the consumer says to the broker is lost, from any byte on, until the connection breaks."""
    weir.consumer_to_broker.lose(Direction.TO_SERVER, chance.choice([0, chance.randrange(200)]))
    time.sleep(chance.uniform(0.5, 4))
    weir.consumer_to_broker.reset()


@fault("memory-alarm", "7", starred=True)
def memory_alarm(weir: Weir, chance: Random) -> None:
    """The broker has no memory left by its own measure, and reads no publisher; what is queued must drain."""
    weir.ctl("set_vm_memory_high_watermark", "0")
    try:
        _blocked_but_draining(weir)
        time.sleep(chance.uniform(0, 5))
    finally:
        weir.ctl("set_vm_memory_high_watermark", "0.4")


@fault("disk-alarm", "8")
def disk_alarm(weir: Weir, chance: Random) -> None:
    """The broker has no disk left by its own measure, and reads no publisher; what is queued must drain."""
    weir.ctl("set_disk_free_limit", "10000GB")
    try:
        _blocked_but_draining(weir)
        time.sleep(chance.uniform(0, 5))
    finally:
        weir.ctl("set_disk_free_limit", "512MB")


def _blocked_but_draining(weir: Weir) -> None:
    weir.wait_for(lambda: not weir.is_ready(), "the API is ready in spite of an alarm")
    weir.wait_for(lambda: weir.queued() == 0, "the consumer does not drain during an alarm")


@fault("queue-full", "9", moments=(STEADY, BURST))
def queue_full(weir: Weir, chance: Random) -> None:
    """No consumer runs and each queue may hold 50 messages: the rest is refused."""
    limit = 50
    policy = "policies/{vhost}/small"
    definition = {"max-length": limit, "overflow": "reject-publish", "delivery-limit": 1_000_000_000}
    weir.management(
        "PUT", policy, {"pattern": r"^weir\.[a-z]+$", "apply-to": "queues", "priority": 9, "definition": definition}
    )
    for stream in STREAMS:
        weir.wait_for(lambda stream=stream: weir.policy(stream) == "small", "the policy is not applied")  # type: ignore[misc]
    with weir.services.away("consumer"):
        try:
            # Whoever has a key tries again and sends nothing else meanwhile, so the other queue may stay as it is.
            weir.wait_for(lambda: any(weir.queued(one) >= limit for one in STREAMS), "no queue fills up")
            time.sleep(chance.uniform(1, 3))
            for stream in STREAMS:
                depth = weir.queued(stream)
                # One channel has one message in flight; retries of another may overtake the news that it is full.
                weir.expect(depth <= limit + 10, f"{stream.queue} took {depth} messages, {limit} are allowed")
        finally:
            weir.management("DELETE", policy)


@fault("binding-deleted", "10", quick=True)
def binding_deleted(weir: Weir, chance: Random) -> None:
    """A queue is unbound, so that messages lead nowhere, up to three times."""
    for _ in range(chance.randint(1, 3)):
        stream = chance.choice(STREAMS)
        weir.wait_for(lambda stream=stream: _unbound(weir, stream), "the binding is not made anew")  # type: ignore[misc]
        time.sleep(chance.uniform(0, 1))


def _unbound(weir: Weir, stream: Stream) -> bool:
    """Whether there was a binding to delete."""
    try:
        weir.management("DELETE", f"bindings/{{vhost}}/e/{EXCHANGE}/q/{stream.queue}/{stream.name}")
    except httpx.HTTPStatusError:  # deleted before, and not made anew yet
        return False
    return True


@fault("queue-deleted", "11")
def queue_deleted(weir: Weir, chance: Random) -> None:
    """The queues are deleted with what is in them, which is gone; what comes after is not."""
    for stream in chance.sample(STREAMS, len(STREAMS)):
        weir.delete_queue(stream)


@fault("exchange-deleted", "12")
def exchange_deleted(weir: Weir, chance: Random) -> None:
    """The exchange is deleted under those who publish to it."""
    weir.management("DELETE", "exchanges/{vhost}/weir")
    time.sleep(chance.uniform(0, 2))


@fault("queue-of-another-type", "13", cuts_senders=True)
def queue_of_another_type(weir: Weir, chance: Random) -> None:
    """API and consumer start on a queue of the wrong type: they stay, and say so, until it is removed."""
    stream = chance.choice(STREAMS)
    queue = f"queues/{{vhost}}/{stream.queue}"
    with weir.services.away("api"), weir.services.away("consumer"):
        weir.delete_queue(stream)
        weir.management("PUT", queue, {"durable": True, "arguments": {"x-queue-type": "classic"}})
    try:
        weir.wait_for(lambda: "topology is not as designed" in weir.readiness(), "the API does not say what is wrong")
        weir.expect(not weir.is_ready(), "the API is ready on a queue of another type")
        time.sleep(chance.uniform(0, 3))
    finally:
        weir.management("DELETE", queue)


@fault("credentials-revoked", "14")
def credentials_revoked(weir: Weir, chance: Random) -> None:
    """The broker knows the password no more and closes every connection; later it knows it again."""
    weir.ctl("change_password", NAME, "another")
    try:
        weir.ctl("close_all_connections", "--vhost", weir.name, "fault")
        weir.wait_for(lambda: not weir.is_ready(), "the API is ready without a password")
        before, seconds = weir.log_lines(), chance.uniform(3, 6)
        time.sleep(seconds)
        rate = (weir.log_lines() - before) / seconds
        weir.expect(rate < 20, f"API and consumer log {rate:.0f} lines a second")  # noqa: PLR2004
    finally:
        weir.ctl("change_password", NAME, NAME)


@fault("started-without-broker", "15", cuts_senders=True)
def started_without_broker(weir: Weir, chance: Random) -> None:
    """API and consumer start before the broker does."""
    with weir.services.away("api"), weir.services.away("consumer"):
        weir.rabbit.kill()
    try:
        weir.wait_for(lambda: weir.readiness() != "", "the API does not start without a broker")
        weir.expect(not weir.is_ready(), "the API is ready without a broker")
        time.sleep(chance.uniform(0, 3))
    finally:
        weir.rabbit.start()
    weir.rabbit.ready()
