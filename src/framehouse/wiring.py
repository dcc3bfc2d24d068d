"""Create adapters and entrypoints from the settings, and run the processes.

Large modules are imported in the functions that use them, because the supervisor and small commands do not need them.
"""

from __future__ import annotations

import asyncio
import io
import logging
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from framehouse import __version__
from framehouse.adapters.postgres.account_store import shared_secret
from framehouse.adapters.postgres.embedded import EmbeddedPostgres
from framehouse.adapters.postgres.migrate import migrate
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.postgres.server_check import check_server
from framehouse.adapters.storage import Storage, StorageMisconfigured, StorageUnavailable, open_storage
from framehouse.runtime.database_restart import keep_database_running
from framehouse.runtime.process_limits import (
    freeze_loaded_objects,
    limit_malloc_arenas,
    open_file_limit,
    raise_file_limit,
)
from framehouse.runtime.stoppable_start import stoppable_start
from framehouse.runtime.watchdog import watchdog
from framehouse.settings import BadSettings, Settings

if TYPE_CHECKING:
    from pathlib import Path

    from framehouse.adapters.content_credentials.certificates import SigningIdentity
    from framehouse.adapters.content_credentials.credential_signer import CredentialSigner
    from framehouse.adapters.images.image_upscaler import ImageUpscaler
    from framehouse.domain.signed_urls import Links
    from framehouse.engines.registry import Registry
    from framehouse.entrypoints.element_worker import ElementWorker
    from framehouse.entrypoints.worker.worker import Worker

log = logging.getLogger(__name__)
SIGN_URLS = "sign_urls"
API_POOL, WORKER_POOL, BUSY_POOL, TOOL_POOL = 16, 8, 16, 4


@dataclass(frozen=True, slots=True)
class Deployment:
    """The resources that are open while a process runs."""

    settings: Settings
    db: Database
    storage: Storage
    registry: Registry


@asynccontextmanager
async def open_database(settings: Settings, *, size: int = TOOL_POOL) -> AsyncIterator[Database]:
    """Open the database that the settings specify, and migrate it.

    If the settings contain no database URL, this function starts the embedded database, and restarts it if it dies. The
    last process that uses the embedded database stops it. The calls that start and stop the embedded database block
    the event loop on purpose, so that a cancellation cannot interrupt them.
    """
    embedded = None if settings.database_url else EmbeddedPostgres(settings.data_dir)
    restarter = None
    try:
        if embedded:
            embedded.start()
            restarter = asyncio.create_task(keep_database_running(embedded))
        url, direct_url = embedded.url if embedded else settings.database_url, settings.direct_database_url
        if not embedded:
            await check_server(url, direct_url=direct_url)
        await migrate(direct_url or url)
        db = Database(url, size=size, direct_url=direct_url)
        await db.open()
        try:
            yield db
        finally:
            await db.close()
    finally:
        if restarter:
            restarter.cancel()
        if embedded:
            embedded.stop()


@asynccontextmanager
async def open_deployment(settings: Settings, *, size: int) -> AsyncIterator[Deployment]:
    """Open the database, the storage and the engines."""
    from framehouse.adapters.reference_files.file_types import accept_types
    from framehouse.adapters.storage.measured import MeasuredStorage
    from framehouse.engines.registry import open_registry

    trust_configured_certificates(settings)
    accept_types(settings.reference_types)
    registry = open_registry(
        settings.served_models(), settings.worker_labels, settings.default_model, sandbox=settings.sandbox
    )
    try:
        # the database is opened first, because opening it creates the data folder with the right permissions
        async with open_database(settings, size=size) as db:
            storage = MeasuredStorage(await open_checked_storage(settings))
            yield Deployment(settings, db, storage, registry)
    finally:
        await registry.close()


def trust_configured_certificates(settings: Settings) -> None:
    """Trust the authorities of the setting `ca_certificates`. Raises BadSettings if the file cannot be used."""
    if settings.ca_certificates is None:
        return
    from framehouse.adapters.tls import trust_certificates

    try:
        trust_certificates(settings.ca_certificates)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BadSettings(f"ca_certificates: {settings.ca_certificates}: {reason}") from error


async def open_checked_storage(settings: Settings) -> Storage:
    """Open the storage and check it. Raises StorageMisconfigured.

    If the storage does not respond, only a warning is logged, because the storage may recover, and because polls work
    without the storage.
    """
    storage = open_storage(settings.effective_storage_url)
    try:
        await storage.check()
    except StorageMisconfigured:
        raise
    except StorageUnavailable as error:
        log.warning("%s", error)
    return storage


