"""The implementation of `framehouse engine test`: run the trials of an engine, and write the report."""

import asyncio
import logging
import platform
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import uvloop
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from framehouse import __version__
from framehouse.adapters.images.image_upscaler import ImageUpscaler
from framehouse.cli import EXIT_INTERRUPTED
from framehouse.cli.contact_sheet import write_contact_sheet
from framehouse.cli.engine_trials import TrialResult, advice, plan_trials
from framehouse.cli.generate_images import cancel_on_signals
from framehouse.cli.output import EXIT_FAILED, Problem, echo, print_json
from framehouse.cli.output_files import check_writable, write_file
from framehouse.domain.errors import Failed, Postponed
from framehouse.domain.sizes import Size
from framehouse.engines.interface import Batch, Engine, GeneratedImage, HealthCheck
from framehouse.engines.registry import Registry, Route, open_registry
from framehouse.pipeline.finish import Finishing, finish
from framehouse.pipeline.generate import upscale_small
from framehouse.pipeline.original_pixels import original_of
from framehouse.settings import load_settings
from framehouse.wiring import open_upscaler, trust_configured_certificates

_MAX_IMAGES = 7
"""The number of images of all trials, without the option --images."""
_NO_CHANGES = "No change is needed."
_REPORT = "report.md"
_FILES_OF_EARLIER_TESTS = ("*-[0-9].png", "*-images-[0-9]*.png", "contact-sheet.png", _REPORT)


@dataclass(frozen=True, slots=True)
class Report:
    """The results of a test. `files` contains the name of the trial and the file of each finished image."""

    model: str
    route: str
    health: Sequence[HealthCheck]
    results: Sequence[TrialResult]
    changes: Sequence[str]
    files: Sequence[tuple[str, Path]]

    @property
    def failed(self) -> bool:
        return any(result.error for result in self.results)


def run_engine_test(
    *,
    route: str | None,
    model: str | None,
    images: int,
    out: Path,
    yes: bool,
    data_dir: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    hide_engine_logs()
    settings = load_settings(config, data_dir=data_dir)
    trust_configured_certificates(settings)
    registry = open_registry(settings.served_models(), settings.worker_labels)
    model_name, chosen = _choose(registry, route, model)
    if chosen.engine.abilities().paid and not yes:
        may_cost = f"The engine of the route {chosen.name} may charge for {_MAX_IMAGES + images} images."
        if not sys.stdin.isatty():
            raise Problem(f"{may_cost} To generate them, add --yes.")
        if not click.confirm(f"{may_cost} Continue?", err=True):
            raise Problem("Nothing was generated.")
    check_writable(out, "--out")
    if (out / _REPORT).exists():  # this folder belongs to an earlier test
        for pattern in _FILES_OF_EARLIER_TESTS:
            for file in out.glob(pattern):
                file.unlink()
    try:
        report = uvloop.run(_test(model_name, chosen, images, out, open_upscaler(settings), quiet=as_json))
        _write(report, out)
    except asyncio.CancelledError:
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    if as_json:
        print_json(_as_json(report))
    else:
        echo(_as_text(report, out))
    if report.failed:
        raise click.exceptions.Exit(EXIT_FAILED)


def hide_engine_logs() -> None:
    """Do not print the log lines of engines, because the output of the command contains their errors."""
    logging.getLogger("framehouse").addHandler(logging.NullHandler())


def _choose(registry: Registry, route: str | None, model: str | None) -> tuple[str, Route]:
    """Return the route to test and the name of its model. Raises UsageError if there is no such route."""
    routes = [(m.name, r) for m in registry.models for r in registry.routes(m.name)]
    matching = [(m, r) for m, r in routes if route in (None, r.name) and model in (None, m)]
    if not matching:
        known = ", ".join(f"{r.name} (of {m})" for m, r in routes)
        raise click.UsageError(f"there is no such route; the configured routes are: {known}")
    return matching[0]


async def _test(
    model: str, route: Route, images: int, out: Path, upscaler: ImageUpscaler | None, *, quiet: bool
) -> Report:
    with cancel_on_signals():
        try:
            return await _run_trials(model, route, images, out, upscaler, quiet=quiet)
        finally:
            await route.engine.close()
            if upscaler:
                await upscaler.close()


async def _run_trials(
    model: str, route: Route, images: int, out: Path, upscaler: ImageUpscaler | None, *, quiet: bool
) -> Report:
    abilities = route.engine.abilities()
    loads = hasattr(route.engine, "prepare")
    trials = plan_trials(abilities, model=model, loads=loads, images=images)
    results: list[TrialResult] = []
    files: list[tuple[str, Path]] = []
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=32), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as bar:
        for trial in trials:
            row = bar.add_task(trial.name, total=1.0)
            if trial.batch is None:
                results.append(TrialResult(trial.name, skipped=trial.not_possible))
                bar.update(row, description=f"{trial.name}: not possible", completed=1.0)
                continue
            on_progress = partial(_show_progress, bar, row)
            result, generated = await run_trial(route, trial.name, trial.batch, on_progress)
            results.append(result)
            bar.update(row, description=f"{trial.name}: {'failed' if result.error else 'done'}", completed=1.0)
            for number, image in enumerate(generated, 1):
                path = out / f"{trial.name.replace(' ', '-')}-{number}.png"
                upscaled = await upscale_small(image, trial.batch.size, upscaler) if upscaler else None
                source = f"{model}, {route.name}"
                await asyncio.to_thread(save_image, route.engine, trial.batch, image, upscaled, source, path)
                files.append((trial.name, path))
    health = await route.check()
    changes = advice(trials, results, max_batch=abilities.max_batch)
    changes += [f"{check.subject}: {check.advice}" for check in health if check.advice]
    return Report(model, route.name, health, results, changes, files)


