"""`weir bench`: measure, print, keep."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from cli.bench import (
    cold,
    engagement,
    latency,
    machine,
    memory,
    overload,
    report,
    single_readings,
    statistics,
    storing,
    visible,
    wrk,
)
from cli.bench.figures import Figures
from cli.bench.part import Bench
from cli.bench.plan import QUICK, WHOLE
from cli.bench.processes import CHECKOUT, LOADTEST
from cli.bench.rig import rig
from shared import logs
from shared.errors import WeirError

#: In the order of the run: later parts use what earlier ones found.
PARTS: dict[str, Callable[[Bench], None]] = {
    "requests": single_readings.measure,
    "latency": latency.measure,
    "storing": storing.measure,
    "visible": visible.measure,
    "statistics": statistics.measure,
    "cold": cold.measure,
    "engagement": engagement.measure,
    "memory": memory.measure,
    "keys": overload.keyed,
    "overload": overload.measure,
}
LATEST = LOADTEST / "results" / "latest.json"
PICTURE = CHECKOUT / "docs" / "benchmarks.png"

console = Console(highlight=False)
progress = Console(stderr=True, highlight=False)


def bench(
    *,
    only: Annotated[str | None, typer.Option(metavar="NAME", help=f"One part: {', '.join(PARTS)}.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Short rounds, that only show that it works.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and no tables.")] = False,
) -> None:
    """Measure Weir beside its limits, on servers of its own; some twenty minutes.

    Only a whole run, neither quick nor of one part, is kept: in loadtest/results/latest.json and docs/benchmarks.png.

    A request that is not accepted, or a reading that is not stored, ends it.
    """
    if only is not None and only not in PARTS:
        raise typer.BadParameter(f"there is no part {only}; there are {', '.join(PARTS)}")
    logs.configure("error", as_json=False)
    wrk.find()
    figures, plan = Figures(), QUICK if quick else WHOLE
    began = time.monotonic()
    with progress.status("starting PostgreSQL and RabbitMQ") as line, rig() as own:
        about = {"machine": machine.machine(), "versions": machine.versions(own), "plan": asdict(plan)}
        whole = Bench(own, plan, figures, lambda text: line.update(f"{text} …"))
        for name in [only] if only else PARTS:
            with _part(name):
                PARTS[name](whole)
        line.update("ending the servers …")
    found = report.results(figures)
    said = report.as_json(figures, found, seconds=round(time.monotonic() - began), **about)
    if as_json:
        print(json.dumps(said, indent=2, ensure_ascii=False))
    else:
        console.print(report.figure_table(figures), report.ratio_table(found), sep="\n\n")
    if not (only or quick):
        _keep(json.dumps(said, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def _part(name: str) -> Iterator[None]:
    began = time.monotonic()
    try:
        yield
    except BaseException:
        progress.print(f"  [red]✗[/red] {name}")
        raise
    progress.print(f"  [green]✓[/green] {name} [dim]({time.monotonic() - began:.0f} s)[/dim]")


def _keep(text: str) -> None:
    LATEST.parent.mkdir(exist_ok=True)
    LATEST.write_text(text)
    command = [sys.executable, str(LOADTEST / "draw.py"), str(LATEST), str(PICTURE)]
    drawn = subprocess.run(command, capture_output=True, text=True, check=False)
    if drawn.returncode:
        raise WeirError(f"the picture could not be drawn: {(drawn.stderr.strip().splitlines() or ['?'])[-1]}")
    progress.print(f"kept in {LATEST.relative_to(CHECKOUT)} and {PICTURE.relative_to(CHECKOUT)}")
