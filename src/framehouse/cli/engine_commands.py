"""The `framehouse engine …` commands."""

from typing import Any

import click

from framehouse.cli.options import data_options, json_option, out_option


@click.group()
def engine() -> None:
    """Test the engines of the configured routes."""


@engine.command("test")
@click.argument("route", required=False)
@click.option("--model", metavar="NAME", help="The model of the route, if several models have a route of this name.")
@click.option(
    "--images",
    type=click.IntRange(0, 1000),
    default=0,
    metavar="N",
    help="Also generate N images at the same time, and report the images per minute.",
)
@out_option(
    "engine-test", "Folder for the images, the contact sheet and the report. Files of earlier tests are replaced."
)
@click.option("--yes", is_flag=True, help="Do not ask before generating images that may cost money.")
@data_options
@json_option
def test_engine(**options: Any) -> None:
    """Generate one image of each kind with the engine of ROUTE, and report what to change.

    The kinds are text, two references, a series, 2k, an expansion and a mask. Without ROUTE, the first route of the
    first model is tested. The command needs no running server. If a server uses the same GPU, stop it first. The exit
    code is 1 if a kind fails.

    Example: framehouse engine test diffusers --images 9
    """
    from framehouse.cli.engine_test import run_engine_test

    run_engine_test(**options)
