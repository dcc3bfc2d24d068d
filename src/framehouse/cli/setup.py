"""The implementation of `framehouse setup`: find engines that work, test them, and write framehouse.toml."""

import asyncio
import json
import os
import re
import shlex
import sys
import tomllib
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import uvloop
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from framehouse.cli import EXIT_INTERRUPTED
from framehouse.cli.contact_sheet import write_contact_sheet
from framehouse.cli.engine_test import hide_engine_logs, run_trial, save_image
from framehouse.cli.engine_trials import simple_batch
from framehouse.cli.generate_images import cancel_on_signals
from framehouse.cli.output import Problem, echo, print_json, program
from framehouse.cli.output_files import check_writable, write_file
from framehouse.cli.setup_candidates import SERVER_URLS, Candidate, find_candidates
from framehouse.domain.model import Model
from framehouse.domain.task_kind import TaskKind
from framehouse.engines.interface import Abilities
from framehouse.engines.registry import BadRoute, Route, open_registry
from framehouse.settings import CONFIG_NAME, Settings, load_settings
from framehouse.wiring import trust_configured_certificates

MODEL = "kling-v3-omni"
_CONTACT_SHEET = "contact-sheet.png"
_MIN_REFERENCES = 2
"""The number of references that a task with a person and clothes needs."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A candidate, and the result of its trial: the time in seconds and the image file, or the error.

    If the candidate was not tried, there is no image, and `error` is empty.
    """

    candidate: Candidate
    seconds: float = 0.0
    image: Path | None = None
    error: str = ""


def run_setup(
    *,
    comfyui_url: str,
    server_urls: Sequence[str],
    workflow: Path | None,
    timeout_s: float,
    out: Path,
    yes: bool,
    data_dir: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    warnings.filterwarnings("ignore", module="jwt")  # a secret key that is too short is reported as a failed trial
    hide_engine_logs()
    settings = load_settings(config if config and config.exists() else None, data_dir=data_dir)
    trust_configured_certificates(settings)
    path = config or settings.data_dir / CONFIG_NAME
    if path.exists() and not yes:
        kept = "Its models are replaced. Its other settings are kept, without comments. A copy of the file is kept."
        _confirm(f"{path} exists. {kept}", "Replace it?")
    search = find_candidates(
        os.environ,
        comfyui_url=comfyui_url.rstrip("/"),
        server_urls=[url.rstrip("/") for url in server_urls] or SERVER_URLS,
        workflow=workflow,
    )
    with Console(stderr=True, quiet=as_json).status("Looking for GPUs, servers and accounts"):
        candidates = asyncio.run(search)
    if sys.stdin.isatty() and not yes:
        for candidate in candidates:
            if candidate.missing:  # printed before the questions, so that a user can stop before an image costs money
                echo(f"{candidate.title}: {candidate.missing}", err=True)
    chosen = [candidate for candidate in candidates if candidate.route and (yes or _is_wanted(candidate))]
    if chosen:  # an image that cannot be saved may already be paid for
        check_writable(out, "--out")
        check_writable(path.parent, "--config" if config else "--data-dir")
    for candidate in chosen:
        _image_path(out, candidate).unlink(missing_ok=True)  # the image of an earlier trial
    try:
        tried = uvloop.run(_try_all(chosen, out, timeout_s, quiet=as_json))
    except asyncio.CancelledError:
        echo("The settings were not changed.", err=True)
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    working = [attempt for attempt in tried if attempt.image]
    if working:
        images = [attempt.image for attempt in working if attempt.image]
        write_contact_sheet(out / _CONTACT_SHEET, images, [attempt.candidate.title for attempt in working])
        kinds = possible_kinds([_open_route(attempt.candidate).engine.abilities() for attempt in working])
        _write(path, [attempt.candidate.route for attempt in working], kinds)
    attempts = tried + [Attempt(candidate) for candidate in candidates if candidate not in chosen]
    if as_json:
        print_json(_as_json(attempts, path if working else None))
    else:
        echo(_as_text(attempts))
        if working:
            options = [
                *(("--data-dir", str(data_dir)) if data_dir else ()),
                *(("--config", str(config)) if config else ()),
            ]
            echo(f"\nLook at the images: {out / _CONTACT_SHEET}")
            echo(f"Wrote {path}. Now start or restart the server: {shlex.join([program(), 'serve', *options])}")
    if not working:
        raise Problem("No image was generated, so no file was written.")


def _confirm(text: str, question: str) -> None:
    if not sys.stdin.isatty():
        raise Problem(f"{text} To continue, add --yes.")
    if not click.confirm(f"{text} {question}", err=True):
        raise Problem("Nothing was changed.")


def _is_wanted(candidate: Candidate) -> bool:
    """Ask whether to try a candidate. Without a terminal, only candidates that cost nothing are tried."""
    if not sys.stdin.isatty():
        return not candidate.paid
    cost = " This may charge for one image." if candidate.paid else ""
    return click.confirm(f"Generate an image with {candidate.title}?{cost}", default=not candidate.paid, err=True)


def _open_route(candidate: Candidate) -> Route:
    return open_registry([(Model(MODEL), [dict(candidate.route)])]).routes(MODEL)[0]


def _image_path(out: Path, candidate: Candidate) -> Path:
    return out / f"{candidate.name}.png"


async def _try_all(candidates: Sequence[Candidate], out: Path, timeout_s: float, *, quiet: bool) -> list[Attempt]:
    """Generate one image with each candidate.

    The accounts are tried at the same time. The other candidates are tried one after the other, because they may share
    a GPU.
    """
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    own = asyncio.Lock()
    with cancel_on_signals(), Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet) as bar:

        async def try_one(candidate: Candidate) -> Attempt:
            row = bar.add_task(candidate.title, total=1, start=False)
            async with nullcontext() if candidate.paid else own:
                bar.start_task(row)
                attempt = await _try(candidate, _image_path(out, candidate), timeout_s)
            state = "failed" if attempt.error else "done"
            bar.update(row, description=f"{candidate.title}: {state}", completed=1)
            return attempt

        return await asyncio.gather(*map(try_one, candidates))


