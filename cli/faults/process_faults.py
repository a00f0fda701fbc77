"""Faults of Weir's own processes, and of those who send to it."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import cycle, islice
from random import Random
from signal import Signals
from uuid import uuid4

from cli.faults.database_faults import COMMIT
from cli.faults.fault import fault
from cli.faults.outcome import UNAVAILABLE, cut_before
from cli.faults.proxy import Trap
from cli.faults.senders import BURST, STEADY, Moment, Senders
from cli.faults.services import CHECKOUT
from cli.faults.weir import Weir
from cli.programs import HOST
from shared.streams import STREAMS

#: An API of which a publisher fails after some seconds.
FAILING, DEATHS_SECONDS = CHECKOUT / "tests" / "crash_publisher.py", 60
_OVERLOAD = Moment("overload", 150, 0.0, 20)


@fault("consumer-killed", "18", starred=True, quick=True)
def consumer_killed(weir: Weir, chance: Random) -> None:
    """The consumer is killed with -9 at any moment, three times."""
    for _ in range(3):
        weir.services.restart("consumer", Signals.SIGKILL)
        time.sleep(chance.uniform(0.5, 2.5))


@fault("consumer-killed-in-copy", "18", starred=True)
def consumer_killed_in_copy(weir: Weir, chance: Random) -> None:
    """The consumer is killed with -9 in the middle of a COPY."""
    weir.spring(Trap(b"COPY " + chance.choice(STREAMS).table.encode(), forward=True, skip=chance.randrange(3)))
    weir.services.restart("consumer", Signals.SIGKILL)


@fault("consumer-killed-before-ack", "17", starred=True, quick=True)
def consumer_killed_before_ack(weir: Weir, chance: Random) -> None:
    """The consumer is killed with -9 when its transaction is committed and its ack not yet sent."""
    weir.spring(Trap(COMMIT, forward=True, skip=chance.randrange(3)))
    time.sleep(chance.uniform(0.1, 0.5))
    weir.services.restart("consumer", Signals.SIGKILL)


@fault("consumer-terminated", "20", quick=True)
def consumer_terminated(weir: Weir, chance: Random) -> None:
    """The consumer is told to stop under load: it writes and acks what it holds and ends with 0."""
    began = time.monotonic()
    with weir.services.away("consumer") as code:
        seconds = time.monotonic() - began
        weir.expect(code == 0, f"the consumer ended with {code}")
        weir.expect(seconds < 20, f"the consumer took {seconds:.0f} s to end")  # noqa: PLR2004 - its drain deadline
        time.sleep(chance.uniform(0, 2))


@fault("one-of-two-consumers-killed", "22")
def one_of_two_consumers_killed(weir: Weir, chance: Random) -> None:
    """Of two consumers one is killed with -9 again and again, ten times."""
    weir.services.start("consumer-2")
    for _ in range(10):
        time.sleep(chance.uniform(0.5, 2))
        weir.services.restart("consumer-2", Signals.SIGKILL)
    weir.wait_for(lambda: weir.consumers() == 2, "the second consumer does not consume")  # noqa: PLR2004


@fault("api-killed", "53", quick=True, cuts_senders=True)
def api_killed(weir: Weir, chance: Random) -> None:
    """The API is killed with -9, and started again."""
    with weir.services.away("api", Signals.SIGKILL):
        time.sleep(chance.uniform(0, 2))


@fault("api-terminated", "53", cuts_senders=True)
def api_terminated(weir: Weir, chance: Random) -> None:
    """The API is told to stop under load: it answers what was sent before, and ends with 0."""
    told = time.monotonic()
    with weir.services.away("api") as code:
        weir.expect(code == 0, f"the API ended with {code}")
        time.sleep(chance.uniform(0, 2))
    weir.wait_for(weir.is_ready, "the API is not ready")
    cut = cut_before(weir.log.read(), told)
    weir.expect(not cut, f"requests that were sent before the API was told to stop were not answered: {dict(cut)}")


@fault("same-key-in-parallel", "52", quick=True)
def same_key_in_parallel(weir: Weir, chance: Random) -> None:
    """Five send the same submission under the same Idempotency-Key at the same moment, thirty times."""
    senders = [weir.sender() for _ in range(5)]
    for numbered in islice(cycle(weir.numbered.values()), 30):
        sent, request = senders[0].submit(numbered, chance.choice([1, 3, 50]), key=str(uuid4()))
        threads = [threading.Thread(target=one.attempt, args=(sent, request)) for one in senders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for one in senders:
        one.close()


@fault("background-task-died", "53", cuts_senders=True, ends_processes=True)
def background_task_died(weir: Weir, chance: Random) -> None:
    """A publisher of the API fails as by a programming error, again and again: the API ends and is started anew."""
    weir.services.replace("api", FAILING)
    weir.services.restart("api")
    deaths = weir.services.restarts["api"] + chance.randint(2, 3)
    weir.wait_for(lambda: weir.services.restarts["api"] >= deaths, "the API did not end", DEATHS_SECONDS)
    weir.services.restore("api")
    weir.services.restart("api")
    weir.wait_for(weir.is_ready, "the API is not ready")


@fault("small-frames", "5", quick=True)
def small_frames(weir: Weir, chance: Random) -> None:
    """The broker agrees to frames of 4,096 bytes only, while 150 keyed submissions come at the same time, several times."""
    weir.ctl("eval", "application:set_env(rabbit, frame_max, 4096).")
    try:
        weir.ctl("close_all_connections", "--vhost", weir.name, "fault")
        for _ in range(chance.randint(2, 4)):
            for numbered in weir.numbered.values():
                senders = [weir.sender() for _ in range(150)]
                sent = [one.submit(numbered, 1, key=str(uuid4())) for one in senders]
                with ThreadPoolExecutor(len(senders)) as threads:
                    list(threads.map(lambda one, what: one.attempt(*what), senders, sent))
                for one in senders:
                    one.close()
    finally:
        weir.ctl("eval", "application:set_env(rabbit, frame_max, 131072).")
        weir.ctl("close_all_connections", "--vhost", weir.name, "healed")


#: Of each at most 200 at one time.
_SMALL = {f"WEIR_{name}_LIMIT": "200" for name in ("WAITING", "SUBMISSION", "MESSAGE")}


@fault("overload", "54", moments=(STEADY,), settings=_SMALL)
def overload(weir: Weir, chance: Random) -> None:
    """150 senders more, without a pause, for twenty seconds; 200 records of a stream may wait in the API, the rest is refused."""
    before = weir.services.peak_mb["api"]
    crowd = Senders(weir.port, weir.devices, weir.numbered, weir.log, _OVERLOAD, str(chance.random()))
    time.sleep(20)
    crowd.end()
    shed = sum(answer.status == UNAVAILABLE for sent in weir.log.read() for answer in sent.answers)
    weir.expect(shed > 0, "nothing was refused")
    after = weir.services.peak_mb["api"]
    weir.expect(after < 2 * before, f"the API's memory grew from {before:.0f} to {after:.0f} MB")


@fault("slow-clients", "50", moments=(STEADY,), cuts_senders=True)
def slow_clients(weir: Weir, chance: Random) -> None:
    """300 connections say nothing, or only half of their headers or body, for ten seconds; others are served."""
    beginnings = (
        b"",
        b"POST /devices/",
        f"POST /devices/{weir.devices[0].id}/stats/ HTTP/1.1\r\nHost: weir\r\nContent-Length: 99\r\n\r\n{{".encode(),
    )
    with ExitStack() as opened:
        for number in range(300):
            one = opened.enter_context(socket.create_connection((HOST, weir.port), timeout=5))
            one.sendall(beginnings[number % len(beginnings)])
        time.sleep(chance.uniform(2, 3))
        weir.wait_until_accepted(50)
        time.sleep(7)


@fault("consumer-away", "55", moments=(STEADY, BURST))
def consumer_away(weir: Weir, chance: Random) -> None:
    """No consumer runs for ten to twenty seconds; then one takes up the backlog."""
    with weir.services.away("consumer"):
        time.sleep(chance.uniform(10, 20))
