"""Every metric Weir has: name, unit, meaning. Served by the API at /metrics."""

from prometheus_client import Counter, Gauge, Histogram

accepted_records = Counter("weir_accepted_records", "Records confirmed by the broker and answered 202.", ["stream"])
published_messages = Counter("weir_published_messages", "Messages confirmed by the broker.", ["stream"])
refused_submissions = Counter("weir_refused_submissions", "Submissions not answered 202, by the error.", ["error"])
group_records = Histogram(
    "weir_group_records",
    "Records that shared one message.",
    ["stream"],
    buckets=(1, 2, 5, 10, 25, 50, 100, 250, 1000, 10_000),
)
waiting_records = Gauge("weir_waiting_records", "Records in the API that wait for their confirm.", ["stream"])
