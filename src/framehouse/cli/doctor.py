"""framehouse doctor: numbered findings, each with what to do."""

import asyncio
import os
import platform
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from framehouse import __version__
from framehouse.adapters.postgres import account_store
from framehouse.adapters.postgres.queue_metrics import RouteQueue, measure_queue
from framehouse.adapters.postgres.route_health import list_route_health
from framehouse.adapters.postgres.server_check import BadServer, look_at_server
from framehouse.adapters.storage import StorageAway, folder_of, open_storage
from framehouse.cli.output import EXIT_FAILED, print_json
from framehouse.engines.registry import BadRoute, Registry, open_registry
from framehouse.settings import BadSettings, Settings, load_settings, unknown_variables
from framehouse.wiring import open_database

Level = Literal["ok", "advice", "problem"]
_LITTLE_DISK_BYTES = 2_000_000_000
_OLD_S = 60


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, and what to do where something is to be done. The number of a check never changes."""

    number: int
    level: Level
    found: str
    do: str = ""


def run_doctor(data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    findings = _examine(data_dir, config)
    if as_json:
        print_json([{"number": f.number, "level": f.level, "found": f.found, "do": f.do} for f in findings])
    else:
        marks = {"ok": "ok     ", "advice": "advice ", "problem": "PROBLEM"}
        for finding in findings:
            click.echo(f"{finding.number:3}  {marks[finding.level]}  {finding.found}")
            if finding.do:
                click.echo(f"              -> {finding.do}")
    if any(finding.level == "problem" for finding in findings):
        raise click.exceptions.Exit(EXIT_FAILED)


def _examine(data_dir: Path | None, config: Path | None) -> list[Finding]:
    findings = [Finding(1, "ok", f"Framehouse {__version__}, Python {platform.python_version()}, {platform.system()}")]
    try:
        settings = load_settings(config, data_dir=data_dir)
        findings.append(Finding(2, "ok", f"Settings are right; data folder {settings.data_dir}"))
    except BadSettings as error:
        return [*findings, Finding(2, "problem", str(error), "Correct it; docs/settings.md lists all settings.")]
    unknown = unknown_variables()
    if unknown:
        findings.append(
            Finding(3, "advice", f"No setting is named {', '.join(unknown)}", "Correct or unset it; it has no effect.")
        )
    checks: tuple[Callable[[Settings], list[Finding]], ...] = (_disk, _engines, _storage, _database)
    return findings + [finding for check in checks for finding in check(settings)]


def _disk(settings: Settings) -> list[Finding]:
    folder = settings.data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return [
            Finding(
                4, "problem", f"Cannot write to {folder}: {error.strerror}", "Choose another folder with --data-dir."
            )
        ]
    free = shutil.disk_usage(folder).free
    if free < _LITTLE_DISK_BYTES:
        return [
            Finding(
                4, "problem", f"Only {free / 1e9:.1f} GB free for {folder}", "Free some space, or choose another disk."
            )
        ]
    return [Finding(4, "ok", f"{free / 1e9:.0f} GB free; {os.cpu_count()} processor cores")]


def _engines(settings: Settings) -> list[Finding]:
    try:
        registry = open_registry(settings.served_models(), settings.worker_labels)
    except BadRoute as error:
        return [Finding(5, "problem", str(error), "Correct the routes in framehouse.toml.")]
    models = "; ".join(f"{m.name} by {', '.join(r.name for r in registry.routes(m.name))}" for m in registry.models)
    return [Finding(5, "ok", f"Models: {models}"), *asyncio.run(_routes(registry))]


async def _routes(registry: Registry) -> list[Finding]:
    """What the engines depend on that this machine's labels let it paint by, each looked at once."""
    try:
        once = {id(route.engine): (route.name, checks) for _, route, checks in reversed(await registry.check())}
        return [
            Finding(10, "ok" if check.ok else "problem", f"{name}: {check.subject}: {check.reason}", check.advice)
            for name, checks in reversed(once.values())
            for check in checks
        ]
    finally:
        await registry.close()


def _storage(settings: Settings) -> list[Finding]:
    key, content = "doctor/probe", b"framehouse"

    async def probe() -> bytes | None:
        storage = open_storage(settings.effective_storage_url)
        await storage.check()
        await storage.put(key, content)
        found = await storage.get(key)
        await storage.delete([key])
        return found

    try:
        if asyncio.run(probe()) == content:
            kept = [Finding(6, "ok", f"Storage {settings.effective_storage_url} keeps what it is given")]
            if settings.image_delivery == "redirect" and folder_of(settings.effective_storage_url):
                do = "Unset it; it has no effect: image URLs answer with the bytes."
                kept.append(Finding(15, "advice", "image_delivery is redirect, and the storage is a folder", do))
            return kept
        return [Finding(6, "problem", "The storage returned something else than it was given", "Check the bucket.")]
    except StorageAway as error:
        do = "Check FRAMEHOUSE_STORAGE_URL, the bucket's endpoint and its credentials: docs/many-machines.md."
        return [Finding(6, "problem", str(error), do)]


