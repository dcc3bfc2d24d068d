"""framehouse doctor"""

from pathlib import Path

import click

from framehouse.cli.options import data_options, json_option


@click.command()
@data_options
@json_option
def doctor(data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """Look for what is wrong, and say what to do about it. Exit code 1 if something needs doing."""
    from framehouse.cli.doctor import run_doctor

    run_doctor(data_dir=data_dir, config=config, as_json=as_json)
