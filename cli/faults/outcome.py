"""What one run of one fault came to."""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cli.faults.oracle import ACCEPTED, Sent
from cli.faults.verdict import Verdict

UNAVAILABLE = 503


@dataclass
class Outcome:
    """Filled as the run goes; without a verdict it did not come to its end."""

    fault: str
    #: From 0 on.
    number: int
    moment: str
    verdict: Verdict | None = None
    complaints: list[str] = field(default_factory=list)
    #: From healing until a fresh reading was accepted, and until it was stored.
    accepted_seconds: float | None = None
    stored_seconds: float | None = None
    #: Every answer of the run, and the time they took while the fault lasted.
    answers: dict[str, int] = field(default_factory=dict)
    p50_ms: float | None = None
    p99_ms: float | None = None
    slowest_ms: float | None = None
    peak_mb: dict[str, float] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)
    #: As far as the broker counts them: it forgets when it restarts.
    redeliveries: int | None = None

    @property
    def passed(self) -> bool:
        return self.verdict is not None and not self.complaints

    def observe(self, sent: Sequence[Sent], began: float, healed: float) -> None:
        """Count the answers; time those that came while the fault lasted."""
        answers = [answer for one in sent for answer in one.answers]
        self.answers = {str(status): count for status, count in Counter(one.status for one in answers).most_common()}
        during = sorted(1000 * one.seconds for one in answers if began <= one.at <= healed)
        if len(during) > 1:
            hundredths = statistics.quantiles(during, n=100, method="inclusive")
            self.p50_ms, self.p99_ms, self.slowest_ms = hundredths[49], hundredths[98], during[-1]
        elif during:
            self.p50_ms = self.p99_ms = self.slowest_ms = during[0]
        strange = {
            one.status for one in answers if isinstance(one.status, int) and one.status not in {ACCEPTED, UNAVAILABLE}
        }
        self.complaints += [f"an answer was {status}" for status in sorted(strange)]

    def as_json(self) -> dict[str, Any]:
        said = asdict(self)
        if self.verdict is not None:
            said["verdict"] = {
                name: len(value) if isinstance(value, frozenset) else value
                for name, value in asdict(self.verdict).items()
            }
        return {**said, "passed": self.passed}
