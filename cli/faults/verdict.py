"""The verdict: what was answered beside what is in the table and among the dead letters."""

from collections import Counter
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from cli.faults.oracle import Sent
from cli.faults.readings import Numbered, Row, digest


@dataclass(frozen=True)
class Verdict:
    """Readings by what became of them."""

    #: Answered 202, and in none of rows and dead letters.
    lost: frozenset[int]
    #: Rows nobody sent, and letters of readings nobody sent.
    unexpected: int
    #: Rows that are not bit by bit what was sent.
    corrupt: frozenset[int]
    #: Stored more than once, or stored and dead.
    duplicates: frozenset[int]
    #: Dead letters that would have fitted.
    innocents: frozenset[int]
    #: Stored though they were made not to fit.
    spared: frozenset[int]
    #: Letters that hold no reading, and how many there should be.
    unreadable: int
    malformed: int
    accepted: int
    stored: int
    dead: int
    #: Stored though no answer said so.
    recovered: int
    #: Gone with a queue that was deleted: only a fault that deletes one has any.
    gone: int = 0

    def complaints(self) -> list[str]:
        found = {
            "lost": len(self.lost),
            "unexpected": self.unexpected,
            "corrupt": len(self.corrupt),
            "duplicates": len(self.duplicates),
            "innocents dead-lettered": len(self.innocents),
            "bad ones stored": len(self.spared),
        }
        complaints = [f"{count} {name}" for name, count in found.items() if count]
        if self.unreadable != self.malformed:
            complaints.append(f"{self.unreadable} of {self.malformed} malformed messages dead-lettered")
        return complaints


def judge(
    numbered: Numbered,
    sent: Sequence[Sent],
    rows: Iterable[Row],
    letters: Iterable[Row | None],
    *,
    malformed: int = 0,
    mended: AbstractSet[int] = frozenset(),
    gone_until: float | None = None,
) -> Verdict:
    """Compare. `letters` are the records in the dead letters, None for each that holds no reading; `mended` were bad
    and are to be stored all the same.

    What was accepted before `gone_until` and is nowhere counts as gone: its queue was deleted at that moment.
    """
    by_number = {number: one for one in sent for number in one.numbers}
    bad = {number for one in sent for number in one.bad} - mended
    accepted_at = _accepted(sent)
    stored, corrupt, unexpected = _identified(numbered, by_number, rows)
    dead: set[int] = set()
    unreadable = 0
    for letter in letters:
        if letter is None:
            unreadable += 1
            continue
        number = numbered.candidates(letter)[0]
        if number in by_number:
            dead.add(number)
        else:
            unexpected += 1
    twice = {number for number, count in stored.items() if count > 1} | (dead & stored.keys())
    missing = accepted_at.keys() - stored.keys() - dead - corrupt
    gone = {number for number in missing if gone_until is not None and accepted_at[number] <= gone_until}
    return Verdict(
        lost=frozenset(missing - gone),
        unexpected=unexpected,
        corrupt=frozenset(corrupt),
        duplicates=frozenset(twice),
        innocents=frozenset(dead - bad),
        spared=frozenset(bad & stored.keys()),
        unreadable=unreadable,
        malformed=malformed,
        accepted=len(accepted_at),
        stored=len(stored),
        dead=len(dead),
        recovered=len(stored.keys() - accepted_at.keys()),
        gone=len(gone),
    )


def is_what_was_sent(numbered: Numbered, sent: Sent) -> bool:
    """Whether the readings made again are the bytes that were sent: otherwise the comparison would mean nothing."""
    bodies = [numbered.body(sent.first, sent.count, single=False)]
    if sent.count == 1:
        bodies.append(numbered.body(sent.first, 1, single=True))
    return any(digest(body) == sent.digest for body in bodies)


def _accepted(sent: Iterable[Sent]) -> dict[int, float]:
    """When each accepted reading was accepted."""
    found: dict[int, float] = {}
    for one in sent:
        moment = one.accepted_at
        if moment is not None:
            found.update(dict.fromkeys(one.numbers, moment))
    return found


def _identified(
    numbered: Numbered, by_number: dict[int, Sent], rows: Iterable[Row]
) -> tuple[Counter[int], set[int], int]:
    """How often each number is stored as it was sent, which are corrupt, and how many rows nobody sent."""
    stored: Counter[int] = Counter()
    corrupt: set[int] = set()
    unexpected = 0
    for row in rows:
        known = [number for number in numbered.candidates(row) if number in by_number]
        if not known:
            unexpected += 1
        elif row == numbered.row(known[0], by_number[known[0]].device_key):
            stored[known[0]] += 1
        else:
            corrupt.add(known[0])
    return stored, corrupt, unexpected
