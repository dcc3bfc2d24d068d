"""framehouse models …"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from framehouse.cli.options import data_options, json_option
from framehouse.cli.output import Problem, print_json

if TYPE_CHECKING:
    from framehouse.engines.diffusers.hub import Pulled


@click.group()
def models() -> None:
    """Weights for the engine diffusers: what is here, and how more comes."""


@models.command("pull")
@click.argument("repository")
@click.option("--revision", default="main", show_default=True, help="A branch, a tag or a commit.")
@json_option
def pull_model(repository: str, revision: str, as_json: bool) -> None:
    """Fetch REPOSITORY's weights from the Hugging Face hub and check them; interrupted, it goes on the next time.

    They come into the cache that Hugging Face's own programs use (HF_HOME, HF_HUB_CACHE). HF_TOKEN opens what is gated.

    framehouse models pull black-forest-labs/FLUX.2-klein-4B
    """
    import signal

    from framehouse.engines.diffusers.hub import PullFailed
    from framehouse.engines.diffusers.model_defaults import DEFAULT, TABLE
    from framehouse.engines.diffusers.weights import REPOSITORY

    if not REPOSITORY.fullmatch(repository):
        raise click.UsageError(f'"{repository}" is no repository; one looks like {DEFAULT}')
    signal.signal(signal.SIGINT, signal.default_int_handler)  # said outright: a shell's background jobs ignore it
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        pulled = _pull_shown(repository, revision, quiet=as_json)
    except PullFailed as error:
        raise Problem(str(error)) from error
    except KeyboardInterrupt:
        click.echo("What came is kept; the same command goes on with it.", err=True)
        raise
    if as_json:
        print_json(
            {
                "repository": repository,
                "revision": pulled.revision,
                "folder": str(pulled.folder),
                "size_bytes": pulled.size_bytes,
                "fetched_bytes": pulled.fetched_bytes,
            }
        )
        return
    fetched = f"{_size(pulled.fetched_bytes)} fetched" if pulled.fetched_bytes else "all of it was here"
    click.echo(f"{repository} is here and whole: {_size(pulled.size_bytes)}, {fetched}.")
    if entry := TABLE.get(repository):
        click.echo(f"Licence: {entry.licence}. docs/diffusers.md says which card it needs.")


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _pull_shown(repository: str, revision: str, *, quiet: bool) -> Pulled:
    """Pull with a bar on standard error, where there is a terminal."""
    import asyncio

    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from framehouse.engines.diffusers.hub import pull

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=quiet) as progress:
        bars: dict[str, Any] = {}

        def told(what: str, done: int, total: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what.capitalize(), total=total)
            progress.update(bars[what], completed=done)

        return asyncio.run(pull(repository, revision, told))


@models.command("list")
@data_options
@json_option
def list_models(data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """The weights that are here, whether they are complete, and which configured models use them."""
    from rich.console import Console
    from rich.table import Table

    from framehouse.engines.diffusers.model_defaults import DEFAULT, TABLE
    from framehouse.engines.diffusers.weights import list_weights

    used = _used(data_dir, config)
    rows: list[dict[str, Any]] = [
        {
            "repository": name,
            "revision": revision,
            "commit": found.revision,
            "size_bytes": found.size_bytes,
            "missing": found.missing,
            "pipeline": found.pipeline,
            "in_table": name in TABLE,
            "models": sorted(model for model, repository in used if repository == name),
        }
        for name, revision, found in list_weights()
    ]
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo(f"No weights are here. Get some: framehouse models pull {DEFAULT}")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("repository", "revision", "size", "state", "settings", "paints"):
        table.add_column(heading, no_wrap=heading == "repository")
    for row in rows:
        state = f"{row['missing']} is missing" if row["missing"] else "complete"
        table.add_row(
            row["repository"],
            row["revision"],
            _size(row["size_bytes"]),
            state,
            _asked(row["repository"]) if row["in_table"] else "of its pipeline",
            ", ".join(row["models"]) or "no route",
        )
    Console().print(table)


def _asked(repository: str) -> str:
    """How the table says that a model is asked."""
    from framehouse.engines.diffusers.model_defaults import TABLE

    entry = TABLE[repository]
    shown = f"{entry.shown} references" if entry.shown else "words alone"
    return f"{entry.steps} steps, guidance {entry.guidance:g}, {shown}"


def _used(data_dir: Path | None, config: Path | None) -> set[tuple[str, str]]:
    """Which configured model is painted with which repository."""
    from framehouse.engines.diffusers.model_defaults import DEFAULT
    from framehouse.settings import load_settings

    routes = [
        (model.name, route)
        for model, some in load_settings(config, data_dir=data_dir).served_models()
        for route in some
    ]
    ours = [(name, route) for name, route in routes if route.get("engine") == "diffusers"]
    return {(name, str(route.get("model", DEFAULT))) for name, route in ours} | {
        (name, str(route["upscaler"])) for name, route in ours if "upscaler" in route
    }


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
