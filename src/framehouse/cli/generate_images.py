"""The implementation of `framehouse generate`: submit a task, show the progress, and save the images."""

import asyncio
import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click
import uvloop
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from framehouse.cli import EXIT_INTERRUPTED
from framehouse.cli.contact_sheet import write_contact_sheet
from framehouse.cli.generate_request import GenerateOptions, build_request, request_kind
from framehouse.cli.generate_sources import LocalDeployment, RemoteServer, Source, TaskState
from framehouse.cli.output import Problem, echo, print_json
from framehouse.cli.output_files import check_writable, write_file
from framehouse.domain.errors import Refused
from framehouse.settings import load_settings
from framehouse_client.downloading import file_stem
from framehouse_client.task_request import TaskRequest

_CANCEL_S = 30.0
"""The time for cancelling a task after Ctrl-C. The server may be unreachable."""


def generate_images(
    options: GenerateOptions,
    *,
    out: Path,
    server: str | None,
    key: str | None,
    data_dir: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    if server and not key:
        raise click.UsageError("--server requires --key or FRAMEHOUSE_KEY")
    if key and not key.isascii():
        raise click.UsageError("--key contains characters that are not allowed in an API key")
    request = build_request(options, request_kind(options))
    check_writable(out, "--out")
    source: Source = (
        RemoteServer(server, key) if server and key else LocalDeployment(load_settings(config, data_dir=data_dir))
    )
    try:
        result = uvloop.run(_generate(source, request, out, quiet=as_json))
    except Refused as error:
        raise Problem(f"{error.message} (code {error.code})", code=error.code) from error
    except asyncio.CancelledError:
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    if as_json:
        print_json(result)


async def _generate(source: Source, request: TaskRequest, out: Path, *, quiet: bool) -> dict[str, Any]:
    """Submit a task, show the progress until the task ends, and save the images.

    Ctrl-C cancels the task, even while the task is being submitted. Raises Problem if the task fails.
    """
    with cancel_on_signals():
        async with source:
            submitting = asyncio.ensure_future(source.submit(request))
            try:
                task_id = await asyncio.shield(submitting)
                state = await _watch(source, task_id, request, quiet=quiet)
                if state.status != "succeed":
                    raise Problem(f"The task failed: {state.message or 'no reason given'} (task {task_id})")
                return await _save(source, task_id, state, out, quiet=quiet)
            except asyncio.CancelledError:
                with suppress(Exception):  # cancels a task that was already accepted
                    async with asyncio.timeout(_CANCEL_S):
                        await source.cancel(await submitting)
                raise


@contextmanager
def cancel_on_signals() -> Iterator[None]:
    """Cancel the current asyncio task on the first SIGINT or SIGTERM.

    Further signals are ignored, so that they do not interrupt the cleanup.
    """
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            echo("Interrupted; canceling.", err=True)
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    yield


async def _watch(source: Source, task_id: str, request: TaskRequest, *, quiet: bool) -> TaskState:
    """Wait until the task ends, and show a progress bar with the number of generated images."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TextColumn("images"),
        TimeElapsedColumn(),
    )
    labels = {"submitted": "Waiting", "processing": "Generating", "succeed": "Generated", "failed": "Failed"}
    amount = request.body.get("n") or request.body.get("series_amount")
    expected = None if amount == "auto" else int(amount or 1)
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as bar:
        row = bar.add_task("Waiting", total=expected)

        def show(state: TaskState) -> None:
            total = state.total or expected
            done = total if state.status == "succeed" and total else math.floor((total or 0) * state.progress + 1e-6)
            bar.update(row, description=labels[state.status], total=total, completed=done or 0)

        return await source.wait(task_id, show)


async def _save(source: Source, task_id: str, state: TaskState, out: Path, *, quiet: bool) -> dict[str, Any]:
    """Write the images to the folder `out`. Returns the output for --json.

    If there are several images, a contact sheet is also written. The names of all files begin with the id of the task
    (see `file_stem`), so that the files of other tasks are not overwritten.
    """
    stem = file_stem(task_id)
    files: list[dict[str, Any]] = []
    for image in state.images:
        entry: dict[str, Any] = {"index": image.index}
        for name, location, suffix in (
            ("file", image.location, ""),
            ("watermark_file", image.watermark_location, "-marked"),
        ):
            if not location:
                continue
            content, extension = await source.download(location)
            path = out / f"{stem}-{image.index + 1}{suffix}.{extension}"
            write_file(path, content)
            entry[name] = str(path)
        files.append(entry)
    result: dict[str, Any] = {"task_id": task_id, "status": "succeed", "units": state.units, "images": files}
    if len(files) > 1:
        sheet = out / f"{stem}-contact-sheet.png"
        await asyncio.to_thread(write_contact_sheet, sheet, [Path(entry["file"]) for entry in files])
        result["contact_sheet"] = str(sheet)
    if not quiet:
        for entry in files:
            for file in filter(None, (entry["file"], entry.get("watermark_file"))):
                with Image.open(file) as opened:
                    echo(f"{file}  {opened.width}x{opened.height}")
        if "contact_sheet" in result:
            echo(result["contact_sheet"])
    return result
