"""The checks of `framehouse doctor`. The checks return numbered findings, which can contain advice."""

import asyncio
import os
import platform
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import click
import numpy as np

from framehouse import __version__
from framehouse.adapters.images.image_upscaler import (
    UPSCALER,
    UPSCALER_INSTALLATION,
    ImageUpscaler,
    UpscalingFailed,
    upscaler_installed,
)
from framehouse.adapters.postgres import account_store
from framehouse.adapters.postgres.queue_metrics import RouteQueue, measure_queue
from framehouse.adapters.postgres.route_controls import list_route_controls
from framehouse.adapters.postgres.route_health import list_route_health
from framehouse.adapters.postgres.server_check import BadServer, check_server
from framehouse.adapters.storage import StorageUnavailable, folder_of, open_storage
from framehouse.cli.output import EXIT_FAILED, echo, print_json
from framehouse.engines.registry import BadRoute, Registry, open_registry
from framehouse.settings import BadSettings, Settings, load_settings, unknown_variables
from framehouse.wiring import check_signing_files, open_database, trust_configured_certificates

Level = Literal["ok", "advice", "problem"]
_MIN_FREE_DISK_BYTES = 2_000_000_000
_MAX_WAIT_S = 60
_MIN_CERTIFICATE_DAYS = 30


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    """A result of a check. `number` identifies the check and does not change between versions.

    `advice` explains how to solve the problem, and is empty if no action is needed.
    """

    number: int
    level: Level
    text: str
    advice: str = ""


