"""Commands that are loaded once they are called."""

from importlib import import_module
from typing import Any, ClassVar, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command


class Lazy(NamedTuple):
    """A command function or a Typer application: its module, its name there, and one sentence about it."""

    module: str
    name: str
    help: str

    def load(self, name: str) -> Any:
        """Import the command and return it under this name."""
        found = getattr(import_module(self.module), self.name)
        if not isinstance(found, typer.Typer):
            alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            alone.command(name)(found)
            found = alone
        command = get_command(found)
        command.name = name
        return command


class LazyGroup(TyperGroup):
    """A group that lists commands without loading them."""

    commands_by_name: ClassVar[dict[str, Lazy]] = {}

    @classmethod
    def of(cls, commands: dict[str, Lazy]) -> type["LazyGroup"]:
        return type("Commands", (cls,), {"commands_by_name": commands})

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - as the group has it
        return list(self.commands_by_name)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """Return what a list of commands shows of one."""
        lazy = self.commands_by_name.get(cmd_name)
        return None if lazy is None else TyperCommand(cmd_name, help=lazy.help)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        lazy = self.commands_by_name.get(args[0])
        return super().resolve_command(ctx, args) if lazy is None else (args[0], lazy.load(args[0]), args[1:])
