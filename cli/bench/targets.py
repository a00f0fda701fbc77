"""What the benchmark compares, and the figures to reach."""

from cli.bench.figures import Comparison, Target

COMPARISONS = (
    Comparison("lane ÷ bare ASGI, 64 connections", "lane.64.per_second", "÷", "bare.64.per_second", Target(0.40, 0.60)),
    Comparison("lane ÷ bare ASGI, 1 connection", "lane.1.per_second", "÷", "bare.1.per_second"),
    Comparison("lane ÷ bare ASGI, 256 connections", "lane.256.per_second", "÷", "bare.256.per_second"),
    Comparison("lane ÷ FastAPI that does nothing, 64 connections", "lane.64.per_second", "÷", "fastapi.64.per_second"),
    Comparison("lane ÷ plain reference, 64 connections", "lane.64.per_second", "÷", "plain.64.per_second", Target(6, 10)),
    Comparison("lane ÷ plain reference, 1 connection", "lane.1.per_second", "÷", "plain.1.per_second"),
    Comparison("lane ÷ plain reference, 256 connections", "lane.256.per_second", "÷", "plain.256.per_second"),
    Comparison(
        "lane − bare confirmed publish, 1 connection", "latency.lane.p50_ms", "−", "latency.publish.p50_ms",
        Target(0.5, 0.3), "ms",
    ),
    Comparison("batches as columns ÷ raw COPY", "columns.rows_per_second", "÷", "copy.rows_per_second", Target(0.6, 0.8)),
    Comparison("batches as arrays ÷ raw COPY", "arrays.rows_per_second", "÷", "copy.rows_per_second", Target(0.6, 0.8)),
    Comparison(
        "backlog of batches drained ÷ raw COPY", "backlog.batches.rows_per_second", "÷", "copy.rows_per_second",
        Target(0.8, 0.95),
    ),
    # Thirty times as many messages, receipts and acks for the same rows: no target, but worth to be seen.
    Comparison(
        "backlog of single readings drained ÷ raw COPY", "backlog.singles.rows_per_second", "÷", "copy.rows_per_second"
    ),
    Comparison("202 → visible, p50 at half capacity", "visible.p50_ms", unit="ms"),
    Comparison("202 → visible, p99 at half capacity", "visible.p99_ms", target=Target(250, 100), unit="ms"),
    Comparison(
        "SQL's time ÷ ours, statistics of a million", "statistics.sql_ms", "÷", "statistics.api_ms", Target(1.3, 3)
    ),
    Comparison("SQL's time ÷ ours, statistics of a cold million", "cold.sql_ms", "÷", "cold.day_ms", Target(8, 15)),
    Comparison("ten cold millions ÷ one", "cold.days_ms", "÷", "cold.day_ms", Target(10, 2)),
    Comparison("sealed, per reading", "cold.sealed.reading_bytes", target=Target(30, 20), unit="bytes"),
    # No sensor has so many digits: what it costs where nothing can be made smaller.
    Comparison("sealed, per reading of random bits", "cold.worst.reading_bytes", unit="bytes"),
    # The hourly upkeep counts a day once it is sealed, so this is what is found by whoever asks.
    Comparison(
        "SQL's time ÷ ours, daily users of a million events", "engagement.sql_ms", "÷", "engagement.again_ms",
        Target(3, 10),
    ),
    Comparison("the same before the sealed days are counted", "engagement.sql_ms", "÷", "engagement.first_ms"),
    Comparison(
        "SQL's time ÷ ours, daily users in another zone", "engagement.zone.sql_ms", "÷", "engagement.zone_ms"
    ),
    Comparison("SQL's time ÷ ours, daily users of a segment", "engagement.segment.sql_ms", "÷", "engagement.segment_ms"),
    Comparison(
        "ingest beside a big job ÷ alone", "ingest.beside_a_job.per_second", "÷", "ingest.alone.per_second",
        Target(0.9, 0.95),
    ),
    Comparison(
        "worker's memory, job over ten millions", "memory.worker.big_job_mb", target=Target(500, 250), unit="MB"
    ),
    Comparison(
        "API memory, 1,000,000 ÷ 10,000 single readings", "memory.api.singles.many_mb", "÷",
        "memory.api.singles.few_mb", Target(1.2, 1.05),
    ),
    Comparison(
        "API memory, 1,000,000 ÷ 10,000 in batches", "memory.api.batches.many_mb", "÷",
        "memory.api.batches.few_mb", Target(1.2, 1.05),
    ),
    Comparison("keyed ÷ unkeyed, 64 connections", "keys.with.per_second", "÷", "keys.without.per_second", Target(0.5, 0.8)),
    Comparison(
        "API memory, ten times too many connections ÷ capacity", "overload.overload.memory_mb", "÷",
        "overload.capacity.memory_mb", Target(1.5, 1.2),
    ),
    Comparison(
        "accepted, ten times too many connections ÷ capacity", "overload.overload.accepted_per_second", "÷",
        "overload.capacity.accepted_per_second", Target(0.8, 0.95),
    ),
)  # fmt: skip