def run_doctor(data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    findings = _run_checks(data_dir, config)
    if as_json:
        print_json([{"number": f.number, "level": f.level, "found": f.text, "do": f.advice} for f in findings])
    else:
        marks = {"ok": "ok     ", "advice": "advice ", "problem": "PROBLEM"}
        for finding in findings:
            echo(f"{finding.number:3}  {marks[finding.level]}  {finding.text}")
            if finding.advice:
                echo(f"              -> {finding.advice}")
    if any(finding.level == "problem" for finding in findings):
        raise click.exceptions.Exit(EXIT_FAILED)


def _run_checks(data_dir: Path | None, config: Path | None) -> list[DoctorFinding]:
    findings = [
        DoctorFinding(1, "ok", f"Framehouse {__version__}, Python {platform.python_version()}, {platform.system()}")
    ]
    try:
        settings = load_settings(config, data_dir=data_dir)
        findings.append(DoctorFinding(2, "ok", f"The settings are valid; data folder: {settings.data_dir}"))
    except BadSettings as error:
        return [
            *findings,
            DoctorFinding(2, "problem", str(error), "Correct the setting; docs/settings.md lists all settings."),
        ]
    unknown = unknown_variables()
    if unknown:
        findings.append(
            DoctorFinding(
                3,
                "advice",
                f"These environment variables have no effect, because no settings match them: {', '.join(unknown)}",
                "Correct the names or unset the variables.",
            )
        )
    checks: tuple[Callable[[Settings], list[DoctorFinding]], ...] = (
        _check_disk,
        _check_engines,
        _check_upscaler,
        _check_signing,
        _check_storage,
        _check_database,
    )
    return findings + [finding for check in checks for finding in check(settings)]


def _check_disk(settings: Settings) -> list[DoctorFinding]:
    folder = settings.data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return [
            DoctorFinding(
                4, "problem", f"Cannot write to {folder}: {error.strerror}", "Choose another folder with --data-dir."
            )
        ]
    free = shutil.disk_usage(folder).free
    if free < _MIN_FREE_DISK_BYTES:
        return [
            DoctorFinding(
                4,
                "problem",
                f"Only {free / 1e9:.1f} GB is free in {folder}",
                "Free some space, or choose another disk.",
            )
        ]
    return [DoctorFinding(4, "ok", f"Disk space: {free / 1e9:.0f} GB free; processor cores: {os.cpu_count()}")]


def _check_engines(settings: Settings) -> list[DoctorFinding]:
    try:
        trust_configured_certificates(settings)
        registry = open_registry(settings.served_models(), settings.worker_labels)
    except BadSettings as error:
        return [DoctorFinding(2, "problem", str(error), "Correct the setting; docs/settings.md lists all settings.")]
    except BadRoute as error:
        return [DoctorFinding(5, "problem", str(error), "Correct the routes in framehouse.toml.")]
    models = "; ".join(f"{m.name} ({', '.join(r.name for r in registry.routes(m.name))})" for m in registry.models)
    return [DoctorFinding(5, "ok", f"Models and their routes: {models}"), *asyncio.run(_check_routes(registry))]


async def _check_routes(registry: Registry) -> list[DoctorFinding]:
    """Check each engine of the routes that a worker with this machine's labels would serve."""
    try:
        # Several routes can share an engine. Its findings then name the first of these routes. The loop runs in reverse
        # order, so the entry of the first route replaces the other entries.
        by_engine = {id(route.engine): (route.name, checks) for _, route, checks in reversed(await registry.check())}
        return [
            DoctorFinding(10, "ok" if check.ok else "problem", f"{name}: {check.subject}: {check.reason}", check.advice)
            for name, checks in reversed(by_engine.values())
            for check in checks
        ]
    finally:
        await registry.close()


def _check_upscaler(settings: Settings) -> list[DoctorFinding]:
    """Enlarge a small image with the upscaler of the extra `upscale`."""
    if settings.upscaling == "lanczos":
        return [DoctorFinding(17, "ok", 'Images are enlarged with Lanczos resampling (upscaling = "lanczos")')]
    if not upscaler_installed():
        text = f"Images are enlarged with Lanczos resampling. For sharper edges: {UPSCALER_INSTALLATION}"
        return [DoctorFinding(17, "ok", text)]

    async def enlarge() -> None:
        upscaler = ImageUpscaler()
        try:
            await upscaler.upscale(np.zeros((16, 16, 3), np.uint8), 2)
        finally:
            await upscaler.close()

    try:
        asyncio.run(enlarge())
    except UpscalingFailed as error:
        text = f"The upscaler does not work, so images are enlarged with Lanczos resampling: {error}"
        advice = f'Install the extra again: {UPSCALER_INSTALLATION}. Or set upscaling = "lanczos".'
        return [DoctorFinding(17, "problem", text, advice)]
    return [DoctorFinding(17, "ok", f"Images are enlarged with {UPSCALER}, and a test image was enlarged")]


def _check_signing(settings: Settings) -> list[DoctorFinding]:
    """Sign a small image with the configured certificate, and check when the certificate expires."""
    if not settings.sign_images:
        return [DoctorFinding(18, "ok", "Images are not signed (sign_images = false)")]
    from framehouse.adapters.content_credentials.certificates import read_certificate

    try:
        identity = check_signing_files(settings)
    except BadSettings as error:
        advice = "Correct the files; docs/provenance.md describes the requirements."
        return [DoctorFinding(18, "problem", str(error), advice)]
    if identity is None:
        text = (
            "Images are signed with a certificate that this deployment has created. Others can detect changes of an "
            "image, but cannot verify who signed it, unless they trust the output of framehouse certificate"
        )
        return [DoctorFinding(18, "ok", text)]
    facts = read_certificate(identity.chain)
    days = (facts.expires_at - datetime.now(UTC)).days
    text = (
        f"Images are signed with the certificate of {facts.subject}, issued by {facts.issuer}; it expires on "
        f"{facts.expires_at:%Y-%m-%d} (in {days} days)"
    )
    if days < _MIN_CERTIFICATE_DAYS:
        return [
            DoctorFinding(18, "advice", text, "Order a new certificate, replace the files and restart the workers.")
        ]
    return [DoctorFinding(18, "ok", text)]


def _check_storage(settings: Settings) -> list[DoctorFinding]:
    key, content = "doctor/probe", b"framehouse"

    async def probe() -> bytes | None:
        storage = open_storage(settings.effective_storage_url)
        await storage.check()
        await storage.put(key, content)
        stored = await storage.get(key)
        await storage.delete([key])
        return stored

    try:
        if asyncio.run(probe()) == content:
            url = settings.effective_storage_url
            findings = [DoctorFinding(6, "ok", f"The storage {url} works; a test file was written, read and deleted")]
            if settings.image_delivery == "redirect" and folder_of(url):
                text = 'image_delivery = "redirect" has no effect, because the storage is a folder'
                advice = "Unset image_delivery. If the storage is a folder, image URLs always return the image."
                findings.append(DoctorFinding(15, "advice", text, advice))
            return findings
        text = "The content that was read from the storage differs from the content that was written"
        return [DoctorFinding(6, "problem", text, "Check the bucket.")]
    except StorageUnavailable as error:
        advice = "Check FRAMEHOUSE_STORAGE_URL, the bucket's endpoint and its credentials; see docs/many-machines.md."
        return [DoctorFinding(6, "problem", str(error), advice)]


async def _check_unserved(
    settings: Settings, served: set[tuple[str, str]], queues: Sequence[RouteQueue]
) -> list[DoctorFinding]:
    """Find routes that no live worker serves, and batches that are waiting for unconfigured routes.

    `served` contains the routes of live workers as (model, route name) pairs. A finding about an unserved route has the
    level `problem` if batches wait for the route. The finding also has this level if the route needs labels and live
    workers serve other routes. Otherwise, the level is `advice`.
    """
    registry = open_registry(settings.served_models(), settings.worker_labels)
    await registry.close()
    waiting: Counter[tuple[str, str]] = Counter()
    for row in queues:
        waiting[row.model, registry.route_name(row.model, row.route)] += row.waiting
    findings = []
    for model, route in registry.unserved(served):
        text = f"No live worker serves the route {route.name} of {model}"
        if count := waiting.pop((model, route.name), 0):
            text += f"; {count} batches are waiting for this route"
        level: Level = "problem" if count or (served and route.needs) else "advice"
        advice = f"Start a worker: framehouse worker {route.label_options}".rstrip()
        findings.append(DoctorFinding(12, level, text, advice))
    for (model, name), count in waiting.items():
        if count and (model, name) not in served:
            text = f"{count} batches are waiting for {f'the route {name}' if name else 'the first route'} of {model}"
            advice = "Configure this route again, or cancel the tasks of these batches."
            findings.append(DoctorFinding(12, "problem", f"{text}, but this route is not configured", advice))
    return findings


def _check_database(settings: Settings) -> list[DoctorFinding]:
    async def check() -> list[DoctorFinding]:
        kind = "embedded"
        if settings.database_url:
            server = await check_server(settings.database_url, direct_url=settings.direct_database_url)
            kind = f"external, {'with' if server.tls else 'without'} TLS{', through a pooler' if server.pooled else ''}"
        async with open_database(settings) as db:
            version = await db.value("show server_version")
            findings = [DoctorFinding(7, "ok", f"Database: PostgreSQL {version}, {kind}")]
            if settings.direct_database_url and not server.pooled:
                findings.append(
                    DoctorFinding(
                        13,
                        "advice",
                        "FRAMEHOUSE_DIRECT_DATABASE_URL is set, but FRAMEHOUSE_DATABASE_URL does not use a pooler",
                        "Unset FRAMEHOUSE_DIRECT_DATABASE_URL, so that prepared statements are reused.",
                    )
                )
            if settings.direct_database_url and server.direct_pooled:
                findings.append(
                    DoctorFinding(
                        14,
                        "advice",
                        "FRAMEHOUSE_DIRECT_DATABASE_URL also uses a pooler",
                        "Set FRAMEHOUSE_DIRECT_DATABASE_URL to the URL of the database server, or make sure that this "
                        "pooler is in session mode. In other modes, live workers are treated as dead.",
                    )
                )
            if await db.value("show fsync") != "on":
                findings.append(
                    DoctorFinding(
                        7,
                        "problem",
                        "The database runs without fsync",
                        "Turn fsync on. Without fsync, a power failure can lose tasks.",
                    )
                )
            accounts = await account_store.list_accounts(db)
            if any(keys for _, keys in accounts):
                findings.append(DoctorFinding(8, "ok", f"Accounts: {len(accounts)}; at least one account has a key"))
            else:
                findings.append(
                    DoctorFinding(
                        8,
                        "advice",
                        "No account has a key",
                        "Start framehouse serve, which creates a key, or run: framehouse key create default",
                    )
                )
            served = set()
            for health in await list_route_health(db):
                state = f"{health.route} of {health.model}: {health.subject or 'the engine'}: {health.reason}"
                if health.unhealthy:
                    findings.append(
                        DoctorFinding(
                            11, "problem", f"A worker reports a problem with {state}", "See the worker's log."
                        )
                    )
                else:
                    findings.append(DoctorFinding(11, "ok", f"{state} (reported by {health.healthy} workers)"))
                served.add((health.model, health.route))
            for (model, name), control in (await list_route_controls(db)).items():
                text = f"An operator has set the route {name} of {model} to the state {control}"
                advice = f"To use the route again: framehouse route resume {model} {name}"
                findings.append(DoctorFinding(16, "advice", text, advice))
            queues = await measure_queue(db)
            with suppress(BadRoute):  # check 5 has already reported this error
                findings += await _check_unserved(settings, served, queues)
            waiting, running = sum(row.waiting for row in queues), sum(row.running for row in queues)
            queue = f"Batches: {waiting} waiting, {running} running"
            oldest_s = max((row.oldest_s for row in queues), default=0)
            if oldest_s > _MAX_WAIT_S:
                findings.append(
                    DoctorFinding(
                        9,
                        "problem",
                        f"{queue}; the oldest batch has been waiting for {oldest_s:.0f} s",
                        "Start more workers: framehouse worker, or framehouse serve.",
                    )
                )
            else:
                findings.append(DoctorFinding(9, "ok", queue))
            return findings

    try:
        return asyncio.run(check())
    except BadServer as error:
        return [DoctorFinding(7, "problem", str(error), "See docs/many-machines.md for the database requirements.")]
    except Exception as error:  # noqa: BLE001 - every failure is reported as a finding
        return [
            DoctorFinding(
                7,
                "problem",
                f"The database cannot be used: {error or type(error).__name__}",
                "Check FRAMEHOUSE_DATABASE_URL and the last lines of postgres.log in the data folder.",
            )
        ]
