"""framehouse serve | api | worker: the parts together under one supervisor, or apart."""

import asyncio
import errno
import json
import logging
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import uvloop

from framehouse.adapters.postgres import account_store
from framehouse.adapters.postgres.embedded import EmbeddedPostgres
from framehouse.adapters.postgres.sign_in_codes import CODE_LIFE, create_code
from framehouse.cli.output import Problem
from framehouse.domain.account import DEFAULT_ACCOUNT
from framehouse.runtime.log_setup import set_up_logging
from framehouse.runtime.parent_pipe import parent_pipe, stop_with_parent
from framehouse.runtime.stop_signals import StopSignals, catch_stop_signals
from framehouse.runtime.supervisor import SupervisedProcess, keep_running, stop_processes
from framehouse.runtime.trace_export import export_traces
from framehouse.settings import Settings, load_settings
from framehouse.wiring import (
    check,
    open_checked_storage,
    open_database,
    run_api,
    run_worker,
)

log = logging.getLogger("framehouse.serve")
_READY_CHECK_S = 0.05
_READY_LIMIT_S = 60.0
_PORT_PATIENCE_S = 3.0


def listen(host: str, port: int, *, by: str = "--host and --port") -> socket.socket:
    """An open, listening socket. A port that a dying predecessor still holds is waited for. `by`: how
    to choose others."""
    end = time.monotonic() + _PORT_PATIENCE_S
    while True:
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            return socket.create_server((host, port), family=family, backlog=1024)
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            if taken and time.monotonic() < end:
                time.sleep(0.1)
                continue
            why = f"Cannot listen on {host}:{port}: {(error.strerror or str(error)).lower()}."
            advice = f"Choose another with {by.split()[-1]} (0 takes a free one), or stop the program that has it."
            raise Problem(f"{why} {advice if taken else f'Choose others with {by}.'}") from error


def _listen_for_figures(settings: Settings) -> socket.socket:
    where = "worker_metrics_host and worker_metrics_port"
    return listen(settings.worker_metrics_host, settings.worker_metrics_port, by=where)


