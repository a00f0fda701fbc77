"""Runs every check and shows what came of them."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape

from cli.doctor import broker
from cli.doctor.checks import Check, State, worst
from cli.doctor.cold import Cold
from cli.doctor.database import Database
from cli.doctor.service import Service
from shared.broker.management import Management
from shared.config import Settings
from shared.database import connect

_COLOURS = {State.OK: "green", State.WARN: "yellow", State.FAIL: "red"}


def examine(settings: Settings, url: str) -> list[Check]:
    """Look at the API, the database, the broker and the cold files; nothing is changed, and nothing raises a WeirError."""
    management = Management(settings.management_url, settings.amqp_url) if settings.management_url else None
    engine = connect(settings.database_url, pool_size=1, statement_deadline=settings.statement_deadline)
    service = Service(url)
    try:
        database = Database(engine, settings.partitions_ahead, settings.receipt_retention)
        return [
            *service.checks(),
            *broker.checks(management, settings.prefetch),
            *database.checks(service.clock),
            *Cold(engine, settings.cold_url, settings.hot_days, settings.terms).checks(),
        ]
    finally:
        service.close()
        engine.dispose()


def show(console: Console, checks: Sequence[Check]) -> None:
    for check in checks:
        colour = _COLOURS[check.state]
        console.print(f"[{colour}]{check.state:4}[/{colour}]  {check.name}: {escape(check.found)}")
        if check.advice:
            console.print(f"      [dim]→ {escape(check.advice)}[/dim]")
    counts = {state: sum(check.state == state for check in checks) for state in State}
    console.print("\n" + ", ".join(f"{count} {state}" for state, count in counts.items()))


def as_json(checks: Sequence[Check]) -> str:
    return json.dumps({"state": worst(checks), "checks": [asdict(check) for check in checks]}, indent=2)
