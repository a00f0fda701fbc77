"""Checks of the broker, through its management API: topology, policies, consumers, alarms, disk."""

import json
import re
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from cli.doctor.checks import Check, attempted, fail, ok, warn
from cli.servers import DEPLOY
from shared.broker import inspection
from shared.broker.management import NOT_CHECKED, Management
from shared.errors import WeirError
from shared.job_queues import QUEUE, UPKEEP_QUEUE
from shared.streams import STREAMS

#: A consumer may wait for its database this long before the broker takes its messages away.
LEAST_CONSUMER_TIMEOUT = timedelta(hours=12)
_NAMES = (
    "topology",
    "policies",
    "consumers",
    "workers",
    "consumer timeout",
    "dead letters",
    "parked",
    "alarms",
    "broker disk",
)
#: Share of its bytes from which a parking queue counts as full: a refused message may need more than is left.
FULL = 0.95
_REACH = "see that WEIR_MANAGEMENT_URL is right and its user has the tag monitoring"
_LOAD = "load deploy/rabbitmq/definitions.json: `rabbitmqctl import_definitions`"


def checks(management: Management | None, prefetch: int) -> list[Check]:
    if management is None:
        return [warn(name, NOT_CHECKED, "set it to http://user:password@host:15672") for name in _NAMES]
    looks = (
        lambda: _topology(management),
        lambda: _policies(management),
        lambda: _consumers(management, prefetch),
        lambda: _workers(management),
        lambda: _consumer_timeout(management),
        lambda: _dead_letters(management),
        lambda: _parked(management),
        lambda: _alarms(management),
        lambda: _disk(management),
    )
    return [attempted(name, look, _REACH) for name, look in zip(_NAMES, looks, strict=True)]


def _topology(management: Management) -> Check:
    found = inspection.faults(management, STREAMS)
    if found:
        time.sleep(inspection.BEHIND_SECONDS)
        found = inspection.faults(management, STREAMS)
    if found:
        advice = "a missing queue or binding is made when the API starts, a queue of another type must be drained and deleted; "
        return fail("topology", "; ".join(found), advice + _LOAD)
    return ok("topology", "queues, bindings, dead-letter queues and delivery limits are as designed")


def _policies(management: Management) -> Check:
    wanted = json.loads((DEPLOY / "definitions.json").read_text())["policies"]
    there = {one["name"]: one for one in management.get("policies/{vhost}")}
    differing = [one["name"] for one in wanted if not _same(one, there.get(one["name"]))]
    if differing:
        return warn("policies", f"not as in definitions.json: {', '.join(differing)}", _LOAD)
    return ok("policies", "as in deploy/rabbitmq/definitions.json")


def _same(wanted: dict[str, Any], there: dict[str, Any] | None) -> bool:
    return there is not None and all(
        there.get(key) == wanted[key] for key in ("pattern", "definition", "apply-to", "priority")
    )


def _consumers(management: Management, prefetch: int) -> Check:
    everybody = management.get("consumers/{vhost}")
    for stream in STREAMS:
        theirs = [one for one in everybody if one["queue"]["name"] == stream.queue]
        if not theirs:
            return fail(
                "consumers", f"nobody consumes {stream.queue}", "start the consumer; its log says why it is down"
            )
        # One of ours consumes twice on its channel: with caution at first, with the rest once nothing does it harm.
        together: defaultdict[str, list[int]] = defaultdict(list)
        for one in theirs:
            together[one["channel_details"]["name"]].append(one["prefetch_count"])
        if others := [counts for counts in together.values() if 0 in counts or sum(counts) > prefetch]:
            count = 0 if 0 in others[0] else sum(others[0])
            found = f"{stream.queue} has a consumer with a prefetch of {count}, not {prefetch}"
            return warn("consumers", found, "start it anew with the same WEIR_PREFETCH; 0 would be without bound")
    return ok("consumers", f"each queue has one, with a prefetch of {prefetch} at most")


