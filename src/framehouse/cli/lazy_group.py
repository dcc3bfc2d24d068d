"""A command group that imports a command only when it is called.

Help and the completion of names import no command.
"""

from importlib import import_module

import click


class LazyCommand(click.Command):
    """A stand-in for a command, with its name and help. `reference` is `module:name`."""

    def __init__(self, reference: str, help: str) -> None:
        self.module, _, name = reference.partition(":")
        super().__init__(name, help=help)

    def load(self) -> click.Command:
        assert self.name
        command: click.Command = getattr(import_module(self.module), self.name)
        return command


class LazyGroup(click.Group):
    """Shows its lazy commands in lists, and loads a lazy command to run it."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, remaining = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, LazyCommand) else command, remaining
