"""`weir trace RECEIPT`: where one submission is."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import typer

from cli.client import Client
from cli.commands import Url
from cli.http import Answer
from shared.errors import Expired, WeirError
from shared.streams import STREAMS

#: How long it may take: who traces wants to know now.
_PATIENCE = timedelta(seconds=10)
#: For a receipt that does not tell its time.
_SPAN = timedelta(hours=1)
LISTED = 20
NOT_FOUND = 1


def trace(
    receipt: Annotated[str, typer.Argument(help="A receipt, or the Location that came with the 202.")],
    *,
    url: Url = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell where a submission is: on its way, stored, dead-lettered, or not known.

    Exit code: 0 it is known, 1 nobody knows of it.
    """
    receipt_id, query = _parsed(receipt)
    with Client(url, patience=_PATIENCE) as client:
        try:
            found = client.receipt(receipt_id, query)
        except Expired:
            found = {"id": receipt_id, "status": "expired"}
        if found["status"] == "pending":
            found["ledger"] = _on_its_way(client, found)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        for line in _lines(found):
            typer.echo(line)
    if found["status"] in {"unknown", "expired"}:
        raise typer.Exit(NOT_FOUND)


def _parsed(receipt: str) -> tuple[str, Answer]:
    """Read a receipt or a Location: the id, and the submission's place in it."""
    try:
        location = urlsplit(receipt)
        return str(UUID(location.path.rstrip("/").rpartition("/")[2])), dict(parse_qsl(location.query))
    except ValueError as error:
        raise WeirError("a receipt looks like 019aba3e-9b0c-7f4e-8a51-0d4c4bb1a2c3") from error


def _on_its_way(client: Client, receipt: Answer) -> list[Answer]:
    """Say per stream what its queue holds and how many records of the receipt's minute are in flight."""
    made = receipt["accepted_at"] and datetime.fromisoformat(receipt["accepted_at"])
    since = (made or datetime.now(UTC) - _SPAN).replace(second=0, microsecond=0)
    until = made and made + timedelta(minutes=1)
    return [
        {
            "stream": one["stream"],
            "queue": one["queue"],
            "in_flight": sum(
                minute["in_flight"]
                for minute in one["minutes"]
                if until is None or since <= datetime.fromisoformat(minute["minute"]) <= until
            ),
        }
        for one in client.ledger(since)["streams"]
    ]


def _lines(found: Answer) -> Iterator[str]:
    status = found["status"]
    yield f"{found['id']}: {status}"
    if found.get("accepted_at"):
        yield f"  its message was made at {found['accepted_at']}"
    if status in {"stored", "dead-lettered"}:
        table = next((one.table for one in STREAMS if one.name == found["stream"]), found["stream"])
        yield f"  {found['records']} records of it are in the table {table} since {found['stored_at']}"
        if found.get("duplicates"):
            yield f"  {found['duplicates']} more were stored before it came"
        yield from _dead(found["dead"])
    elif status == "pending":
        if not found.get("accepted_at"):
            yield "  derived from a key, so its time is not known: it is on its way, or was never accepted"
        for one in found["ledger"]:
            queue = one["queue"]
            waiting, unacked = (("?" if queue[name] is None else queue[name]) for name in ("ready", "unacked"))
            yield f"  {one['in_flight']} records of its time are in flight"
            yield f"  {queue['name']} holds {waiting} messages, and {unacked} are with a consumer"
    elif status == "expired":
        yield "  receipts are not kept for so long; if it was stored, it still is"
    else:
        yield "  nothing of its minute is on its way: it was never accepted, or not here"


def _dead(dead: list[Answer]) -> Iterator[str]:
    if dead:
        yield f"  {len(dead)} of it are dead letters:"
    for one in dead[:LISTED]:
        which = "the whole" if one["index"] is None else f"record {one['index']}"
        yield f"    {which}: {one['code']}, {one['reason']}"
    if len(dead) > LISTED:
        yield f"    and {len(dead) - LISTED} more; --json lists them all"
