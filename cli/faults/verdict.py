"""The verdict: what was answered beside what is in the table and among the dead letters."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields
from typing import Any, Self

from cli.faults.numbered import Numbered, Row, digest
from cli.faults.oracle import Sent


@dataclass(frozen=True)
class Verdict:
    """Records by what became of them. Verdicts of two streams add up."""

    #: Answered 202, and in none of rows and dead letters.
    lost: frozenset[int]
    #: Rows nobody sent, and letters of records nobody sent.
    unexpected: int
    #: Of which a row or a dead letter is not bit by bit what was sent.
    corrupt: frozenset[int]
    #: Stored more than once, dead more than once, or stored and dead.
    duplicates: frozenset[int]
    #: Dead letters that would have fitted.
    innocents: frozenset[int]
    #: Stored though they were made not to fit.
    spared: frozenset[int]
    #: Letters that hold no record, and how many there should be.
    unreadable: int
    malformed: int
    accepted: int
    stored: int
    dead: int
    #: Stored though no answer said so.
    recovered: int
    #: Gone with a queue that was deleted: only a fault that deletes one has any.
    gone: int = 0

    def __add__(self, other: Self) -> Self:
        return type(self)(*(_joined(*pair) for pair in zip(_values(self), _values(other), strict=True)))

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
    letters: Sequence[Row | None],
    *,
    malformed: int = 0,
    mended: AbstractSet[int] = frozenset(),
    gone_until: float | None = None,
) -> Verdict:
    """Compare what was sent of one stream. `letters` are the records in its dead letters, None for each that holds none;
    `mended` were bad and are to be stored all the same.

    What was accepted before `gone_until` and is nowhere counts as gone: its queue was deleted at that moment.
    """
    by_number = {number: one for one in sent for number in one.numbers}
    made_bad = {number for one in sent for number in one.bad}
    bad = made_bad - mended
    accepted_at = _accepted(sent)
    readable = [letter for letter in letters if letter is not None]

    def forms(number: int) -> set[Row]:
        """As it was sent, and as it was mended."""
        key, is_bad = by_number[number].device_key, number in made_bad
        sent_as = {numbered.row(number, key, bad=is_bad)}
        return sent_as | {numbered.row(number, key)} if number in mended else sent_as

    stored, corrupt, unexpected = _identified(numbered, by_number.keys(), forms, rows)
    dead, garbled, unknown = _identified(numbered, by_number.keys(), forms, readable)
    corrupt |= garbled
    twice = {number for number, count in (stored + dead).items() if count > 1}
    missing = accepted_at.keys() - stored.keys() - dead.keys() - corrupt
    gone = {number for number in missing if gone_until is not None and accepted_at[number] <= gone_until}
    return Verdict(
        lost=frozenset(missing - gone),
        unexpected=unexpected + unknown,
        corrupt=frozenset(corrupt),
        duplicates=frozenset(twice),
        innocents=frozenset(dead.keys() - bad),
        spared=frozenset(bad & stored.keys()),
        unreadable=len(letters) - len(readable),
        malformed=malformed,
        accepted=len(accepted_at),
        stored=len(stored),
        dead=len(dead),
        recovered=len(stored.keys() - accepted_at.keys()),
        gone=len(gone),
    )


def is_what_was_sent(numbered: Numbered, sent: Sent) -> bool:
    """Whether the records made again are the bytes that were sent: otherwise the comparison would mean nothing."""
    return digest(numbered.body(sent.numbers, single=len(sent.numbers) == 1)) == sent.digest


def _accepted(sent: Iterable[Sent]) -> dict[int, float]:
    """When each accepted record was accepted: of one that was sent in several submissions, the last."""
    found: dict[int, float] = {}
    for one in sent:
        moment = one.accepted_at
        if moment is not None:
            found.update((number, max(moment, found.get(number, moment))) for number in one.numbers)
    return found


def _values(verdict: Verdict) -> list[Any]:
    return [getattr(verdict, one.name) for one in fields(verdict)]


def _joined(one: Any, other: Any) -> Any:
    return one | other if isinstance(one, frozenset) else one + other


def _identified(
    numbered: Numbered, known: AbstractSet[int], forms: Callable[[int], set[Row]], rows: Iterable[Row]
) -> tuple[Counter[int], set[int], int]:
    """How often each number is there in one of its forms, which are corrupt, and how many rows nobody sent."""
    found: Counter[int] = Counter()
    corrupt: set[int] = set()
    unexpected = 0
    for row in rows:
        number = next((number for number in numbered.candidates(row) if number in known), None)
        if number is None:
            unexpected += 1
        elif row in forms(number):
            found[number] += 1
        else:
            corrupt.add(number)
    return found, corrupt, unexpected
