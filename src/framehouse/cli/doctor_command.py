"""The `framehouse doctor` command."""

from pathlib import Path

import click

from framehouse.cli.options import data_options, json_option


@click.command()
@data_options
@json_option
def doctor(data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """Find problems and print advice on how to solve them.

    The exit code is 1 if there is a problem.
    """
    from framehouse.cli.doctor import run_doctor

    run_doctor(data_dir=data_dir, config=config, as_json=as_json)
