"""The implementation of `framehouse setup`: find engines that work, test them, and write framehouse.toml."""

import asyncio
import json
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import uvloop
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from framehouse.cli import EXIT_INTERRUPTED
from framehouse.cli.contact_sheet import contact_sheet
from framehouse.cli.engine_test import run_trial, save_image
from framehouse.cli.engine_trials import simple_batch
from framehouse.cli.generate_images import cancel_on_signals
from framehouse.cli.output import Problem, echo, print_json
from framehouse.cli.setup_candidates import Candidate, find_candidates
from framehouse.domain.model import Model
from framehouse.domain.task_kind import TaskKind
from framehouse.engines.interface import Abilities
from framehouse.engines.registry import BadRoute, Route, open_registry
from framehouse.settings import Settings, load_settings
from framehouse.wiring import trust_configured_certificates

MODEL = "kling-v3-omni"
_FILE = "framehouse.toml"
_MIN_REFERENCES = 2
"""The number of references that a task with a person and clothes needs."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A candidate, and the result of its trial: the time in seconds and the image file, or the error."""

    candidate: Candidate
    seconds: float = 0.0
    image: Path | None = None
    error: str = ""


def run_setup(
    *,
    comfyui_url: str,
    server_urls: Sequence[str],
    workflow: Path | None,
    out: Path,
    yes: bool,
    data_dir: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    settings = load_settings(config, data_dir=data_dir)
    trust_configured_certificates(settings)
    path = config or settings.data_dir / _FILE
    if path.exists() and not yes:
        kept = "Its models are replaced. Its other settings are kept, without comments. A copy of the file is kept."
        _confirm(f"{path} exists. {kept}", "Replace it?")
    search = find_candidates(os.environ, comfyui_url=comfyui_url, server_urls=server_urls, workflow=workflow)
    candidates = asyncio.run(search)
    chosen = [candidate for candidate in candidates if candidate.route and (yes or _is_wanted(candidate))]
    try:
        if chosen:
            out.mkdir(parents=True, exist_ok=True)
        attempts = uvloop.run(_try_all(chosen, out, quiet=as_json))
        working = [attempt for attempt in attempts if attempt.image]
        if images := [attempt.image for attempt in working if attempt.image]:
            contact_sheet(images, [attempt.candidate.title for attempt in working]).save(out / "contact-sheet.png")
            kinds = possible_kinds([_open_route(attempt.candidate).engine.abilities() for attempt in working])
            _write(path, [attempt.candidate.route for attempt in working], kinds)
    except asyncio.CancelledError:
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    except OSError as error:
        raise Problem(f"Cannot write {error.filename}: {error.strerror}.") from error
    if as_json:
        print_json(_as_json(candidates, attempts, path if working else None))
    else:
        echo(_as_text(candidates, attempts, path, out))
    if not working:
        raise Problem("No image was generated, so no file was written.")


def _confirm(text: str, question: str) -> None:
    if not sys.stdin.isatty():
        raise Problem(f"{text} To continue, add --yes.")
    if not click.confirm(f"{text} {question}", err=True):
        raise Problem("Nothing was changed.")


def _is_wanted(candidate: Candidate) -> bool:
    """Ask whether to try a candidate. Without a terminal, only candidates that cost nothing are tried."""
    try:
        paid = _open_route(candidate).engine.abilities().paid
    except BadRoute:  # `_try` reports the problem
        return True
    if not sys.stdin.isatty():
        return not paid
    cost = " This may charge for one image." if paid else ""
    return click.confirm(f"Generate an image with {candidate.title}?{cost}", default=not paid, err=True)


def _open_route(candidate: Candidate) -> Route:
    return open_registry([(Model(MODEL), [dict(candidate.route)])]).routes(MODEL)[0]


async def _try_all(candidates: Sequence[Candidate], out: Path, *, quiet: bool) -> list[Attempt]:
    """Generate one image with each candidate, one after the other, because they may share a GPU."""
    attempts = []
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with cancel_on_signals(), Progress(*columns, console=Console(stderr=True), disable=quiet) as bar:
        for number, candidate in enumerate(candidates, 1):
            row = bar.add_task(candidate.title, total=1)
            attempts.append(await _try(candidate, out / f"{number}-{candidate.route['engine']}.png"))
            state = "failed" if attempts[-1].error else "done"
            bar.update(row, description=f"{candidate.title}: {state}", completed=1)
    return attempts


async def _try(candidate: Candidate, path: Path) -> Attempt:
    try:
        route = _open_route(candidate)
    except BadRoute as error:
        return Attempt(candidate, error=str(error))
    try:
        batch = simple_batch(route.engine.abilities(), model=MODEL)
        result, images = await run_trial(route, candidate.title, batch, lambda _: None)
        if result.error or not images:
            return Attempt(candidate, error=result.error or "no image was generated")
        await asyncio.to_thread(save_image, batch, images[0], None, candidate.title, path)
        return Attempt(candidate, result.seconds, path)
    finally:
        await route.engine.close()


def possible_kinds(abilities: Sequence[Abilities]) -> list[TaskKind]:
    """Return the kinds of tasks that at least one of the engines can generate."""
    kinds: list[TaskKind] = ["omni-image", "generations"]
    if any(engine.max_references >= _MIN_REFERENCES for engine in abilities):
        kinds += ["multi-image2image", "try-on"]
    return [*kinds, "expand"] if any(engine.expansions for engine in abilities) else kinds


def _write(path: Path, routes: Sequence[Mapping[str, object]], kinds: Sequence[TaskKind]) -> None:
    """Write the routes to the configuration file, and keep a copy of an existing file.

    The file is readable only by its owner, because it may contain keys.
    """
    other = tomllib.loads(path.read_text()) if path.exists() else {}
    text = config_text(routes, kinds, {name: value for name, value in other.items() if name != "models"})
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copy2(path, _free_name(path))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _free_name(path: Path) -> Path:
    """Return the name for a copy of a file. Earlier copies are kept."""
    names = (path.with_name(f"{path.name}.before-setup{number}") for number in ("", *range(2, 1000)))
    return next(name for name in names if not name.exists())


def config_text(
    routes: Sequence[Mapping[str, object]], kinds: Sequence[TaskKind], other: Mapping[str, object] = {}
) -> str:
    """Return the content of a configuration file with one model, which has these routes.

    The model has the names of all default models that offer one of the `kinds`. `other` contains the other settings.
    """
    aliases = [name for name in Settings.default_names(kinds) if name != MODEL]
    lines = ["# Written by `framehouse setup`. Tasks use the first route that can generate them."]
    lines += [f"{_key(name)} = {_toml(value)}" for name, value in other.items()]
    lines += ["", f"[models.{json.dumps(MODEL)}]", f"endpoints = {_toml(list(kinds))}", f"aliases = {_toml(aliases)}"]
    for route in routes:
        lines += ["", f"[[models.{json.dumps(MODEL)}.routes]]"]
        lines += [f"{_key(name)} = {_toml(value)}" for name, value in route.items()]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case list():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case dict():
            return "{ " + ", ".join(f"{_key(name)} = {_toml(item)}" for name, item in value.items()) + " }"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case _:
            return str(value)


def _as_text(candidates: Sequence[Candidate], attempts: Sequence[Attempt], path: Path, out: Path) -> str:
    lines = []
    for attempt in attempts:
        result = f"failed: {attempt.error}" if attempt.error else f"works, {attempt.seconds:.1f} s: {attempt.image}"
        lines.append(f"{attempt.candidate.title}: {result}")
    tried = [attempt.candidate for attempt in attempts]
    lines += [f"{other.title}: {other.missing or 'not tried'}" for other in candidates if other not in tried]
    if not candidates:
        lines.append("No GPU, no ComfyUI, no model server and no key in the environment was found.")
    if any(attempt.image for attempt in attempts):
        lines += ["", f"Look at the images: {out / 'contact-sheet.png'}", f"Wrote {path}. Next: framehouse serve"]
    return "\n".join(lines)


def _as_json(candidates: Sequence[Candidate], attempts: Sequence[Attempt], path: Path | None) -> dict[str, Any]:
    by_title = {attempt.candidate.title: attempt for attempt in attempts}
    return {
        "config": str(path) if path else None,
        "candidates": [
            {
                "title": candidate.title,
                "engine": candidate.route.get("engine"),
                "missing": candidate.missing,
                "tried": (attempt := by_title.get(candidate.title)) is not None,
                "error": attempt.error if attempt else "",
                "seconds": attempt.seconds if attempt else 0.0,
                "image": str(attempt.image) if attempt and attempt.image else None,
            }
            for candidate in candidates
        ],
    }
