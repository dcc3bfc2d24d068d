"""The `framehouse backup` and `framehouse restore` commands."""

from pathlib import Path

import click

from framehouse.cli.options import data_options, json_option


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option(
    "--without-pictures",
    "without_images",
    is_flag=True,
    help="Back up only the database and the settings, without images and references.",
)
@data_options
@json_option
def backup(file: Path, without_images: bool, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """Copy the embedded database, the images, the references and framehouse.toml to FILE.

    The server can keep running during the backup. If FILE is "-", the backup is written to stdout.

    A backup contains secrets: anyone who can read the backup can use all accounts. The permissions of the new FILE
    allow only you to read it.
    """
    from framehouse.cli.backup import back_up

    back_up(file=file, without_images=without_images, data_dir=data_dir, config=config, as_json=as_json)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@data_options
@json_option
def restore(file: Path, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """Restore the backup FILE into a data folder that has no database.

    If FILE is "-", the backup is read from stdin. Restore only backups that you created yourself, because the database
    executes all SQL commands in a backup.
    """
    from framehouse.cli.backup import restore_backup

    restore_backup(file=file, data_dir=data_dir, config=config, as_json=as_json)