async def _unserved(settings: Settings, served: set[tuple[str, str]], figures: Sequence[RouteQueue]) -> list[Finding]:
    """Routes that no living worker serves: a problem where something waits for one, or where some workers live."""
    registry = open_registry(settings.served_models(), settings.worker_labels)
    await registry.close()
    waiting: Counter[tuple[str, str]] = Counter()
    for row in figures:
        waiting[row.model, registry.route_name(row.model, row.route)] += row.waiting
    findings = []
    for model, route in registry.unserved(served):
        found = f"No living worker serves {model} by {route.name}"
        if count := waiting.pop((model, route.name), 0):
            found += f", for which {count} batches wait"
        level: Level = "problem" if count or (served and route.needs) else "advice"
        findings.append(Finding(12, level, found, f"Start one: framehouse worker {route.label_options}".rstrip() + "."))
    for (model, name), count in waiting.items():
        if count and (model, name) not in served:
            found = f"{count} batches wait for {model} by {name or 'its first route'}, which is not configured"
            findings.append(Finding(12, "problem", found, "Configure it again, or cancel their tasks."))
    return findings


def _database(settings: Settings) -> list[Finding]:
    async def look() -> list[Finding]:
        where = "embedded"
        if settings.database_url:
            server = await look_at_server(settings.database_url, direct_url=settings.direct_database_url)
            where = (
                f"external, {'with' if server.tls else 'without'} TLS{', through a pooler' if server.pooled else ''}"
            )
        async with open_database(settings) as db:
            version = await db.value("show server_version")
            findings = [Finding(7, "ok", f"Database: PostgreSQL {version}, {where}")]
            if settings.direct_database_url and not server.pooled:
                findings.append(
                    Finding(
                        13,
                        "advice",
                        "FRAMEHOUSE_DIRECT_DATABASE_URL is set, and FRAMEHOUSE_DATABASE_URL leads through no pooler",
                        "Unset it: statements are prepared once where there is no pooler.",
                    )
                )
            if settings.direct_database_url and server.direct_pooled:
                findings.append(
                    Finding(
                        14,
                        "advice",
                        "FRAMEHOUSE_DIRECT_DATABASE_URL leads through a pooler, too",
                        "See that it is in session mode, or workers are taken for dead; or name the server itself.",
                    )
                )
            if await db.value("show fsync") != "on":
                findings.append(
                    Finding(
                        7, "problem", "The database runs without fsync", "Turn fsync on: a power cut would lose tasks."
                    )
                )
            known = await account_store.list_accounts(db)
            if any(keys for _, keys in known):
                findings.append(Finding(8, "ok", f"{len(known)} account(s) with keys"))
            else:
                findings.append(
                    Finding(
                        8,
                        "advice",
                        "No account has a key",
                        "framehouse serve makes one; or: framehouse key create default",
                    )
                )
            served = set()
            for found in await list_route_health(db):
                told = f"{found.model} by {found.route}: {found.subject or 'the engine'}: {found.reason}"
                if found.unhealthy:
                    findings.append(Finding(11, "problem", f"A worker reports of {told}", "See its log."))
                else:
                    findings.append(Finding(11, "ok", f"{found.healthy} worker(s) report of {told}"))
                served.add((found.model, found.route))
            figures = await measure_queue(db)
            with suppress(BadRoute):  # number 5 tells
                findings += await _unserved(settings, served, figures)
            queue = f"{sum(row.waiting for row in figures)} batches wait, {sum(row.running for row in figures)} run"
            oldest_s = max((row.oldest_s for row in figures), default=0)
            if oldest_s > _OLD_S:
                findings.append(Finding(9, "problem", f"{queue}; the oldest has waited {oldest_s:.0f} s",
                                        "Start more workers: framehouse worker (or framehouse serve)."))  # fmt: skip
            else:
                findings.append(Finding(9, "ok", queue))
            return findings

    try:
        return asyncio.run(look())
    except BadServer as error:
        return [Finding(7, "problem", str(error), "Correct it; docs/many-machines.md says what the database must be.")]
    except Exception as error:  # noqa: BLE001 - whatever keeps the database away is the finding
        return [Finding(7, "problem", f"The database cannot be used: {error or type(error).__name__}",
                        "Check FRAMEHOUSE_DATABASE_URL, or the end of postgres.log in the data folder.")]  # fmt: skip
