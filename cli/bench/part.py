"""What every part of the benchmark is given, and the order in which it measures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cli.bench.figures import Figures
from cli.bench.plan import Plan
from cli.bench.rig import Rig


@dataclass(frozen=True)
class Bench:
    """The rig, the plan, the figures so far, and where to say what is at work."""

    rig: Rig
    plan: Plan
    figures: Figures
    say: Callable[[str], None]

    def in_turn(self, what: str, measures: Mapping[str, Callable[[], object]], *, noisy: bool = False) -> None:
        """Measure A B A B …, so that what disturbs the machine for a while disturbs all alike.

        `noisy`: every process wants a processor at once, so that rounds lie far apart and there have to be more.
        """
        rounds = self.plan.noisy_rounds if noisy else self.plan.rounds
        for number in range(1, rounds + 1):
            for name, measure in measures.items():
                self.say(f"{what}: {name}, round {number} of {rounds}")
                measure()
