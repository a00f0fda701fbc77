"""Faults to survive that this harness does not run, and why."""

_INPUT = "an input, not a fault: `tests/e2e/test_bad_input.py`"
_JOBS = "of statistics jobs, not of readings: `tests/integration/test_jobs.py`"

UNCOVERED: dict[str, str] = {
    "24 a consumer that requeues for ever": "the consumer requeues nothing, and the queue has no limit of deliveries "
    "([decision](decisions/0005-no-delivery-limit.md))",
    "37 a time without a partition": "goes into the default partition: `tests/integration/test_consumer.py`",
    "38 a partition made by two at once": "not measured; `one-of-two-consumers-killed` has two that make the same ones",
    "43 numbers that are none": _INPUT,
    "44 text that is none": _INPUT,
    "46 deep nesting, many keys": _INPUT,
    "47 oversize bodies": _INPUT,
    "48 timestamps": _INPUT,
    "49 batches of every size": _INPUT,
    "54 goodput under overload": "not measured here: the senders share the machine with what they overload; that it sheds "
    "and its memory stays bounded is in `overload`",
    "55 a backlog of a million": "`consumer-away` leaves what comes in up to 20 s; the drain rate is in docs/performance.md",
    "56, 57 broker away or blocked at submit": _JOBS,
    "58–62 workers and their tasks": _JOBS,
    "66 RabbitMQ 3.10 and 4.x": "the harness runs the version that is installed",
    "67 MQTT": "Weir offers no MQTT",
    "68 the simulated consumer": "10,000 seeds in every test run: `tests/simulation`",
}
