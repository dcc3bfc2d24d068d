"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., None])

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout and nothing else.")
account_option = click.option("--account", default="default", show_default=True)


def out_option(folder: str, help: str) -> Callable[[Command], Command]:
    """Return the option --out, which selects the folder for the files that a command writes."""
    type = click.Path(path_type=Path, file_okay=False)
    return click.option("--out", type=type, default=Path(folder), show_default=True, help=help)


def data_options(command: Command) -> Command:
    """Add the options --data-dir and --config, which all commands that use the settings accept."""
    command = click.option(
        "--config", type=click.Path(path_type=Path, dir_okay=False), envvar="FRAMEHOUSE_CONFIG",
        help="Settings file. [default: framehouse.toml in the data folder]",
    )(command)  # fmt: skip
    return click.option(
        "--data-dir", type=click.Path(path_type=Path, file_okay=False),
        help="Folder for all local data. [env: FRAMEHOUSE_DATA_DIR]",
    )(command)  # fmt: skip
