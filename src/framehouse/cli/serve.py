"""The implementation of `framehouse serve`, which runs the database, the API and a worker under one supervisor."""

import asyncio
import socket
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from framehouse.adapters.postgres import account_store
from framehouse.adapters.postgres.embedded import EmbeddedPostgres
from framehouse.adapters.postgres.sign_in_codes import CODE_LIFE, create_code
from framehouse.cli.listening_socket import listen, listen_for_metrics, url_of
from framehouse.cli.output import Problem, echo, json_text, program
from framehouse.cli.single_process import print_status
from framehouse.domain.account import DEFAULT_ACCOUNT
from framehouse.runtime.log_setup import set_up_logging
from framehouse.runtime.parent_pipe import parent_pipe
from framehouse.runtime.stop_signals import StopSignals, catch_stop_signals
from framehouse.runtime.supervisor import SupervisedProcess, keep_running, stop_processes
from framehouse.settings import Settings, load_settings
from framehouse.wiring import check, open_checked_storage, open_database

_READY_CHECK_S = 0.05
_READY_LIMIT_S = 60.0
_WATCHDOG_MARGIN_S = 1.0
"""The time in seconds by which the supervisor's limit for a hung process exceeds the limit of the process's own
watchdog. Usually, the watchdog writes a traceback and kills the process before the supervisor does."""


def run_server(host: str | None, port: int | None, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    settings = load_settings(config, data_dir=data_dir, host=host, port=port)
    set_up_logging(settings.log_level, settings.log_format)
    api_socket = listen(settings.host, settings.port)
    metrics_socket = listen_for_metrics(settings)
    settings = settings.model_copy(update={"port": api_socket.getsockname()[1]})
    embedded = None if settings.database_url else EmbeddedPostgres(settings.data_dir)
    signals = catch_stop_signals()
    try:
        with ThreadPoolExecutor(1) as executor:  # in parallel, because the database and the engines both start slowly
            starting = executor.submit(embedded.start) if embedded else None
            asyncio.run(check(settings))
            if starting:
                starting.result()
        asyncio.run(open_checked_storage(settings))
        _supervise(settings, config, api_socket, metrics_socket, signals, as_json=as_json)
    finally:
        api_socket.close()
        metrics_socket.close()
        if embedded:
            embedded.stop()


async def _first_key(settings: Settings) -> tuple[str, str] | None:
    """Create the account `default` and its first key. Returns the key and a sign-in code for the console.

    Returns None if the account already has a key.
    """
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
    api_socket: socket.socket,
    metrics_socket: socket.socket,
    signals: StopSignals,
    *,
    as_json: bool,
) -> None:
    """Keep the API process and the worker running until a stop signal arrives.

    A second signal kills both processes immediately. If the embedded database dies, these processes restart the
    database.
    """
    with parent_pipe() as pipe:
        processes = _processes(settings, config, api_socket, metrics_socket, pipe)
        url = url_of(api_socket)
        try:
            if not keep_running(
                processes, signals, until=lambda: _is_ready(url), limit_s=_READY_LIMIT_S, check_s=_READY_CHECK_S
            ):
                raise Problem(f"The API was not ready after {_READY_LIMIT_S:.0f} s. See the log lines above.")
            if not signals.stop:
                previews = all(route.get("engine") == "previz" for m in settings.models.values() for route in m.routes)
                _print_ready(url, asyncio.run(_first_key(settings)), only_previews=previews, as_json=as_json)
            keep_running(processes, signals)
            print_status(
                settings, "Stopping after the batches in progress have ended. Press Ctrl-C again to stop immediately."
            )
        finally:
            stop_processes(processes, signals, stop_s=settings.stop_s)


def _processes(
    settings: Settings, config: Path | None, api_socket: socket.socket, metrics_socket: socket.socket, pipe: int
) -> list[SupervisedProcess]:
    """Return the API process and the worker process. Each process inherits its listening socket and the parent pipe."""
    for listening in (api_socket, metrics_socket):
        listening.set_inheritable(True)
    api_fd, metrics_fd = api_socket.fileno(), metrics_socket.fileno()
    options = ["--parent-pipe", str(pipe), "--data-dir", str(settings.data_dir)]
    options += ["--config", str(config)] if config else []
    commands = {
        "API": ["api", "--listen-fd", str(api_fd), "--worker-metrics", f"{url_of(metrics_socket)}/metrics"],
        "worker": ["worker", "--metrics-fd", str(metrics_fd)],
    }
    return [
        SupervisedProcess(
            name,
            [sys.executable, "-m", "framehouse", *commands[name], *options],
            pass_fds=(pipe, fd),
            environment={"FRAMEHOUSE_HOST": settings.host, "FRAMEHOUSE_PORT": str(settings.port)},
            hung_after_s=settings.hung_after_s + _WATCHDOG_MARGIN_S,
        )
        for name, fd in (("API", api_fd), ("worker", metrics_fd))
    ]


def _is_ready(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/readyz", timeout=2) as response:
            return int(response.status) == 200
    except (OSError, urllib.error.URLError):
        return False


def _print_ready(url: str, key_and_code: tuple[str, str] | None, *, only_previews: bool, as_json: bool) -> None:
    key, code = key_and_code or (None, None)
    # Browsers do not send the fragment of a URL to the server, so no log contains the code.
    link = f"{url}/#/sign-in/{code}" if code else None
    if as_json:
        echo(json_text({"url": url, "key": key, "console": link or f"{url}/"}))
        sys.stdout.flush()
        return
    lines = [f"Framehouse is ready at {url}  (API: {url}/docs)"]
    if only_previews:
        lines.append(f"The built-in engine draws previews. To generate images with a model: {program()} setup")
    if key:
        tasks, head = f"{url}/kling/v1/images/omni-image", f"curl -H 'Authorization: Bearer {key}'"
        prompt = "Create a three-frame product storyboard"
        body = f'{{"model_name": "kling-v3-omni", "prompt": "{prompt}", "result_type": "series"}}'
        minutes = int(CODE_LIFE.total_seconds() / 60)
        lines += [
            "\nTo sign in to the console from a browser on this machine, use this link. "
            f"The link works once and expires after {minutes} minutes:\n",
            f"    {link}",
            '\nThe API key of the account "default", which is shown only once:\n',
            f"    {key}\n\nExample requests:\n",
            f"    {head} -H 'Content-Type: application/json' \\",
            f"      -d '{body}' \\",
            f"      {tasks}\n",
            f"    {head} '{tasks}/<task_id>?wait=30'\n",
        ]
    echo("\n".join(lines))
    sys.stdout.flush()
