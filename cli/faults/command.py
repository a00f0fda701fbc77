"""`weir faults`: break, heal, judge, keep."""

import json
import platform
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.markup import escape

from cli.bench.machine import machine
from cli.faults import engine, report
from cli.faults.code_version import code_version
from cli.faults.database import Database
from cli.faults.fault import Fault
from cli.faults.numbered import Numbered
from cli.faults.outcome import Outcome
from cli.faults.record import Record, keep, read
from cli.faults.services import CHECKOUT
from cli.faults.table import FAULTS
from cli.faults.weir import Weir
from cli.programs import write_if_changed
from cli.running import PrivateServers, RunningServer, private_servers
from cli.servers import RabbitServer
from shared import logs
from shared.errors import Unavailable
from shared.migrations import upgrade

PAGE = CHECKOUT / "docs" / "faults.md"
README = CHECKOUT / "README.md"
KEPT = CHECKOUT / "loadtest" / "results" / "faults.json"

console = Console(highlight=False)
progress = Console(stderr=True, highlight=False, soft_wrap=True)


def faults(
    *,
    only: Annotated[str | None, typer.Option(metavar="NAME,…", help=f"Only these: {', '.join(FAULTS)}.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Some faults, once each: five minutes at most.")] = False,
    runs: Annotated[
        int | None, typer.Option(min=1, help="How often each fault is run, whatever the table says.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave out the faults whose kept result is of this very code.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Make the choices of an earlier run again.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and no table.")] = False,
) -> None:
    """Break Weir in every way of the table, on servers of its own, and prove that nothing is lost or stored twice.

    A fault that is run as often as the table says, those marked ★ twenty times and the others three, is kept in
    docs/faults.md: all of them take hours, so `--resume` goes on where an earlier run ended. Ends with 1 when any
    verdict fails.
    """
    names = list(FAULTS) if only is None else only.split(",")
    for name in names:
        if name not in FAULTS:
            raise typer.BadParameter(f"there is no fault {name}; there are {', '.join(FAULTS)}")
    chosen = [FAULTS[name] for name in names if FAULTS[name].quick or not quick]
    if not chosen:
        raise typer.BadParameter(f"--quick has none of {', '.join(names)}")
    code = code_version(CHECKOUT)
    if resume:
        asked_for, chosen = len(chosen), without_kept(chosen, read(KEPT), code)
        progress.print(f"{len(chosen)} of {asked_for} faults are left to run on this code ({code})")
    logs.configure("critical", as_json=False)
    seed = random.randrange(1 << 32) if seed is None else seed
    progress.print(f"seed {seed}")
    with private_servers("faults") as servers:
        upgrade(servers.postgres.server.url)
        versions = _versions(servers)
        outcomes: list[Outcome] = []
        records = []
        for one in chosen:
            some = _runs(servers, one, runs or (1 if quick else one.runs), seed)
            outcomes += some
            records.append(Record.of(some, seed, code, machine(), versions))
            if len(some) >= one.runs and not quick:
                keep(KEPT, records[-1], _publish)
    if as_json:
        runs_made = [one.as_json() for one in outcomes]
        print(json.dumps({"seed": seed, "machine": machine(), "versions": versions, "runs": runs_made}, indent=2))
    else:
        console.print(report.table(records))
    if not all(one.passed for one in outcomes):
        raise typer.Exit(1)


def without_kept(faults: Sequence[Fault], kept: Sequence[Record], code: str) -> list[Fault]:
    """Return the faults of which no run without a complaint is kept for this code."""
    passed = {one.fault for one in kept if one.code == code and not one.failed}
    return [fault for fault in faults if fault.name not in passed]


def _publish(kept: Sequence[Record]) -> None:
    """Write what is kept into docs/faults.md, and its sum into the README."""
    write_if_changed(PAGE, report.page(kept))
    write_if_changed(README, report.with_summary(README.read_text(), kept))


def _runs(servers: PrivateServers, fault: Fault, count: int, seed: int) -> Sequence[Outcome]:
    """Run one fault so often."""
    outcomes = []
    for number in range(count):
        title = f"{fault.name} {number + 1}/{count}, {fault.moment(number).name}"
        began = time.monotonic()

        def make(chosen: Fault, numbered: Mapping[str, Numbered], number: int = number) -> Weir:
            name = f"{chosen.name.replace('-', '_')}_{number}"
            folder = servers.folder / name
            folder.mkdir()
            for server in (servers.postgres, servers.rabbit):
                _have_ready(server)
            return Weir(servers, name, folder, numbered, chosen.settings)

        with progress.status(title) as line:
            outcome = engine.run(
                make,
                fault,
                number,
                seed,
                lambda step, title=title: line.update(f"{title}: {step} …"),  # type: ignore[misc]
            )
        _show(title, outcome, time.monotonic() - began)
        outcomes.append(outcome)
    return outcomes


def _have_ready(server: RunningServer) -> None:
    """Whatever the run before has left: the server is there, and a whole one. Raises Unavailable."""
    server.start()
    try:
        server.ready()
    except Unavailable:
        server.kill()
        server.start()
        server.ready()


def _show(title: str, outcome: Outcome, seconds: float) -> None:
    verdict = outcome.verdict
    counts = f"{verdict.accepted:,} accepted, {verdict.recovered} recovered, {verdict.dead} dead" if verdict else ""
    mark = "[green]✓[/green]" if outcome.passed else "[red]✗[/red]"
    progress.print(f"  {mark} {title}: {counts} [dim]({seconds:.0f} s)[/dim]")
    for complaint in outcome.complaints:
        progress.print(f"    [red]{escape(complaint)}[/red]")


def _versions(servers: PrivateServers) -> dict[str, str]:
    postgres, rabbit = servers.postgres.server, servers.rabbit.server
    assert isinstance(rabbit, RabbitServer)
    with closing(Database(postgres.url)) as database:
        ((version,),) = database.rows("SHOW server_version")
    overview = httpx.get(f"{rabbit.management_url}/api/overview", trust_env=False).raise_for_status().json()
    return {
        "PostgreSQL": str(version).split()[0],
        "RabbitMQ": overview["rabbitmq_version"],
        "Erlang": overview["erlang_version"],
        "Python": platform.python_version(),
    }
