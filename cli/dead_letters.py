"""`weir dead-letters`: look at what could not be stored, mend it, replay it, give it up."""

import itertools
import json
import sys
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.table import Table

from cli.commands import Url, failures
from cli.dead_letters_client import DeadLettersClient
from cli.http import Answer
from cli.letters import changed, console, records_in, selection, show_letter, user

SOME_LEFT = 1
ANY = "any"
#: Most letters that one request brings, or replays.
PAGE, REPLAYED = 1_000, 1_000_000

dead_letters_app = typer.Typer(
    help="Records that could not be stored: list, show, edit, replay, discard.", no_args_is_help=True
)

Id = Annotated[UUID, typer.Argument(help="A letter's id, from `list`.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Stream = Annotated[str | None, typer.Option(help="Only this stream's.", show_default=False)]
Device = Annotated[UUID | None, typer.Option(metavar="ID", help="Only this device's.", show_default=False)]
Code = Annotated[str | None, typer.Option(help="Only this SQLSTATE or word, such as 23514.", show_default=False)]
Reason = Annotated[str | None, typer.Option(metavar="TEXT", help="Only reasons with this text.", show_default=False)]
Since = Annotated[str | None, typer.Option(metavar="TIME", help="Last seen then or later; UTC.", show_default=False)]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Last seen before then; UTC.", show_default=False)]


@dead_letters_app.command("list")
def list_letters(
    *,
    stream: Stream = None,
    device: Device = None,
    code: Code = None,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    state: Annotated[str, typer.Option(help="open, replaying, replayed, discarded, or any.")] = "open",
    limit: Annotated[int, typer.Option(min=1, help="Most letters to print.")] = 100,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """List dead letters, oldest first. Exit code: 0, or 2 when it failed."""
    with failures(), DeadLettersClient(url) as client:
        wanted = selection(stream, device, code, reason, since, until) | {"limit": min(limit, PAGE)}
        wanted |= {} if state == ANY else {"state": state}
        found = list(itertools.islice(client.letters(wanted), limit))
    if as_json:
        print(json.dumps(found))
        return
    table = Table("id", "state", "code", "device", "last seen", "reason", box=None)
    for one in found:
        table.add_row(one["id"], one["state"], one["code"], one["device_id"] or "–", one["last_seen"], one["reason"])
    console.print(table if found else "There are none.")
    if len(found) == limit:
        console.print(f"These are the first {limit}; --limit shows more.")


@dead_letters_app.command()
def show(letter: Id, *, url: Url = None, as_json: Json = False) -> None:
    """Show one dead letter: why it is one, its records, and what was done with it."""
    with failures(), DeadLettersClient(url) as client:
        found = client.letter(str(letter))
    if as_json:
        print(json.dumps(found))
    else:
        show_letter(found)


@dead_letters_app.command()
def edit(
    letter: Id,
    *,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change one field; may come again.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Take the record, or an array of them, as JSON from here; - is standard input.")
    ] = None,
    why: Annotated[str | None, typer.Option(help="Stays with the letter.", show_default=False)] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Mend a letter: `--set x=1.5`, or the whole record from a file. The original is kept.

    It is judged by the rules for new records, and not yet replayed. Exit code: 0, or 2 when it failed.
    """
    with failures(), DeadLettersClient(url) as client:
        records = records_in(file) if file else changed(client.letter(str(letter))["records"], changes or [])
        found = client.edit(str(letter), {"records": records, "by": user(), "why": why})
    if as_json:
        print(json.dumps(found))
    else:
        show_letter(found)
        print(f"\nnow: weir dead-letters replay {letter} --send")


@dead_letters_app.command()
def replay(
    letters: Annotated[list[UUID] | None, typer.Argument(help="Only these.", show_default=False)] = None,
    *,
    stream: Stream = None,
    device: Device = None,
    code: Code = None,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    send: Annotated[bool, typer.Option("--send", help="Do it; without this they are only counted.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Most letters to replay.", show_default=False)] = None,
    rate: Annotated[float | None, typer.Option(min=0.1, help="Most letters per second.", show_default=False)] = None,
    why: Annotated[str | None, typer.Option(help="Stays with the letters.", show_default=False)] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Publish letters again: all that are open, or those that fit. Only counts them unless told to --send.

    Safe to interrupt and to run twice: each is stored once. What is still wrong comes back as a new letter.
    Exit code: 0 all replayed (or counted), 1 some must be edited first, 2 failed, 130 interrupted.
    """
    wanted: Answer = {**selection(stream, device, code, reason, since, until), "by": user(), "why": why, "rate": rate}
    if letters:
        wanted["ids"] = [str(one) for one in letters]
    with failures(), DeadLettersClient(url) as client:
        result = client.replay(wanted | {"dry_run": True})
        if send:
            result = _send(client, wanted, result["matching"] if limit is None else min(limit, result["matching"]))
    if as_json:
        print(json.dumps(result))
    elif send:
        print(f"{result['replayed']:,} replayed, {len(result['left_open']):,} must be edited first")
    else:
        print(f"{result['matching']:,} would be replayed; --send does it")
    for code_, count in () if as_json else sorted(result["by_code"].items()):
        print(f"  {count:>9,}  {code_}")
    for one in () if as_json else result["left_open"]:
        print(f"  weir dead-letters edit {one}")
    if result["left_open"]:
        raise typer.Exit(SOME_LEFT)


@dead_letters_app.command()
def discard(
    letters: Annotated[list[UUID], typer.Argument(help="Ids, from `list`.", show_default=False)],
    *,
    why: Annotated[str, typer.Option(help="Why nobody needs them; stays with the letters.", show_default=False)],
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Give letters up. They stay in the table and are never replayed. Exit code: 0, or 2 when it failed."""
    with failures(), DeadLettersClient(url) as client:
        for one in letters:
            client.discard(str(one), why, user())
    print(json.dumps({"discarded": [str(one) for one in letters]}) if as_json else f"{len(letters):,} discarded")


@dead_letters_app.command()
def parked(*, url: Url = None, as_json: Json = False) -> None:
    """Count the messages that failed while nearly every message did: they wait in the broker until they are released.

    Exit code: 0 there is none, 1 some are parked, 2 failed.
    """
    with failures(), DeadLettersClient(url) as client:
        found = client.parked()
    if as_json:
        print(json.dumps(found))
    for one in () if as_json else found:
        print(f"{one['messages']:>9,}  {one['stream']}")
    if any(one["messages"] for one in found):
        raise typer.Exit(SOME_LEFT)


@dead_letters_app.command()
def release(
    stream: Annotated[str, typer.Argument(help="Which stream's, such as readings.", show_default=False)],
    *,
    limit: Annotated[int, typer.Option(min=1, help="Most messages to release.")] = REPLAYED,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Have parked messages tried again, once the cause is mended. What still fails becomes a dead letter.

    Safe to interrupt and to run twice: each record is stored once. Exit code: 0, or 2 when it failed.
    """
    released = 0
    with failures(), DeadLettersClient(url) as client:
        while True:
            found = client.release(stream, limit - released)
            released += found["released"]
            if not found["released"] or not found["parked"] or released >= limit:
                break
            print(f"\r{released:,} released, {found['parked']:,} are parked still", end="", file=sys.stderr, flush=True)
    answer = {"released": released, "parked": found["parked"]}
    print(json.dumps(answer) if as_json else f"{released:,} released, {answer['parked']:,} are parked still")


def _send(client: DeadLettersClient, wanted: Answer, limit: int) -> Answer:
    """Replay request by request; what died again in the meantime is beyond the cursor."""
    total: Answer = {"dry_run": False, "matching": 0, "by_code": {}, "replayed": 0, "left_open": [], "cursor": None}
    first = True
    while limit > 0 and (first or total["cursor"]):
        answer = client.replay(wanted | {"dry_run": False, "limit": min(limit, REPLAYED), "cursor": total["cursor"]})
        if first:
            total |= {name: answer[name] for name in ("matching", "by_code")}
        first = False
        limit -= answer["replayed"] + len(answer["left_open"])
        total["replayed"] += answer["replayed"]
        total["left_open"] += answer["left_open"]
        total["cursor"] = answer["cursor"]
    return total
