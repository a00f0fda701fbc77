"""What a check is, and how several of them read together."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from shared.errors import WeirError


class State(StrEnum):
    OK = "ok"
    #: It works, but not as designed; or it could not be checked.
    WARN = "warn"
    #: A promise does not hold, or soon will not.
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found, and what to do about it where anything is to be done."""

    name: str
    state: State
    found: str
    advice: str | None = None


def ok(name: str, found: str) -> Check:
    return Check(name, State.OK, found)


def warn(name: str, found: str, advice: str) -> Check:
    return Check(name, State.WARN, found, advice)


def fail(name: str, found: str, advice: str) -> Check:
    return Check(name, State.FAIL, found, advice)


def attempted(name: str, look: Callable[[], Check], advice: str) -> Check:
    """Run a check; one that cannot find out fails."""
    try:
        return look()
    except WeirError as error:
        return fail(name, str(error), advice)


def worst(checks: Iterable[Check]) -> State:
    states = {check.state for check in checks}
    return next((state for state in (State.FAIL, State.WARN) if state in states), State.OK)
