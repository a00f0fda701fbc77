"""What one run of one fault came to."""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cli.faults.oracle import ACCEPTED, ANSWER_SECONDS, TIMED_OUT, Answer, Sent
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
    #: From healing until a fresh record of each stream was accepted, and until it was stored.
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
    #: When the fault began and had healed, by the monotonic clock.
    began: float | None = None
    healed: float | None = None

    @property
    def passed(self) -> bool:
        return self.verdict is not None and not self.complaints

    def observe(self, sent: Sequence[Sent], *, cuts_senders: bool) -> None:
        """Count every answer of the run; time those of which any part lay within the fault.

        A complaint: an answer that is neither yes nor come again, one that did not come in time, and, unless the fault
        cuts senders off, one that a broken connection stands for.
        """
        answers = [answer for one in sent for answer in one.answers]
        counts = Counter(one.status for one in answers)
        self.answers = {str(status): count for status, count in counts.most_common()}
        hung = sum(one.status == TIMED_OUT or one.seconds > ANSWER_SECONDS for one in answers)
        if hung:
            self.complaints.append(f"{hung} requests hung: no answer within {ANSWER_SECONDS} s")
        for status, count in sorted(counts.items(), key=lambda item: str(item[0])):
            is_cut = isinstance(status, str) and status != TIMED_OUT
            if is_cut and not cuts_senders:
                self.complaints.append(f"{count} requests ended with {status}")
            elif isinstance(status, int) and status not in {ACCEPTED, UNAVAILABLE}:
                self.complaints.append(f"{count} answers were {status}")
        self._time(answers)

    def note_restarts(self, restarts: Mapping[str, int], *, ends_processes: bool) -> None:
        """Note which processes ended by themselves: a complaint, unless the fault does that."""
        self.restarts = dict(restarts)
        if not ends_processes:
            self.complaints += [f"{name} ended by itself, {count} times" for name, count in self.restarts.items()]

    def _time(self, answers: Iterable[Answer]) -> None:
        if self.began is None or self.healed is None:
            return
        during = sorted(
            1000 * one.seconds for one in answers if one.at >= self.began and one.at - one.seconds <= self.healed
        )
        if len(during) > 1:
            hundredths = statistics.quantiles(during, n=100, method="inclusive")
            self.p50_ms, self.p99_ms, self.slowest_ms = hundredths[49], hundredths[98], during[-1]
        elif during:
            self.p50_ms = self.p99_ms = self.slowest_ms = during[0]

    def as_json(self) -> dict[str, Any]:
        said = asdict(self)
        if self.verdict is not None:
            said["verdict"] = {
                name: len(value) if isinstance(value, frozenset) else value
                for name, value in asdict(self.verdict).items()
            }
        return {**said, "passed": self.passed}


def cut_before(sent: Iterable[Sent], moment: float) -> Counter[str]:
    """Requests that were sent before that moment, and ended after it without an answer, by what went wrong."""
    return Counter(
        answer.status
        for one in sent
        for answer in one.answers
        if isinstance(answer.status, str) and answer.at - answer.seconds < moment <= answer.at
    )