def _workers(management: Management) -> Check:
    """Without them readings are stored all the same."""
    taken = {one["queue"]["name"] for one in management.get("consumers/{vhost}")}
    if QUEUE not in taken:
        return warn("workers", f"nobody takes jobs from {QUEUE}", "start a worker; its log says why it is down")
    if UPKEEP_QUEUE not in taken:
        found = f"nothing is sealed, and no job sent again: nobody takes tasks from {UPKEEP_QUEUE}"
        return warn("workers", found, f"start a worker with `--queues {UPKEEP_QUEUE}`, as docker-compose.yml does")
    return ok("workers", "there is one for jobs, and one for the upkeep")


def _consumer_timeout(management: Management) -> Check:
    """Look for it where it is set: the queue's policy, else the node's files where they can be read from here."""
    name, advice = "consumer timeout", "set consumer_timeout in rabbitmq.conf as deploy/rabbitmq/rabbitmq.conf does"
    milliseconds: list[int] = []
    for stream in STREAMS:
        policy = management.queue(stream.queue).get("effective_policy_definition") or {}
        if "consumer-timeout" in policy:
            milliseconds.append(int(policy["consumer-timeout"]))
    files = [Path(file) for node in management.get("nodes") for file in node.get("config_files", ())]
    milliseconds = milliseconds or _timeouts(files)
    if not milliseconds:
        return warn(name, "not checked: the broker's settings cannot be read from here", advice)
    shortest = timedelta(milliseconds=min(milliseconds))
    if shortest < LEAST_CONSUMER_TIMEOUT:
        return warn(name, f"{shortest}: a database away for longer makes the broker take messages back", advice)
    return ok(name, str(shortest))


def _timeouts(files: Iterable[Path]) -> list[int]:
    """Read the node's own settings, of which the last counts; none, when a file of it is on another machine."""
    found: list[int] = []
    for file in files:
        try:
            text = file.read_text()
        except (OSError, ValueError):
            continue
        found += [int(one) for one in re.findall(r"^\s*consumer_timeout\s*=\s*(\d+)", text, re.MULTILINE)]
    return found[-1:]


def _dead_letters(management: Management) -> Check:
    counts = {one.dead_queue: management.queue(one.dead_queue).get("messages", 0) for one in STREAMS}
    waiting = ", ".join(f"{count} in {queue}" for queue, count in counts.items() if count)
    if waiting:
        return warn("dead letters", waiting, "is the consumer down, or the table missing? It moves them into the table")
    return ok("dead letters", "none wait to be moved into the table")


def _parked(management: Management) -> Check:
    found = {stream.name: management.queue(stream.parked_queue) for stream in STREAMS}
    counts = {name: queue.get("messages", 0) for name, queue in found.items() if queue.get("messages")}
    if not counts:
        return ok("parked", "no message is")
    messages = ", ".join(f"{count:,} of {name}" for name, count in counts.items())
    advice = f"see the consumer's log for the cause, mend it, then `weir dead-letters release {next(iter(counts))}`"
    for name in counts:
        limit = (found[name].get("effective_policy_definition") or {}).get("max-length-bytes")
        if limit and found[name].get("message_bytes", 0) >= FULL * limit:
            return fail("parked", f"{messages}; {found[name]['name']} is full, so the stream stands still", advice)
    return warn("parked", f"{messages} failed while nearly every message did, and wait in the broker", advice)


def _alarms(management: Management) -> Check:
    found = management.get("health/checks/alarms")
    if found.get("status") == "ok":
        return ok("alarms", "none")
    which = sorted({str(one.get("resource")) for one in found.get("alarms", ())})
    return fail(
        "alarms", f"the broker is short of {', '.join(which) or 'something'}", "free some: it takes nothing until then"
    )


def _disk(management: Management) -> Check:
    for node in management.get("nodes"):
        free, limit = node.get("disk_free"), node.get("disk_free_limit")
        if not isinstance(free, int) or not isinstance(limit, int):
            raise WeirError("the broker does not say how much disk is free")
        found = f"{free / 1e9:.1f} GB free, and it stops taking messages at {limit / 1e9:.1f} GB"
        if free < limit:
            return fail("broker disk", found, "free some")
        if free < 2 * limit:
            return warn("broker disk", found, "free some before it stops")
    return ok("broker disk", found)
