"""What operators type about dead letters, and what they are shown."""

import getpass
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

from cli.http import Answer
from shared.errors import InvalidRecord, WeirError

console = Console(highlight=False, soft_wrap=True)


def selection(
    stream: str | None,
    device: UUID | None,
    code: str | None,
    reason: str | None,
    since: str | None,
    until: str | None,
) -> Answer:
    """Say it as the API does, without what is not said."""
    named = {"stream": stream, "device": device and str(device), "code": code, "reason": reason}
    named |= {"since": _moment(since), "until": _moment(until)}
    return {name: value for name, value in named.items() if value is not None}


def _moment(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text} is no time such as 2026-01-31T02:00 or 2026-01-31T02:00+01:00") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


def records_in(file: Path) -> list[Any]:
    """Read a record, or an array of them. Raises WeirError."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        found = json.loads(text, parse_constant=str)
    except OSError as error:
        raise WeirError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InvalidRecord("malformed", None, f"{file} is not valid JSON in UTF-8") from error
    return found if isinstance(found, list) else [found]


def changed(records: list[Any] | None, changes: list[str]) -> list[Any]:
    """Change fields of a letter's one record. Raises WeirError."""
    if not changes:
        raise WeirError("say what to change: --set FIELD=VALUE, or --file FILE with the whole record")
    if records is None or len(records) != 1 or not isinstance(records[0], dict):
        raise WeirError("this letter is not one readable record: give all of it with --file FILE")
    for change in changes:
        field, separator, text = change.partition("=")
        if not separator:
            raise WeirError(f"{change} is not FIELD=VALUE")
        records[0][field] = _value(text)
    return records


def _value(text: str) -> Any:
    """A number or another JSON value; everything else is text."""
    try:
        return json.loads(text, parse_constant=str)
    except ValueError:
        return text


def show_letter(letter: Answer) -> None:
    table = Table(box=None, show_header=False)
    for name in ("id", "state", "stream", "device_id", "receipt", "index", "code", "reason", "attempts", "first_seen"):
        table.add_row(name, "–" if letter[name] is None else str(letter[name]))
    for name in ("last_seen", "replays", "replay_of", "replay"):
        table.add_row(name, "–" if letter[name] is None else str(letter[name]))
    console.print(table)
    if letter["records"] is None:
        print(f"its {letter['size_bytes']:,} bytes cannot be read as records; --json shows them in base64")
    else:
        print("edited:" if letter["edited"] else "records:")
        for record in letter["records"]:
            print(f"  {json.dumps(record)}")
    for act in letter["acts"]:
        print(f"{act['at']} {act['act']} by {act['by'] or 'somebody'}{': ' + act['why'] if act['why'] else ''}")


def user() -> str:
    """Who does this, for the trace."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"