def run_api_process(
    host: str | None,
    port: int | None,
    listen_fd: int | None,
    worker_metrics: str | None,
    parent_pipe: int | None,
    heartbeat_fd: int | None,
    data_dir: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    settings = load_settings(config, data_dir=data_dir, host=host, port=port)
    set_up_logging(settings.log_level, settings.log_format)
    if parent_pipe is not None:
        stop_with_parent(parent_pipe, gracefully=False)
    listening = listen(settings.host, settings.port) if listen_fd is None else socket.socket(fileno=listen_fd)
    if listen_fd is None:
        _say(settings, f"The API listens on {_url(listening)}", {"url": _url(listening)}, as_json=as_json)
    with export_traces("api", endpoint=settings.otlp_endpoint, ratio=settings.trace_ratio):
        uvloop.run(run_api(settings, listening, heartbeat_fd=heartbeat_fd, worker_metrics=worker_metrics or ""))


def run_worker_process(
    labels: tuple[str, ...],
    metrics_fd: int | None,
    parent_pipe: int | None,
    heartbeat_fd: int | None,
    data_dir: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    settings = load_settings(config, data_dir=data_dir, worker_labels=_labels(labels))
    set_up_logging(settings.log_level, settings.log_format)
    figures = None if metrics_fd is None else socket.socket(fileno=metrics_fd)
    if metrics_fd is None and settings.worker_metrics_port:
        figures = _listen_for_figures(settings)
    if parent_pipe is not None:
        stop_with_parent(parent_pipe, gracefully=True)
    else:
        _say(settings, "The worker starts", {"worker": os.getpid()}, as_json=as_json)
    with export_traces("worker", endpoint=settings.otlp_endpoint, ratio=settings.trace_ratio):
        uvloop.run(run_worker(settings, heartbeat_fd=heartbeat_fd, figures=figures))


def _labels(given: tuple[str, ...]) -> dict[str, str] | None:
    """The labels of the command line; None where there are none."""
    labels: dict[str, str] = {}
    for text in given:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise click.UsageError(f'--label "{text}" is not NAME=VALUE')
        if labels.setdefault(name, value) != value:
            raise click.UsageError(f'--label "{name}" is given twice: a label has one value')
    return labels or None


def _say(settings: Settings, text: str, value: dict[str, object], *, as_json: bool) -> None:
    if not as_json:
        _tell(settings, text)
        return
    click.echo(json.dumps(value))
    sys.stdout.flush()


def _tell(settings: Settings, text: str) -> None:
    """A line for whoever watches, on standard error; where the log is JSON, this is too."""
    if settings.log_format == "json":
        log.info("%s", text)
    else:
        click.echo(text, err=True)


def run_server(host: str | None, port: int | None, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    settings = load_settings(config, data_dir=data_dir, host=host, port=port)
    set_up_logging(settings.log_level, settings.log_format)
    listening = listen(settings.host, settings.port)
    figures = _listen_for_figures(settings)
    settings = settings.model_copy(update={"port": listening.getsockname()[1]})
    embedded = None if settings.database_url else EmbeddedPostgres(settings.data_dir)
    signals = catch_stop_signals()
    try:
        with ThreadPoolExecutor(1) as beside:  # loading the engines takes as long as starting the database
            starting = beside.submit(embedded.start) if embedded else None
            asyncio.run(check(settings))
            if starting:
                starting.result()
        asyncio.run(open_checked_storage(settings))
        _supervise(settings, config, listening, figures, signals, as_json=as_json)
    finally:
        listening.close()
        figures.close()
        if embedded:
            embedded.stop()


async def _first_key(settings: Settings) -> tuple[str, str] | None:
    """At the very first start, the account `default`, its key, which is shown now, and the code of a link that signs in
    to the console. None: there was a key before."""
    async with open_database(settings) as db:
        await account_store.create_account(db, DEFAULT_ACCOUNT)
        account = await account_store.find_account(db, DEFAULT_ACCOUNT)
        assert account is not None
        if await account_store.list_keys(db, account.id):
            return None
        return await account_store.create_key(db, account.id), await create_code(db, account.id)


def _supervise(
    settings: Settings,
    config: Path | None,
    listening: socket.socket,
    figures: socket.socket,
    signals: StopSignals,
    *,
    as_json: bool,
) -> None:
    """Keep API and worker running until a signal; a second signal stops them immediately. Both keep the database
    running."""
    with parent_pipe() as pipe:
        processes = _processes(settings, config, listening, figures, pipe)
        url = _url(listening)
        try:
            if not keep_running(
                processes, signals, until=lambda: _is_ready(url), limit_s=_READY_LIMIT_S, check_s=_READY_CHECK_S
            ):
                raise Problem("The API did not get ready; the lines above say why.")
            if not signals.stop:
                _greet(url, asyncio.run(_first_key(settings)), as_json=as_json)
            keep_running(processes, signals)
            _tell(settings, "Stopping: finishing what is in hand. Ctrl-C again stops at once.")
        finally:
            stop_processes(processes, signals, stop_s=settings.stop_s)


def _processes(
    settings: Settings, config: Path | None, listening: socket.socket, figures: socket.socket, pipe: int
) -> list[SupervisedProcess]:
    """The API and the worker of this server, with the sockets that they inherit."""
    for one in (listening, figures):
        one.set_inheritable(True)
    api_fd, metrics_fd = listening.fileno(), figures.fileno()
    options = ["--parent-pipe", str(pipe), "--data-dir", str(settings.data_dir)]
    options += ["--config", str(config)] if config else []
    commands = {
        "API": ["api", "--listen-fd", str(api_fd), "--worker-metrics", f"{_url(figures)}/metrics"],
        "worker": ["worker", "--metrics-fd", str(metrics_fd)],
    }
    return [
        SupervisedProcess(
            name,
            [sys.executable, "-m", "framehouse", *commands[name], *options],
            pass_fds=(pipe, fd),
            environment={"FRAMEHOUSE_HOST": settings.host, "FRAMEHOUSE_PORT": str(settings.port)},
            hung_after_s=settings.hung_after_s,
        )
        for name, fd in (("API", api_fd), ("worker", metrics_fd))
    ]


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_ready(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/readyz", timeout=2) as answer:
            return int(answer.status) == 200
    except (OSError, urllib.error.URLError):
        return False


def _greet(url: str, first: tuple[str, str] | None, *, as_json: bool) -> None:
    key, code = first or (None, None)
    link = f"{url}/#/sign-in/{code}" if code else None  # after the #: browsers send it to no server, no log has it
    if as_json:
        click.echo(json.dumps({"url": url, "key": key, "console": link or f"{url}/"}))
        sys.stdout.flush()
        return
    lines = [f"Framehouse is ready at {url}  (API: {url}/docs)"]
    if key:
        tasks, head = f"{url}/kling/v1/images/omni-image", f"curl -H 'Authorization: Bearer {key}'"
        prompt = "Create a three-frame product storyboard"
        body = f'{{"model_name": "kling-v3-omni", "prompt": "{prompt}", "result_type": "series"}}'
        minutes = int(CODE_LIFE.total_seconds() / 60)
        lines += [
            f"\nSee it work in a browser; this link signs in once, for {minutes} minutes, on this machine:\n",
            f"    {link}",
            '\nThe key of the account "default", shown this once:\n',
            f"    {key}\n\nTry it:\n",
            f"    {head} -H 'Content-Type: application/json' \\",
            f"      -d '{body}' \\",
            f"      {tasks}\n",
            f"    {head} '{tasks}/<task_id>?wait=30'\n",
        ]
    click.echo("\n".join(lines))
    sys.stdout.flush()
