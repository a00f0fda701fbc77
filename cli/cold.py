"""`weir seal`, `weir verify` and `weir retention`: the cold tier from a terminal."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy import Engine

from cli.commands import errors, failures
from cli.stack import Stack
from shared.cold import forgetting, hot, ordering, upkeep, verification
from shared.cold import retention as dropping
from shared.cold.forgetting import Lost
from shared.cold.hot import Source
from shared.cold.store import Store
from shared.cold.upkeep import Failed, NotRemoved
from shared.config import Settings, load
from shared.database import connect, translated
from shared.errors import InvalidRecord
from shared.streams import STREAMS

SOME_FAILED = 1
#: Longest that one statement may take: the sorting of a day.
_DEADLINE = timedelta(hours=6)

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
console = Console(highlight=False, soft_wrap=True)


class Tier(NamedTuple):
    """A cold tier at hand."""

    settings: Settings
    engine: Engine
    store: Store


@contextmanager
def tier() -> Iterator[Tier]:
    """Open the cold tier that the settings, or the running stack, tell of."""
    settings = Stack(load()).running_settings()
    engine = connect(settings.database_url, pool_size=3, statement_deadline=_DEADLINE)
    try:
        yield Tier(settings, engine, Store(settings.cold_url))
    finally:
        engine.dispose()


def seal(
    *,
    dry_run: DryRun = False,
    before: Annotated[
        str | None, typer.Option(metavar="DAY", help="Seal the days before this one (UTC), such as 2026-01-31.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Seal days older than WEIR_HOT_DAYS, or than their stream's term: into Parquet files, verified, and out of PostgreSQL.

    Safe to interrupt and to run again. Exit code: 0, 1 when a day could not be sealed, 2 when it failed as a whole.
    """
    with failures(), tier() as (settings, engine, store):
        with translated(), engine.connect() as connection:
            today = hot.today(connection)
        limit = _day(before) if before else today - timedelta(days=settings.hot_days)
        if limit > today:
            raise InvalidRecord("not_over", "before", f"{limit} is to come: only days that are over can be sealed")
        terms = None if before else settings.terms
        if dry_run:
            due = upkeep.due(engine, STREAMS, limit, terms=terms)
            _show([{"stream": one.stream.name, "day": str(one.day), "table": one.table} for one in due], as_json)
            return
        with upkeep.alone(engine, store):
            sources: Iterable[Source] = upkeep.due(engine, STREAMS, limit, terms=terms)
            if not as_json:
                sources = _told(sources)
            found = upkeep.seal_all(engine, store, sources, _DEADLINE)
            found += [one for one in ordering.order_all(engine, store, STREAMS, _DEADLINE) if isinstance(one, Failed)]
            upkeep.tidy(engine, store, settings.cold_grace, _complain)
    _show([one._asdict() | {"day": str(one.day)} for one in found], as_json)
    if any(isinstance(one, Failed) for one in found):
        raise typer.Exit(SOME_FAILED)


def verify(
    *,
    forget: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Let go of this file, which is damaged or missing, and of its records."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Forget it without asking.")] = False,
    as_json: Json = False,
) -> None:
    """Read every cold file again: its SHA-256, its rows, and what the manifest says of each device.

    Changes nothing, but for --forget: then answers go on without what was in the file, which is left where it is. Exit
    code: 0, 1 when a file is damaged or missing, or was not forgotten after all, 2 when it failed as a whole.
    """
    with failures(), tier() as (_, engine, store):
        if forget is not None:
            _forget(engine, forgetting.find(engine, store, STREAMS, forget), yes=yes, as_json=as_json)
            return
        found = list(verification.verify(engine, store, STREAMS))
    damaged = [one for one in found if one.fault]
    if as_json:
        totals = {"files": len(found), "rows": sum(one.rows for one in found), "bytes": sum(one.bytes for one in found)}
        print(json.dumps(totals | {"damaged": [one._asdict() | {"day": str(one.day)} for one in damaged]}))
    else:
        for one in damaged:
            console.print(
                f"[red]damaged[/red]  {escape(f'{one.path} {one.fault}')}\n      → {escape(one.advice or '')}"
            )
        console.print(f"{len(found):,} files with {sum(one.rows for one in found):,} records, {len(damaged):,} damaged")
    if damaged:
        raise typer.Exit(SOME_FAILED)


def retention(*, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Drop what is past its term: WEIR_RETENTION_DAYS_READINGS and _EVENTS, and the devices' own `retention_days`.

    Whole partitions and files; devices whose term is another than their stream's go out of their files. Exit code: 0,
    1 when a day could not be dropped, 2 when it failed as a whole.
    """
    with failures(), tier() as (settings, engine, store):
        terms = settings.terms
        if dry_run:
            _show([drop.shown() for drop in dropping.plan(engine, STREAMS, terms)], as_json)
            return
        with upkeep.alone(engine, store):
            found = dropping.apply(engine, store, dropping.plan(engine, STREAMS, terms))
            upkeep.tidy(engine, store, settings.cold_grace, _complain)
    _show([one._asdict() | {"day": str(one.day)} if isinstance(one, Failed) else one.shown() for one in found], as_json)
    if any(isinstance(one, Failed) for one in found):
        raise typer.Exit(SOME_FAILED)


def _forget(engine: Engine, lost: Lost, *, yes: bool, as_json: bool) -> None:
    """Ask whether to let go of a file, and do it."""
    of, path = f"{lost.stream} of {lost.file.day}", lost.file.path
    if lost.rows:
        errors.print(f"{escape(path)} {lost.fault}. It has {lost.rows:,} records, {of}.")
        question = "Are they to be in no answer any more?"
    else:
        errors.print(f"{escape(path)} {lost.fault}. It is an ordered copy of the {of}: no record is lost with it.")
        question = "Is it to be let go of?"
    if not yes and not typer.confirm(question, err=True):
        errors.print("nothing is forgotten")
        raise typer.Exit(SOME_FAILED)
    forgetting.forget(engine, lost)
    if as_json:
        shown = {"stream": lost.stream, "day": str(lost.file.day), "path": path, "rows": lost.rows, "fault": lost.fault}
        print(json.dumps({"forgotten": shown}))
    elif lost.rows:
        console.print("forgotten; what is left of the file is where it was, and nothing removes it")
    else:
        console.print("forgotten; `weir seal` makes another")


def _told(sources: Iterable[Source]) -> Iterator[Source]:
    """Say which day is at work: a large one takes a while, and there may be many."""
    days = list(sources)
    for number, source in enumerate(days, 1):
        errors.print(f"sealing {source.stream.name} of {source.day} ({number:,} of {len(days):,})")
        yield source


def _complain(one: NotRemoved) -> None:
    errors.print(f"[yellow]{escape(one.path)}[/yellow] does not count, and stays: {escape(one.reason)}")


def _day(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError as error:
        raise InvalidRecord("not_a_date", "before", "a day looks like 2026-01-31") from error


def _show(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows))
        return
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(*names, box=None)
    for row in rows:
        table.add_row(*(_shown(row.get(name)) for name in names))
    console.print(table if rows else "There is nothing to do.")


def _shown(value: object) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
