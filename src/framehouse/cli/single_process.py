"""The implementation of `framehouse api` and `framehouse worker`.

Each command runs one process of a server, either alone or under the supervisor of `framehouse serve`.
"""

import logging
import os
import signal
import socket
import sys
from pathlib import Path

import click
import uvloop

from framehouse.cli.listening_socket import listen, listen_for_metrics, url_of
from framehouse.cli.output import echo, json_text
from framehouse.runtime.log_setup import set_up_logging
from framehouse.runtime.parent_pipe import stop_with_parent
from framehouse.runtime.trace_export import export_traces
from framehouse.settings import Settings, load_settings
from framehouse.wiring import run_api, run_worker

log = logging.getLogger("framehouse.serve")


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
    signal.signal(signal.SIGTERM, _exit)
    settings = load_settings(config, data_dir=data_dir, host=host, port=port)
    set_up_logging(settings.log_level, settings.log_format)
    if parent_pipe is not None:
        stop_with_parent(parent_pipe, gracefully=False)
    api_socket = listen(settings.host, settings.port) if listen_fd is None else socket.socket(fileno=listen_fd)
    if listen_fd is None:
        url = url_of(api_socket)
        _print_start(settings, f"The API listens on {url}", {"url": url}, as_json=as_json)
    with export_traces("api", endpoint=settings.otlp_endpoint, ratio=settings.trace_ratio):
        uvloop.run(run_api(settings, api_socket, heartbeat_fd=heartbeat_fd, worker_metrics=worker_metrics or ""))


def run_worker_process(
    labels: tuple[str, ...],
    metrics_fd: int | None,
    parent_pipe: int | None,
    heartbeat_fd: int | None,
    data_dir: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    signal.signal(signal.SIGTERM, _exit)
    settings = load_settings(config, data_dir=data_dir, worker_labels=_labels(labels))
    set_up_logging(settings.log_level, settings.log_format)
    metrics_socket = None if metrics_fd is None else socket.socket(fileno=metrics_fd)
    if metrics_fd is None and settings.worker_metrics_port:
        metrics_socket = listen_for_metrics(settings)
    if parent_pipe is not None:
        stop_with_parent(parent_pipe, gracefully=True)
    else:
        _print_start(settings, "The worker is starting", {"worker": os.getpid()}, as_json=as_json)
    with export_traces("worker", endpoint=settings.otlp_endpoint, ratio=settings.trace_ratio):
        uvloop.run(run_worker(settings, heartbeat_fd=heartbeat_fd, metrics_socket=metrics_socket))


def _exit(_number: int, _frame: object) -> None:
    """Exit immediately if SIGTERM arrives early during startup. Later, `stoppable_start` handles SIGTERM."""
    os._exit(0)


def _labels(options: tuple[str, ...]) -> dict[str, str] | None:
    """Return the labels on the command line, or None if there are none. Raises UsageError if a label is invalid."""
    labels: dict[str, str] = {}
    for text in options:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise click.UsageError(f'--label must have the form NAME=VALUE, not "{text}"')
        if labels.setdefault(name, value) != value:
            raise click.UsageError(f'--label "{name}" has two values; a label can have only one value')
    return labels or None


def _print_start(settings: Settings, text: str, value: dict[str, object], *, as_json: bool) -> None:
    if not as_json:
        print_status(settings, text)
        return
    echo(json_text(value))
    sys.stdout.flush()


def print_status(settings: Settings, text: str) -> None:
    """Print a line to standard error, or log it if the log format is JSON."""
    if settings.log_format == "json":
        log.info("%s", text)
    else:
        echo(text, err=True)
