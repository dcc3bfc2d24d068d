"""The `framehouse models …` commands."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from framehouse.cli.options import data_options, json_option
from framehouse.cli.output import Problem, echo, print_json

if TYPE_CHECKING:
    from framehouse.engines.diffusers.hub import Pulled


@click.group()
def models() -> None:
    """Manage model weights for the diffusers engine."""


@models.command("pull")
@click.argument("repository")
@click.option("--revision", default="main", show_default=True, help="A branch, a tag or a commit.")
@json_option
def pull_model(repository: str, revision: str, as_json: bool) -> None:
    """Download the weights of REPOSITORY from the Hugging Face hub and verify them.

    To resume an interrupted download, run the same command again. The weights are saved in the standard Hugging
    Face cache (HF_HOME, HF_HUB_CACHE). Gated repositories require the environment variable HF_TOKEN.
    To download a single LoRA, add the path of its file to REPOSITORY: owner/name/file.safetensors.

    Example: framehouse models pull black-forest-labs/FLUX.2-klein-4B
    """
    import signal

    from framehouse.engines.diffusers.hub import PullFailed
    from framehouse.engines.diffusers.loras import split_repository
    from framehouse.engines.diffusers.model_defaults import DEFAULT_MODEL, KNOWN_MODELS

    repository_and_file = repository
    repository, only = split_repository(repository)
    if not repository or (only and not only.endswith(".safetensors")):
        raise click.UsageError(
            f'"{repository_and_file}" is not the name of a repository; an example is {DEFAULT_MODEL}'
        )
    # The handler is set explicitly, because shells start background jobs with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        pulled = _pull_with_progress(repository, revision, only, quiet=as_json)
    except PullFailed as error:
        raise Problem(str(error)) from error
    except KeyboardInterrupt:
        echo("To resume the download, run the same command again.", err=True)
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
    fetched = f"{_size_text(pulled.fetched_bytes)} downloaded" if pulled.fetched_bytes else "nothing was downloaded"
    echo(f"{repository} is complete: {_size_text(pulled.size_bytes)}, {fetched}.")
    if entry := KNOWN_MODELS.get(repository):
        echo(f"Licence: {entry.licence}. docs/engines/diffusers.md lists the required GPU.")


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _pull_with_progress(repository: str, revision: str, only: str, *, quiet: bool) -> Pulled:
    """Download the weights. Unless `quiet` is true, show a progress bar. Raises PullFailed if the download fails."""
    import asyncio

    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from framehouse.engines.diffusers.hub import pull

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=quiet) as progress:
        bars: dict[str, Any] = {}

        def show_progress(step: str, done: int, total: int) -> None:
            if step not in bars:
                bars[step] = progress.add_task(step.capitalize(), total=total)
            progress.update(bars[step], completed=done)

        return asyncio.run(pull(repository, revision, show_progress, only=only))


@models.command("plan")
@click.argument("model")
@click.option(
    "--vram",
    "vram_gb",
    type=click.FloatRange(1, 1000),
    metavar="GB",
    help="Memory of the GPU. [default: the first GPU of this machine]",
)
@click.option("--batch", type=click.IntRange(1, 64), default=4, show_default=True, help="Images per call.")
@click.option(
    "--resolution",
    type=click.Choice(["1k", "2k", "4k"], case_sensitive=False),
    default="1k",
    show_default=True,
    help="Resolution of the images.",
)
@click.option("--revision", default="main", show_default=True, help="A branch, a tag or a commit.")
@json_option
def plan_model(model: str, vram_gb: float | None, batch: int, resolution: str, revision: str, as_json: bool) -> None:
    """Show which options let MODEL fit on a GPU, and estimate the memory that each of them needs.

    MODEL is a repository, or the full path of a folder. Its sizes are read from the headers of the files on this
    machine. The sizes of some models are known without their files. The command loads no weights.

    Example: framehouse models plan black-forest-labs/FLUX.2-klein-4B --vram 16
    """
    from framehouse.cli.model_plan import print_plan

    print_plan(model, vram_gb, batch=batch, resolution=resolution, revision=revision, as_json=as_json)


@models.command("list")
@data_options
@json_option
def list_models(data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """List the weights on this machine. The list shows missing files and the configured models that use the weights."""
    from rich.console import Console
    from rich.table import Table

    from framehouse.engines.diffusers.model_defaults import DEFAULT_MODEL, KNOWN_MODELS
    from framehouse.engines.diffusers.weights import list_weights

    used = _used_repositories(data_dir, config)
    rows: list[dict[str, Any]] = [
        {
            "repository": name,
            "revision": revision,
            "commit": weights.revision,
            "size_bytes": weights.size_bytes,
            "missing": "" if weights.is_lora else weights.missing,
            "pipeline": weights.pipeline,
            "in_table": name in KNOWN_MODELS,
            "models": sorted(model for model, repository in used if repository == name),
        }
        for name, revision, weights in list_weights()
    ]
    if as_json:
        print_json(rows)
        return
    if not rows:
        echo(f"No weights on this machine. To download weights: framehouse models pull {DEFAULT_MODEL}")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("repository", "revision", "size", "state", "settings", "models"):
        table.add_column(heading, no_wrap=heading == "repository")
    for row in rows:
        state = f"{row['missing']} is missing" if row["missing"] else "complete"
        table.add_row(
            row["repository"],
            row["revision"],
            _size_text(row["size_bytes"]),
            state,
            _settings_text(row["repository"])
            if row["in_table"]
            else "from the pipeline"
            if row["pipeline"]
            else "none",
            ", ".join(row["models"]) or "no route",
        )
    Console().print(table)


def _settings_text(repository: str) -> str:
    """Return a description of a model's settings in `KNOWN_MODELS`."""
    from framehouse.engines.diffusers.model_defaults import KNOWN_MODELS

    entry = KNOWN_MODELS[repository]
    references = f"{entry.max_input_images} references" if entry.max_input_images else "no references"
    guidance = "no guidance" if entry.guidance is None else f"guidance {entry.guidance:g}"
    return f"{entry.steps} steps, {guidance}, {references}"


def _used_repositories(data_dir: Path | None, config: Path | None) -> set[tuple[str, str]]:
    """Return pairs of a configured model and a repository that the model uses with the diffusers engine."""
    from framehouse.engines.diffusers.loras import check_loras
    from framehouse.engines.diffusers.model_defaults import DEFAULT_MODEL
    from framehouse.engines.option_checks import BadOption
    from framehouse.settings import load_settings

    routes = [
        (model.name, route)
        for model, model_routes in load_settings(config, data_dir=data_dir).served_models()
        for route in model_routes
    ]
    diffusers = [(name, route) for name, route in routes if route.get("engine") == "diffusers"]
    used = {(name, str(route.get("model", DEFAULT_MODEL))) for name, route in diffusers}
    used |= {(name, str(route["upscaler"])) for name, route in diffusers if "upscaler" in route}
    for name, route in diffusers:
        with suppress(BadOption):  # the server reports invalid options
            used |= {(name, lora.repository) for lora in check_loras(route.get("loras", ())) if lora.repository}
    return used


def _size_text(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
