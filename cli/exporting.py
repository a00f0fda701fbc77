"""`weir export readings` and `weir export events`: what is stored, hot and cold, as one file of any size."""

import json
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TransferSpeedColumn

from cli.client import Client
from cli.commands import Url, errors, failures
from cli.exported import FORMATS, Written, format_of, rows_in, whole
from shared.errors import WeirError

export_app = typer.Typer(help="Bring what is stored out, as files.", no_args_is_help=True)

#: Where to ask, and for what.
Source = tuple[str, dict[str, str]]

Out = Annotated[
    Path,
    typer.Option(metavar="FILE", help="Where to; .csv.gz, .json.gz and .ndjson.gz are packed.", show_default=False),
]
Start = Annotated[str | None, typer.Option(help="From this moment on; UTC unless it has an offset.")]
End = Annotated[str | None, typer.Option(help="Up to this moment.")]
FormatOf = Annotated[
    str | None, typer.Option("--format", metavar="|".join(FORMATS), help="If the file's name does not say it.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@export_app.command("readings")
def export_readings(
    *,
    out: Out,
    device: Annotated[str | None, typer.Option(metavar="DEVICE", help="Of this device: its id or name.")] = None,
    all_devices: Annotated[bool, typer.Option("--all", help="Of all devices, or of all of --user.")] = False,
    user: Annotated[str | None, typer.Option(metavar="EMAIL", help="Of this user's devices only.")] = None,
    start: Start = None,
    end: End = None,
    name: FormatOf = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Write stored readings to a file, the oldest day first; CSV is what `weir import readings` takes.

    The file has its name once it is whole; one that was there before stays until then.

    Exit code: 0 whole, 2 failed, 130 interrupted; then nothing is left of it.
    """

    def source(client: Client) -> Source:
        if (device is None) is not all_devices:
            raise WeirError("say which: --device DEVICE, or --all")
        user_id = str(client.find_user(user)["id"]) if user else None
        if device is not None:
            return f"/devices/{client.find_device(device, user_id)['id']}/readings", {}
        return "/readings", {"user_id": user_id} if user_id else {}

    _export("readings", source, out, name, (start, end), url, as_json=as_json)


@export_app.command("events")
def export_events(
    *,
    out: Out,
    start: Start = None,
    end: End = None,
    name: FormatOf = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Write stored events to a file, the oldest first; CSV is what `weir import events` takes, ndjson `POST /events`.

    The file has its name once it is whole; one that was there before stays until then.

    Exit code: 0 whole, 2 failed, 130 interrupted; then nothing is left of it.
    """
    _export("events", lambda _: ("/events", {}), out, name, (start, end), url, as_json=as_json)


def _export(
    noun: str,
    source: Callable[[Client], Source],
    out: Path,
    name: str | None,
    window: tuple[str | None, str | None],
    url: str | None,
    *,
    as_json: bool,
) -> None:
    began = time.monotonic()
    with failures("nothing is left of it"):
        chosen = format_of(out, name)
        with Client(url) as client:
            path, query = source(client)
            query |= {edge: moment for edge, moment in zip(("start", "end"), window, strict=True) if moment}
            written = _write(client, path, query, chosen, out, quiet=as_json)
        rows = rows_in(out, chosen, written.lines)
    seconds = time.monotonic() - began
    if as_json:
        figures = {"file": str(out), "format": chosen, "rows": rows, "bytes": out.stat().st_size}
        print(json.dumps(figures | {"seconds": round(seconds, 3), "rows_per_second": round(rows / seconds)}))
        return
    print(f"{rows:,} {noun} in {out} ({written.bytes / 1e6:,.1f} MB, {seconds:.1f} s, {rows / seconds:,.0f} rows/s)")


def _write(client: Client, path: str, query: dict[str, str], chosen: str, out: Path, *, quiet: bool) -> Written:
    columns = (SpinnerColumn(), TextColumn("reading"), DownloadColumn(), TransferSpeedColumn(), TimeElapsedColumn())
    pieces = client.download(path, query, FORMATS[chosen].media_type)
    with (
        whole(out, is_csv=chosen == "csv") as file,
        closing(pieces),
        Progress(*columns, console=errors, disable=quiet or not errors.is_terminal) as progress,
    ):
        task = progress.add_task("", total=None)
        for piece in pieces:
            file.write(piece)
            progress.update(task, completed=file.bytes)
    return file
