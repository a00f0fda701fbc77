"""`weir stats DEVICE`."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli.commands import Url, failures
from cli.questions_client import QuestionsClient
from shared.questions import AXES, MAGNITUDE

FIGURES = ("min", "max", "count", "sum", "median")
#: Characters of a line where there is no terminal to say how many: no number is broken in two.
WIDE = 240


def stats(
    device: Annotated[
        str | None,
        typer.Argument(help="A device's id or name; without one all of --user's together.", show_default=False),
    ] = None,
    *,
    start: Annotated[str | None, typer.Option(help="From this moment on; UTC unless it has an offset.")] = None,
    end: Annotated[str | None, typer.Option(help="Up to this moment.")] = None,
    axes: Annotated[str | None, typer.Option(help="Only these, such as x,y.")] = None,
    magnitude: Annotated[bool, typer.Option("--magnitude", help="Also of the length of (x, y, z).")] = False,
    quantiles: Annotated[str | None, typer.Option(help="Also these, such as 0.05,0.95.")] = None,
    histogram: Annotated[int | None, typer.Option(metavar="BINS", help="Also a histogram with so many bins.")] = None,
    bucket: Annotated[str | None, typer.Option(metavar="SPAN", help="Also per 15m, 1h, 1d or PT15M.")] = None,
    user: Annotated[
        str | None, typer.Option(metavar="EMAIL", help="Whose device, when several have the name; or whose devices.")
    ] = None,
    url: Url = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Print the statistics of a device, or of all devices of a user, each number as exact as it was computed."""
    if device is None and user is None:
        raise typer.BadParameter("name a device, or a user with --user", param_hint="DEVICE")
    with failures(), QuestionsClient(url) as client:
        user_id = client.find_user(user)["id"] if user else None
        result = client.statistics(
            f"/users/{user_id}/analytics/"
            if device is None
            else f"/devices/{client.find_device(device, user_id)['id']}/analytics/",
            start=start,
            end=end,
            axes=axes,
            magnitude="true" if magnitude else None,
            quantiles=quantiles,
            histogram=None if histogram is None else str(histogram),
            bucket=bucket,
        )
    if as_json:
        print(json.dumps(result))
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    console.print(_figures(result))
    if "buckets" in result:
        console.print(_buckets(result["buckets"]))
    for name in (*AXES, MAGNITUDE):
        if "histogram" in result.get(name, {}):
            console.print(_histogram(name, result[name]["histogram"]))
    print(f"as of {result['as_of']}, {result['queued']:,} accepted readings not stored yet")


def _figures(result: dict[str, Any]) -> Table:
    """A line per axis."""
    found = {name: result[name] for name in (*AXES, MAGNITUDE) if name in result}
    shares = next(iter(found.values())).get("quantiles", ())
    table = Table("axis", *FIGURES, *shares)
    for name, axis in found.items():
        quantiles = axis.get("quantiles", {}).values()
        table.add_row(name, *(_text(axis[figure]) for figure in FIGURES), *map(_text, quantiles))
    return table


def _buckets(buckets: list[dict[str, Any]]) -> Table:
    """A line per bucket and axis."""
    table = Table("bucket", "axis", *FIGURES)
    for bucket in buckets:
        for name in (*AXES, MAGNITUDE):
            if name in bucket:
                table.add_row(bucket["start"], name, *(_text(bucket[name][figure]) for figure in FIGURES))
    return table


def _histogram(name: str, histogram: dict[str, list[Any]]) -> Table:
    """A line per bin."""
    table = Table(name, "to", "count")
    edges = map(_text, histogram["edges"])
    start = next(edges, "")
    for end, count in zip(edges, histogram["counts"], strict=True):
        table.add_row(start, end, _text(count))
        start = end
    return table


def _text(figure: float | None) -> str:
    return "–" if figure is None else repr(figure)
