"""A command group that imports the module of a command only when the command is called.

The list of commands and the completion of command names import no command.
"""

from importlib import import_module

import click


class LazyCommand(click.Command):
    """A placeholder for a command, with the command's name and help text. `reference` is `module:name`."""

    def __init__(self, reference: str, help: str) -> None:
        self.module, _, name = reference.partition(":")
        super().__init__(name, help=help)

    def load(self) -> click.Command:
        assert self.name
        command: click.Command = getattr(import_module(self.module), self.name)
        return command


class LazyGroup(click.Group):
    """Lists its lazy commands without importing them. Imports a lazy command when the command is called."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, remaining = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, LazyCommand) else command, remaining