async def _try(candidate: Candidate, path: Path, timeout_s: float) -> Attempt:
    try:
        route = _open_route(candidate)
    except BadRoute as error:
        return Attempt(candidate, error=str(error))
    try:
        batch = simple_batch(route.engine.abilities(), model=MODEL)
        async with asyncio.timeout(timeout_s):
            result, images = await run_trial(route, candidate.title, batch, lambda _: None)
        if result.error or not images:
            return Attempt(candidate, error=result.error or "no image was generated")
        await asyncio.to_thread(save_image, route.engine, batch, images[0], None, candidate.title, path)
        return Attempt(candidate, result.seconds, path)
    except TimeoutError:
        may_cost = " The service may charge for it nevertheless." if candidate.paid else ""
        return Attempt(candidate, error=f"no image after {timeout_s:g} s.{may_cost} To wait longer, add --timeout")
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
    if path.exists():
        write_file(_free_name(path), path.read_bytes(), permissions=0o600)
    write_file(path, text.encode(), permissions=0o600)


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


def _as_text(attempts: Sequence[Attempt]) -> str:
    if not attempts:
        return (
            "No GPU, no ComfyUI, no model server and no key in the environment was found. "
            "Start a server, or set the key of an account, such as OPENAI_API_KEY (docs/setup.md)."
        )
    lines = [f"{attempt.candidate.title}: {_result(attempt)}" for attempt in attempts]
    if not sys.stdin.isatty() and any(_is_untried_account(attempt) for attempt in attempts):
        lines.append("Accounts may charge for an image. To try them, run the command in a terminal, or add --yes.")
    return "\n".join(lines)


def _is_untried_account(attempt: Attempt) -> bool:
    return attempt.candidate.paid and not (attempt.image or attempt.error or attempt.candidate.missing)


def _result(attempt: Attempt) -> str:
    if attempt.error:
        return f"failed: {attempt.error}"
    if attempt.image:
        return f"works, {attempt.seconds:.1f} s: {attempt.image}"
    if attempt.candidate.missing:
        return attempt.candidate.missing
    return "found, but not tried"


def _as_json(attempts: Sequence[Attempt], path: Path | None) -> dict[str, Any]:
    return {
        "config": str(path) if path else None,
        "candidates": [
            {
                "title": attempt.candidate.title,
                "engine": attempt.candidate.route.get("engine"),
                "missing": attempt.candidate.missing,
                "tried": bool(attempt.image or attempt.error),
                "error": attempt.error,
                "seconds": attempt.seconds,
                "image": str(attempt.image) if attempt.image else None,
            }
            for attempt in attempts
        ],
    }
