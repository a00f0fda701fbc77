"""Figures of several rounds, what they say of each other, and whether that reaches its target."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Any, Literal

from shared.errors import WeirError


class Invalid(WeirError):
    """The run shows nothing: a request was not accepted, or what was accepted was not stored."""


class Figures:
    """What was measured: under each name one value per round. The name ends in its unit."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}

    def add(self, name: str, value: float) -> None:
        self._values.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> list[float]:
        return self._values[name]

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def summaries(self) -> dict[str, "Summary"]:
        return {name: Summary.of(values) for name, values in self._values.items()}

    def median(self, name: str) -> float:
        return median(self._values[name])


@dataclass(frozen=True, slots=True)
class Summary:
    """The median of the rounds, and how far they lie apart."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Summary":
        found = list(values)
        return cls(median(found), min(found), max(found))


class Verdict(StrEnum):
    AIM = "aim"
    MET = "met"
    MISSED = "missed"
    NONE = ""


@dataclass(frozen=True, slots=True)
class Target:
    """What must be reached, and what is aimed for: an upper bound where the aim is the smaller number."""

    bound: float
    aim: float

    @property
    def is_upper(self) -> bool:
        return self.aim < self.bound

    def judge(self, value: float) -> Verdict:
        sign = -1 if self.is_upper else 1
        if sign * value >= sign * self.aim:
            return Verdict.AIM
        return Verdict.MET if sign * value >= sign * self.bound else Verdict.MISSED


_OPERATIONS: dict[str, Callable[[float, float], float]] = {
    "÷": lambda ours, theirs: ours / theirs,
    "−": lambda ours, theirs: ours - theirs,
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One line of the table: a figure of ours beside a limit measured in the same round, or by itself."""

    name: str
    ours: str
    operation: Literal["÷", "−", ""] = ""
    limit: str = ""
    target: Target | None = None
    unit: str = ""

    def result(self, figures: Figures) -> "Result | None":
        """Compare round by round; None when a part was left out."""
        if self.ours not in figures or (self.operation and self.limit not in figures):
            return None
        values = figures[self.ours]
        if self.operation:
            compare = _OPERATIONS[self.operation]
            values = [compare(*pair) for pair in zip(values, figures[self.limit], strict=True)]
        summary = Summary.of(values)
        return Result(self, summary, self.target.judge(summary.median) if self.target else Verdict.NONE)


@dataclass(frozen=True, slots=True)
class Result:
    """A comparison, measured."""

    comparison: Comparison
    summary: Summary
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        target = self.comparison.target
        return {
            "name": self.comparison.name,
            "unit": self.comparison.unit,
            "median": self.summary.median,
            "min": self.summary.lowest,
            "max": self.summary.highest,
            "bound": target.bound if target else None,
            "aim": target.aim if target else None,
            "verdict": self.verdict.value,
        }
