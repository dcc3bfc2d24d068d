"""framehouse serve | api | worker: the parts together under one supervisor, or apart."""

import asyncio
import contextlib
import errno
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import click
import uvloop

from framehouse.adapters.postgres import account_store
from framehouse.adapters.postgres.embedded import EmbeddedPostgres
from framehouse.adapters.postgres.sign_in_codes import CODE_LIFE, create_code
from framehouse.cli.commands import Problem
from framehouse.domain.account import DEFAULT_ACCOUNT
from framehouse.settings import Settings, load_settings
from framehouse.wiring import (
    check,
    end_with_parent,
    open_checked_storage,
    open_database,
    run_api,
    run_worker,
    set_up_logging,
    tracing,
)

log = logging.getLogger("framehouse.serve")
_LOOK_S = 0.25
_LONGEST_PAUSE_S = 30.0
_HEALTHY_S = 60.0
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


def api(
    host: str | None,
    port: int | None,
    listen_fd: int | None,
    worker_metrics: str | None,
    parent_pipe: int | None,
    beat_fd: int | None,
    data_dir: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    settings = load_settings(config, data_dir=data_dir, host=host, port=port)
    set_up_logging(settings.log_level, settings.log_format)
    if parent_pipe is not None:
        end_with_parent(parent_pipe, gracefully=False)
    listening = listen(settings.host, settings.port) if listen_fd is None else socket.socket(fileno=listen_fd)
    if listen_fd is None:
        _say(settings, f"The API listens on {_url(listening)}", {"url": _url(listening)}, as_json=as_json)
    with tracing(settings, "api"):
        uvloop.run(run_api(settings, listening, beat_fd=beat_fd, worker_metrics=worker_metrics or ""))


def worker(
    labels: tuple[str, ...],
    metrics_fd: int | None,
    parent_pipe: int | None,
    beat_fd: int | None,
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
        end_with_parent(parent_pipe, gracefully=True)
    else:
        _say(settings, "The worker starts", {"worker": os.getpid()}, as_json=as_json)
    with tracing(settings, "worker"):
        uvloop.run(run_worker(settings, beat_fd=beat_fd, figures=figures))


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


def serve(host: str | None, port: int | None, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    settings = load_settings(config, data_dir=data_dir, host=host, port=port)
    set_up_logging(settings.log_level, settings.log_format)
    listening = listen(settings.host, settings.port)
    figures = _listen_for_figures(settings)
    settings = settings.model_copy(update={"port": listening.getsockname()[1]})
    embedded = None if settings.database_url else EmbeddedPostgres(settings.data_dir)
    stop = _catch_signals()
    try:
        with ThreadPoolExecutor(1) as beside:  # loading the engines takes as long as starting the database
            starting = beside.submit(embedded.start) if embedded else None
            asyncio.run(check(settings))
            if starting:
                starting.result()
        asyncio.run(open_checked_storage(settings))
        _supervise(settings, config, listening, figures, stop, as_json=as_json)
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


@dataclass(slots=True)
class _Signals:
    """How often we were told to stop."""

    count: int = 0


def _catch_signals() -> _Signals:
    stop = _Signals()

    def told(_number: int, _frame: object) -> None:
        stop.count += 1

    signal.signal(signal.SIGTERM, told)
    signal.signal(signal.SIGINT, told)
    return stop


@dataclass(slots=True)
class _Part:
    """A supervised process: restarted when it ends unasked, with growing pauses, and when it hangs.

    Once it has shown on its pipe that it lives, it must go on to. Silence counts by our own looks, each for little, so
    that a pause of the whole machine ends nobody.
    """

    name: str
    command: list[str]
    pass_fds: tuple[int, ...]
    environment: dict[str, str]
    most_silent_s: float
    process: subprocess.Popen[bytes] | None = None
    beats: int = -1
    silent_s: float | None = None
    looked_at: float = 0.0
    started_at: float = 0.0
    pause_s: float = 0.0
    due_at: float = field(default=0.0)

    def look(self) -> None:
        now = time.monotonic()
        if self.process is None:
            if now >= self.due_at:
                self._start(now)
            return
        code = self.process.poll()
        if code is None:
            self._listen(self.process, now)
            if now - self.started_at > _HEALTHY_S:
                self.pause_s = 0.0
            return
        os.close(self.beats)
        log.error("the %s process ended with code %s; starting it again in %.1f s", self.name, code, self.pause_s)
        self.process, self.due_at = None, now + self.pause_s
        self.pause_s = min(_LONGEST_PAUSE_S, self.pause_s * 2 or 0.5)

    def _start(self, now: float) -> None:
        self.beats, theirs = os.pipe()
        os.set_blocking(self.beats, False)
        self.process = subprocess.Popen(  # noqa: S603
            [*self.command, "--beat-fd", str(theirs)],
            pass_fds=(*self.pass_fds, theirs),
            start_new_session=True,
            env=os.environ | self.environment,
        )
        os.close(theirs)
        self.started_at, self.silent_s = now, None

    def _listen(self, process: subprocess.Popen[bytes], now: float) -> None:
        passed_s, self.looked_at = min(now - self.looked_at, 2 * _LOOK_S), now
        with contextlib.suppress(BlockingIOError):
            if os.read(self.beats, 4096):
                self.silent_s = 0.0
                return
        if self.silent_s is not None:
            self.silent_s += passed_s
            if self.silent_s > self.most_silent_s:
                log.error("the %s process hangs and is ended", self.name)
                process.kill()


def _supervise(
    settings: Settings,
    config: Path | None,
    listening: socket.socket,
    figures: socket.socket,
    stop: _Signals,
    *,
    as_json: bool,
) -> None:
    """Keep API and worker running until told to stop; told twice, stop at once. Both look after the database."""
    ours, theirs = os.pipe()  # its closing tells the children that we are gone, however we went
    command = [sys.executable, "-m", "framehouse"]
    options = ["--parent-pipe", str(ours), "--data-dir", str(settings.data_dir)]
    options += ["--config", str(config)] if config else []
    for one in (listening, figures):
        one.set_inheritable(True)
    fd, metrics_fd = listening.fileno(), figures.fileno()
    told = ["--worker-metrics", f"{_url(figures)}/metrics"]
    where = {"FRAMEHOUSE_HOST": settings.host, "FRAMEHOUSE_PORT": str(settings.port)}
    parts = [
        _Part(
            "API", [*command, "api", "--listen-fd", str(fd), *told, *options], (ours, fd), where, settings.hung_after_s
        ),
        _Part(
            "worker",
            [*command, "worker", "--metrics-fd", str(metrics_fd), *options],
            (ours, metrics_fd),
            where,
            settings.hung_after_s,
        ),
    ]
    url, ready, began = _url(listening), False, time.monotonic()
    try:
        while not stop.count:
            for part in parts:
                part.look()
            if not ready:
                ready = _is_ready(url)
                if ready:
                    _greet(url, asyncio.run(_first_key(settings)), as_json=as_json)
                elif time.monotonic() - began > _READY_LIMIT_S:
                    raise Problem("The API did not get ready; the lines above say why.")
            time.sleep(_LOOK_S if ready else 0.05)
        _tell(settings, "Stopping: finishing what is in hand. Ctrl-C again stops at once.")
    finally:
        _stop_parts(parts, stop, settings.stop_s)
        os.close(ours)
        os.close(theirs)


def _stop_parts(parts: list[_Part], stop: _Signals, stop_s: float) -> None:
    """Ask all to stop, wait as long as they may take, then end what is left."""
    running = [part.process for part in parts if part.process and part.process.poll() is None]
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
    end = time.monotonic() + stop_s + 5
    while any(process.poll() is None for process in running) and time.monotonic() < end and stop.count < 2:
        time.sleep(0.02)
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait()


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
