"""A command group that imports a command's module only when the command is invoked.

The group lists commands and completes command names without importing the modules of the commands.
"""

from importlib import import_module

import click


class LazyCommand(click.Command):
    """A placeholder with the name and the help text of a command.

    `reference` has the form `module:attribute`. The name of the command is the attribute, with hyphens for underscores.
    """

    def __init__(self, reference: str, help: str) -> None:
        self.module, _, self.attribute = reference.partition(":")
        super().__init__(self.attribute.replace("_", "-"), help=help)

    def load(self) -> click.Command:
        command: click.Command = getattr(import_module(self.module), self.attribute)
        return command


class LazyGroup(click.Group):
    """A group that lists its lazy commands without importing them, and imports a command when it is invoked."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, remaining = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, LazyCommand) else command, remaining
