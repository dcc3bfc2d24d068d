"""framehouse serve | api | worker"""

from pathlib import Path

import click

from framehouse.cli.options import data_options, json_option

_heartbeat_option = click.option("--heartbeat-fd", "--beat-fd", type=int, hidden=True)
"""A supervisor that has run since before an upgrade passes the older name."""


@click.command()
@click.option("--host", help="Address to listen on. [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one. [default: 8000]")
@data_options
@json_option
def serve(host: str | None, port: int | None, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """Run everything on this machine: database, API, worker, sweeper.

    The first start makes the account "default" with an API key, and shows the key once.
    """
    from framehouse.cli.serve import run_server

    run_server(host=host, port=port, data_dir=data_dir, config=config, as_json=as_json)


@click.command()
@click.option("--host", help="Address to listen on. [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on. [default: 8000]")
@click.option("--listen-fd", type=int, hidden=True)
@click.option("--worker-metrics", hidden=True)
@click.option("--parent-pipe", type=int, hidden=True)
@_heartbeat_option
@data_options
@json_option
def api(
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
    """Run only the API; point FRAMEHOUSE_DATABASE_URL and FRAMEHOUSE_STORAGE_URL to what all machines share."""
    from framehouse.cli.single_process import run_api_process

    run_api_process(
        host=host,
        port=port,
        listen_fd=listen_fd,
        worker_metrics=worker_metrics,
        parent_pipe=parent_pipe,
        heartbeat_fd=heartbeat_fd,
        data_dir=data_dir,
        config=config,
        as_json=as_json,
    )


@click.command()
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="NAME=VALUE",
    help="What this worker has, for routes that need it, such as gpu=h100. Repeatable. [default: worker_labels]",
)
@click.option("--metrics-fd", type=int, hidden=True)
@click.option("--parent-pipe", type=int, hidden=True)
@_heartbeat_option
@data_options
@json_option
def worker(
    labels: tuple[str, ...],
    metrics_fd: int | None,
    parent_pipe: int | None,
    heartbeat_fd: int | None,
    data_dir: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Run only a worker, which also sweeps; as many as you like, on any machine."""
    from framehouse.cli.single_process import run_worker_process

    run_worker_process(
        labels=labels,
        metrics_fd=metrics_fd,
        parent_pipe=parent_pipe,
        heartbeat_fd=heartbeat_fd,
        data_dir=data_dir,
        config=config,
        as_json=as_json,
    )
