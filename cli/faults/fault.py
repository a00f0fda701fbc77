"""What a fault is, and the table of all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

from cli.faults.senders import BURST, IDLE, STEADY, Moment
from cli.faults.weir import Weir

#: Does the harm and heals it. It may take its time from the second, and note what it finds wrong with the first.
Inject = Callable[[Weir, Random], None]

STARRED_RUNS, RUNS = 20, 3


@dataclass(frozen=True)
class Fault:
    """One line of the table. Its moments take turns from run to run. What it may do besides is said; all else is wrong."""

    name: str
    #: Its numbers in the list of faults to survive.
    numbers: str
    inject: Inject
    starred: bool = False
    moments: tuple[Moment, ...] = (STEADY, BURST, IDLE)
    settings: Mapping[str, str] = field(default_factory=dict)
    #: Whether the five-minute selection has it.
    quick: bool = False
    #: Whether senders may find their connections refused or cut.
    cuts_senders: bool = False
    #: Whether a process of Weir may end by itself.
    ends_processes: bool = False

    @property
    def what(self) -> str:
        """One sentence."""
        return " ".join((self.inject.__doc__ or "").split())

    @property
    def kind(self) -> str:
        """What it breaks, after the module it stands in."""
        return self.inject.__module__.rpartition(".")[2].partition("_")[0]

    @property
    def runs(self) -> int:
        """How often it is run: at each of its moments at least once."""
        return STARRED_RUNS if self.starred else max(RUNS, len(self.moments))

    def moment(self, run: int) -> Moment:
        return self.moments[run % len(self.moments)]


#: By name, in the order they are defined.
FAULTS: dict[str, Fault] = {}


def fault(name: str, numbers: str, **options: object) -> Callable[[Inject], Inject]:
    """Put a function into the table; its docstring says what it does."""

    def register(inject: Inject) -> Inject:
        FAULTS[name] = Fault(name, numbers, inject, **options)  # type: ignore[arg-type]
        return inject

    return register
