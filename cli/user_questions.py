"""`weir dau`, `weir top-events`, `weir user-retention`: what users do."""

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli.commands import Url, failures
from cli.questions_client import QuestionsClient

From = Annotated[str | None, typer.Option("--from", metavar="DAY", help="First day; a week before --to by default.")]
To = Annotated[str | None, typer.Option("--to", metavar="DAY", help="Last day; today by default.")]
Zone = Annotated[str | None, typer.Option("--tz", metavar="ZONE", help="Days of this zone, such as Europe/Kyiv; UTC.")]
Segment = Annotated[
    str | None, typer.Option(metavar="NAME:VALUE", help="Only these events, such as properties.country:UA.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]

console = Console(highlight=False, soft_wrap=True)


def daily_users(
    *,
    start: From = None,
    end: To = None,
    tz: Zone = None,
    segment: Segment = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Count the users who were active on each day. Exit code: 0, or 2 when it failed."""
    with failures(), QuestionsClient(url) as client:
        found = client.of_events("/stats/dau", **_days(start, end), tz=tz, segment=segment)
    _show(found, ("date", "unique_users"), as_json=as_json)


def top_events(
    *,
    start: From = None,
    end: To = None,
    limit: Annotated[int, typer.Option(min=1, help="Most types to print.")] = 10,
    tz: Zone = None,
    segment: Segment = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """List the types of events that came most often. Exit code: 0, or 2 when it failed."""
    with failures(), QuestionsClient(url) as client:
        found = client.of_events("/stats/top-events", **_days(start, end), limit=limit, tz=tz, segment=segment)
    _show(found, ("event_type", "count"), as_json=as_json)


def user_retention(
    start: Annotated[str, typer.Argument(metavar="DAY", help="The day on which the users were active first.")],
    *,
    windows: Annotated[int, typer.Option(min=1, help="How many days after it.")] = 7,
    tz: Zone = None,
    segment: Segment = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Tell how many of a day's new users come back on the days after it. Exit code: 0, or 2 when it failed."""
    with failures(), QuestionsClient(url) as client:
        found: Any = client.of_events("/stats/retention", start_date=start, windows=windows, tz=tz, segment=segment)
    if as_json:
        print(json.dumps(found))
        return
    print(f"{found['cohort_size']:,} users were active first on {start}")
    _show(found["windows"], ("day", "count", "rate"), as_json=False)


def _days(start: str | None, end: str | None) -> dict[str, str]:
    last = end or datetime.now(UTC).date().isoformat()
    try:
        first = start or (datetime.fromisoformat(last).date() - timedelta(days=6)).isoformat()
    except ValueError as error:
        raise typer.BadParameter("must be a day such as 2026-01-31", param_hint="--to") from error
    return {"from": first, "to": last}


def _show(rows: Any, columns: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows))
        return
    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*(str(row[name]) for name in columns))
    console.print(table if rows else "There are none.")