async def check(settings: Settings) -> None:
    """Check the settings for errors that would make every process of a server fail during startup.

    Run this check before the processes start.

    Logs a warning for each route that needs a label which this server's own worker does not have. Raises
    BadRoute, BadSettings or BadServer.
    """
    from framehouse.engines.registry import open_registry

    trust_configured_certificates(settings)
    registry = open_registry(settings.served_models(), settings.worker_labels)
    for model, route in registry.unserved():
        log.warning(
            "model %s: this server's own worker does not serve the route %s, which needs the labels %s",
            model,
            route.name,
            route.needed_labels,
        )
    await registry.close()
    if settings.database_url:
        await check_server(settings.database_url, direct_url=settings.direct_database_url)
    if settings.watermark_logo:
        _read_logo(settings.watermark_logo)
    check_signing_files(settings)


def _read_logo(path: Path) -> bytes:
    """Read the logo and check that it is an image. Raises BadSettings.

    A process reads the file only during startup. Images can therefore be generated even if the file is removed later.
    """
    from PIL import Image

    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except (OSError, ValueError, SyntaxError) as error:
        raise BadSettings(f"Settings: watermark_logo: cannot read {path}: {error}") from error
    return content


def open_upscaler(settings: Settings) -> ImageUpscaler | None:
    """Return an upscaler, or None if it is not installed or turned off."""
    from framehouse.adapters.images.image_upscaler import ImageUpscaler, upscaler_installed

    return ImageUpscaler() if settings.upscaling == "auto" and upscaler_installed() else None


async def open_signer(settings: Settings, db: Database) -> CredentialSigner | None:
    """Return the signer of images, or None if images are not signed.

    Raises BadSettings if the configured certificate or its key cannot be used.
    """
    if not settings.sign_images:
        return None
    from framehouse.adapters.content_credentials.credential_signer import CredentialSigner
    from framehouse.adapters.postgres.signing_identities import known_chains, own_identity, remember_chain

    identity = await asyncio.to_thread(check_signing_files, settings) or await own_identity(db)
    await remember_chain(db, identity)
    return CredentialSigner(identity, anchors="\n".join(await known_chains(db)), time_stamp_url=settings.time_stamp_url)


def check_signing_files(settings: Settings) -> SigningIdentity | None:
    """Sign a small image with the configured certificate, if images are signed and a certificate is configured.

    Returns the certificate. Raises BadSettings if the files cannot be read, or if the certificate cannot sign images.
    """
    if not settings.sign_images or (identity := read_signing_files(settings)) is None:
        return None
    from framehouse.adapters.content_credentials.credential_signer import CredentialSigner
    from framehouse.adapters.content_credentials.manifests import SigningFailed

    try:
        CredentialSigner(identity).check()
    except SigningFailed as error:
        message = f"the certificate in {settings.signing_certificate} cannot sign images: {error}"
        raise BadSettings(f"Settings: signing_certificate: {message}") from error
    return identity


def read_signing_files(settings: Settings) -> SigningIdentity | None:
    """Return the configured certificate and its key, or None if no certificate is configured. Raises BadSettings."""
    if settings.signing_certificate is None or settings.signing_key is None:
        return None
    from framehouse.adapters.content_credentials.certificates import read_identity

    try:
        chain, key = settings.signing_certificate.read_bytes(), settings.signing_key.read_bytes()
    except OSError as error:
        raise BadSettings(f"Settings: signing_certificate, signing_key: {error.filename}: {error.strerror}") from error
    try:
        return read_identity(chain, key)
    except ValueError as error:
        files = f"{settings.signing_certificate} and {settings.signing_key}"
        raise BadSettings(f"Settings: signing_certificate, signing_key: {files}: {error}") from error


def build_worker(
    deployment: Deployment,
    signer: CredentialSigner | None,
    links: Links | None = None,
    *,
    only_task: UUID | None = None,
) -> Worker:
    """Create a worker. `only_task` restricts the worker to one task. `links` creates the URLs of upstream callbacks."""
    from framehouse.entrypoints.worker.worker import Limits, Worker
    from framehouse.pipeline.finish import Finishing
    from framehouse.pipeline.generate import Rules

    s = deployment.settings
    finishing = Finishing(
        software=f"Framehouse {__version__}",
        format=s.image_format,
        quality=s.image_quality,
        watermark_text=s.watermark_text,
        watermark_logo=_read_logo(s.watermark_logo) if s.watermark_logo else b"",
        label_producer=s.label_producer,
        explicit_label=s.explicit_label,
        signer=signer,
        require_signature=s.unsigned_images == "fail",
        show_prompt=s.prompt_in_images,
    )
    rules = Rules(finishing, timedelta(days=s.retention_days), s.allow_private_addresses)
    if links and s.public_url:
        rules = replace(rules, upstream_callback_url=links.make_upstream_callback_url)
    concurrency = s.worker_concurrency or max(2, deployment.registry.concurrency)
    limits = Limits(concurrency, s.lease_s, s.stop_s, s.attempts, s.give_up_after_s)
    return Worker(
        deployment.db,
        deployment.storage,
        deployment.registry,
        rules,
        limits,
        upscaler=open_upscaler(s),
        only_task=only_task,
    )


