"""A group whose commands are imported when they are called: listing and completing their names imports none."""

from importlib import import_module

import click


class LazyCommand(click.Command):
    """The name and the help of a command, and its place: `module:name`."""

    def __init__(self, place: str, help: str) -> None:
        self.module, _, name = place.partition(":")
        super().__init__(name, help=help)

    def load(self) -> click.Command:
        assert self.name
        command: click.Command = getattr(import_module(self.module), self.name)
        return command


class LazyGroup(click.Group):
    """Lists its lazy commands as they are, and calls the commands that they stand for."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, LazyCommand) else command, rest
