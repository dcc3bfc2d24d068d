"""framehouse models …"""

import asyncio
import signal
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from framehouse.cli.commands import Problem, print_json
from framehouse.engines.diffusers.hub import Pulled, PullFailed, pull
from framehouse.engines.diffusers.model_defaults import DEFAULT, TABLE
from framehouse.engines.diffusers.weights import REPOSITORY, list_weights
from framehouse.settings import load_settings


def fetch(repository: str, revision: str, as_json: bool) -> None:
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
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=quiet) as progress:
        bars: dict[str, Any] = {}

        def told(what: str, done: int, total: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what.capitalize(), total=total)
            progress.update(bars[what], completed=done)

        return asyncio.run(pull(repository, revision, told))


def list_all(data_dir: Path | None, config: Path | None, as_json: bool) -> None:
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
    entry = TABLE[repository]
    shown = f"{entry.shown} references" if entry.shown else "words alone"
    return f"{entry.steps} steps, guidance {entry.guidance:g}, {shown}"


def _used(data_dir: Path | None, config: Path | None) -> set[tuple[str, str]]:
    """Which configured model is painted with which repository."""
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
