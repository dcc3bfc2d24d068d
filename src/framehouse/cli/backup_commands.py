"""framehouse backup | restore"""

from pathlib import Path

import click

from framehouse.cli.options import data_options, json_option


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option("--without-pictures", is_flag=True, help="Only what cannot be painted again: database and settings.")
@data_options
@json_option
def backup(file: Path, without_pictures: bool, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """Copy the embedded database, the pictures and framehouse.toml into FILE, also while a server runs. "-" is stdout.

    Who has the file can act as every account: it is readable by you alone.
    """
    from framehouse.cli.backup import back_up

    back_up(file=file, without_pictures=without_pictures, data_dir=data_dir, config=config, as_json=as_json)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@data_options
@json_option
def restore(file: Path, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """Fill a data folder that has no database from FILE, which `backup` wrote; "-" is stdin.

    Restore only what you backed up yourself: the database does what it says.
    """
    from framehouse.cli.backup import restore_backup

    restore_backup(file=file, data_dir=data_dir, config=config, as_json=as_json)
