"""The command `weir`: the local stack, and what its people do with it from a terminal."""

import sys

import typer

from cli.lazy import Lazy, LazyGroup

#: Every command: where it is, and what it is for. A module is loaded once its command is called, because all of them together
#: take longer than `weir --help` may. The sentence is the first one of the command's own help, which a test holds.
COMMANDS = {
    "up": Lazy(
        "cli.stack_commands",
        "up",
        "Start everything on this machine, prove it with a demo device, and print the addresses.",
    ),
    "down": Lazy(
        "cli.stack_commands", "down", "Drain and stop everything; what was accepted is kept for the next time."
    ),
    "reset": Lazy("cli.stack_commands", "reset", "Stop everything and remove all data."),
    "status": Lazy("cli.stack_commands", "status", "Show what runs, since when, and where its log is."),
    "address": Lazy(
        "cli.stack_commands",
        "address",
        "Print where the API is: what WEIR_API_PORT says, else where `weir up` started it, else the default.",
    ),
    "migrate": Lazy("cli.stack_commands", "migrate", "Bring the database at WEIR_DATABASE_URL to the newest schema."),
    "doctor": Lazy(
        "cli.stack_commands",
        "doctor",
        "Check that everything is as designed, and say what it means and what to do where it is not.",
    ),
    "devices": Lazy("cli.devices", "devices", "List devices with their ids, in the order in which they were made."),
    "stats": Lazy(
        "cli.statistics",
        "stats",
        "Print the statistics of a device, or of all devices of a user, each number as exact as it was computed.",
    ),
    "dau": Lazy("cli.user_questions", "daily_users", "Count the users who were active on each day."),
    "top-events": Lazy("cli.user_questions", "top_events", "List the types of events that came most often."),
    "user-retention": Lazy(
        "cli.user_questions", "user_retention", "Tell how many of a day's new users come back on the days after it."
    ),
    "import": Lazy("cli.imports", "import_app", "Bring files in."),
    "export": Lazy("cli.exporting", "export_app", "Bring what is stored out, as files."),
    "generate": Lazy("cli.generate", "generate_app", "Make up plausible files, the same ones for the same seed."),
    "trace": Lazy(
        "cli.tracing", "trace", "Tell where a submission is: on its way, stored, dead-lettered, or not known."
    ),
    "dead-letters": Lazy(
        "cli.dead_letters", "dead_letters_app", "Records that could not be stored: list, show, edit, replay, discard."
    ),
    "seal": Lazy(
        "cli.cold",
        "seal",
        "Seal days older than WEIR_HOT_DAYS, or than their stream's term: into Parquet files, verified, and out of PostgreSQL.",
    ),
    "verify": Lazy(
        "cli.cold",
        "verify",
        "Read every cold file again: its SHA-256, its rows, and what the manifest says of each device.",
    ),
    "retention": Lazy(
        "cli.cold",
        "retention",
        "Drop what is past its term: WEIR_RETENTION_DAYS_READINGS and _EVENTS, and the devices' own `retention_days`.",
    ),
    "bench": Lazy(
        "cli.bench.command", "bench", "Measure Weir beside its limits, on servers of its own; some twenty minutes."
    ),
    "faults": Lazy(
        "cli.faults.command",
        "faults",
        "Break Weir in every way of the table, on servers of its own, and prove that nothing is lost or stored twice.",
    ),
}

app = typer.Typer(
    cls=LazyGroup.of(COMMANDS), no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)


@app.callback()
def weir() -> None:
    """Weir: 202 means kept."""


def main() -> None:
    try:
        app()
    except Exception as error:
        from shared.errors import WeirError  # noqa: PLC0415 - only once there is something to say

        if not isinstance(error, WeirError):
            raise
        typer.echo(f"weir: {error}", err=True)
        sys.exit(1)