def _show_progress(bar: Progress, row: TaskID, share: float) -> None:
    bar.update(row, completed=share)


async def run_trial(
    route: Route, name: str, batch: Batch, on_progress: Callable[[float], None]
) -> tuple[TrialResult, list[GeneratedImage]]:
    """Call the engine as a worker would. Returns the result and the images, ordered by their index."""
    abilities = route.engine.abilities()
    size = len(batch.shots) if batch.series and abilities.whole_series else abilities.max_batch
    calls = [replace(batch, shots=batch.shots[start : start + size]) for start in range(0, len(batch.shots), size)]
    generated: list[GeneratedImage] = []
    began = time.perf_counter()
    progress_events = 0

    async def call(part: Batch) -> None:
        nonlocal progress_events
        async with aclosing(route.engine.generate(part)) as events:  # type: ignore[type-var]
            async for event in events:
                if isinstance(event, GeneratedImage):
                    generated.append(event)
                    on_progress(len(generated) / len(batch.shots))
                else:
                    progress_events += 1
                    if len(calls) == 1:
                        on_progress(event.share)

    error = ""
    try:
        async with asyncio.TaskGroup() as group:
            for part in calls:
                group.create_task(call(part))
    except* (Failed, Postponed) as failures:
        error = str(failures.exceptions[0])
    except* Exception as failures:  # noqa: BLE001 - the report names every error
        error = f"internal error: {failures.exceptions[0]!r}"
    seconds = time.perf_counter() - began
    generated.sort(key=lambda image: image.index)
    pixels = await asyncio.to_thread(lambda: [image.pixels for image in generated])
    if not error and len(generated) < len(batch.shots):
        error = f"the engine returned {len(generated)} of {len(batch.shots)} images"
    result = TrialResult(
        name,
        seconds,
        progress_events,
        tuple(Size(image.shape[1], image.shape[0]) for image in pixels),
        tuple(float(image.std()) for image in pixels),
        error,
    )
    return result, generated


def save_image(
    engine: Engine, batch: Batch, generated: GeneratedImage, upscaled: NDArray[np.uint8] | None, source: str, path: Path
) -> None:
    """Finish an image of the engine as a worker would, and write the file."""
    facts = {"model": source, "prompt": batch.shots[0].prompt, **generated.facts}
    finishing = Finishing(software=f"Framehouse {__version__}")
    finished = finish(
        generated.image,
        batch.size,
        facts,
        finishing,
        source_type=engine.abilities().source_type,
        watermark=False,
        original=original_of(batch),
        upscaled=upscaled,
    )
    write_file(path, finished.content)


def _write(report: Report, out: Path) -> None:
    """Write the report and the contact sheet."""
    write_file(out / _REPORT, _as_markdown(report).encode())
    if report.files:
        files, names = [path for _, path in report.files], [name for name, _ in report.files]
        write_contact_sheet(out / "contact-sheet.png", files, names)


def _rows(report: Report) -> list[tuple[str, str, str, str, str, str]]:
    """Return a row for each trial, with the cells of `_HEADER`."""
    rows = []
    for result in report.results:
        if result.skipped:
            rows.append((result.name, f"not possible: {result.skipped}", "", "", "", ""))
            continue
        per_minute = f"{60 * len(result.sizes) / result.seconds:.1f}" if result.sizes else ""
        sizes = ", ".join(dict.fromkeys(f"{size.width}x{size.height}" for size in result.sizes))
        state = f"failed: {result.error}" if result.error else "done"
        rows.append((result.name, state, f"{result.seconds:.1f}", per_minute, str(result.progress_events), sizes))
    return rows


_HEADER = ("kind", "result", "seconds", "images per minute", "progress events", "generated size")


def _as_text(report: Report, out: Path) -> str:
    rows = [_HEADER, *_rows(report)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += ["", *(f"{check.subject}: {check.reason}" for check in report.health)]
    lines += ["", "To change:", *(f"- {change}" for change in report.changes)] if report.changes else ["", _NO_CHANGES]
    return "\n".join([*lines, "", f"Look at the images: {out / 'contact-sheet.png'}"][: None if report.files else -2])


def _as_markdown(report: Report) -> str:
    table = [_HEADER, ("---",) * len(_HEADER), *_rows(report)]
    lines = [f"# Test of the route {report.route} of {report.model}", ""]
    lines += [f"Framehouse {__version__}, Python {platform.python_version()}, {platform.platform()}", ""]
    lines += [f"- {check.subject}: {check.reason}" for check in report.health] + [""] * bool(report.health)
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table]
    lines += ["", "## What to change", "", *([f"- {change}" for change in report.changes] or [_NO_CHANGES])]
    if report.files:
        lines += ["", "![The generated images](contact-sheet.png)"]
    return "\n".join(lines) + "\n"


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "model": report.model,
        "route": report.route,
        "kinds": [asdict(result) for result in report.results],
        "health": [asdict(check) for check in report.health],
        "changes": report.changes,
        "files": [str(path) for _, path in report.files],
    }