def build_element_worker(deployment: Deployment, *, only_task: UUID | None = None) -> ElementWorker:
    """Create an element worker. `only_task` restricts the element worker to the element with this task id."""
    from framehouse.entrypoints.element_worker import ElementWorker

    s = deployment.settings
    return ElementWorker(
        deployment.db,
        deployment.storage,
        allow_private=s.allow_private_addresses,
        attempts=s.attempts,
        only_task=only_task,
    )


async def open_links(settings: Settings, db: Database) -> Links:
    """Return the links for the images in callbacks."""
    from framehouse.domain.signed_urls import Links

    return Links(await shared_secret(db, SIGN_URLS), settings.image_base_url)


async def run_api(
    settings: Settings, listening: socket.socket, *, heartbeat_fd: int | None = None, worker_metrics: str = ""
) -> None:
    """Serve the API on an open socket until SIGTERM or SIGINT arrives.

    For `heartbeat_fd`, see `watchdog`; for `worker_metrics`, see `build_api`.
    """
    raise_file_limit()
    import uvicorn

    from framehouse.domain.signed_urls import Links
    from framehouse.entrypoints.api.api_app import build_api
    from framehouse.entrypoints.api.connection_limits import limits_for, server_config

    async with (
        stoppable_start(),
        open_deployment(settings, size=API_POOL) as deployment,
        watchdog(heartbeat_fd, hung_after_s=settings.hung_after_s),
    ):
        limits = limits_for(open_file_limit())
        app = build_api(
            db=deployment.db,
            storage=deployment.storage,
            registry=deployment.registry,
            links=Links(await shared_secret(deployment.db, SIGN_URLS), settings.public_url.rstrip("/")),
            path_prefixes=settings.path_prefixes,
            requests_per_second=settings.requests_per_second,
            retention=timedelta(days=settings.retention_days),
            max_body_bytes=settings.max_body_bytes,
            worker_metrics=worker_metrics,
            redirect_images=settings.image_delivery == "redirect",
            allow_private=settings.allow_private_addresses,
            image_base_url=settings.image_base_url,
            max_long_polls=limits.max_connections // 2,
        )
        config = server_config(app, limits, stop_s=settings.stop_s)

        class Server(uvicorn.Server):
            async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
                app.end_long_polls()
                await super().shutdown(sockets)

        server = Server(config)
        for number in (signal.SIGTERM, signal.SIGINT):
            # uvicorn installs this handler only when it starts to serve, so an earlier signal would not reach the
            # handler
            signal.signal(number, server.handle_exit)
        freeze_loaded_objects()
        await server.serve(sockets=[listening])


async def run_worker(
    settings: Settings, *, heartbeat_fd: int | None = None, metrics_socket: socket.socket | None = None
) -> None:
    """Generate images, process elements, deliver callbacks and run the sweeper, until SIGTERM or SIGINT arrives.

    Metrics are exposed on `metrics_socket`, if it is not None. For `heartbeat_fd`, see `watchdog`.
    """
    raise_file_limit()
    limit_malloc_arenas()
    from framehouse.adapters.postgres.callback_queue import save_address_rule
    from framehouse.entrypoints.callback_worker import CallbackWorker
    from framehouse.entrypoints.sweeper import run_sweeper
    from framehouse.entrypoints.worker_metrics import serve_worker_metrics

    size = WORKER_POOL + min(settings.worker_concurrency or BUSY_POOL, BUSY_POOL)
    async with (
        stoppable_start(),
        open_deployment(settings, size=size) as deployment,
        watchdog(heartbeat_fd, hung_after_s=settings.hung_after_s),
        serve_worker_metrics(metrics_socket),
    ):
        links = await open_links(settings, deployment.db)
        worker = build_worker(deployment, await open_signer(settings, deployment.db), links)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, worker.stop)
        await save_address_rule(deployment.db, allow_private=settings.allow_private_addresses)
        callback_worker = CallbackWorker(deployment.db, links, allow_private=settings.allow_private_addresses)
        background = [
            asyncio.create_task(
                run_sweeper(
                    deployment.db,
                    deployment.storage,
                    lease_s=settings.lease_s,
                    history=timedelta(days=settings.history_days),
                )
            ),
            asyncio.create_task(callback_worker.run()),
            asyncio.create_task(build_element_worker(deployment).run()),
        ]
        # a background task ends only if it fails; the worker then stops, so that the process can be restarted
        for task in background:
            task.add_done_callback(lambda _: worker.stop())
        try:
            await worker.run()
            for task in background:
                if task.done():
                    task.result()
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
