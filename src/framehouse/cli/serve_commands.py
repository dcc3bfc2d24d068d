"""The `framehouse serve`, `framehouse api` and `framehouse worker` commands."""

from pathlib import Path

import click

from framehouse.cli.options import data_options, json_option

_heartbeat_option = click.option("--heartbeat-fd", "--beat-fd", type=int, hidden=True)
"""The option for the heartbeat pipe. `--beat-fd` is its older name, which is still used by a supervisor that was
started before an upgrade."""


@click.command()
@click.option("--host", help="Address to listen on. [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on. 0 selects a free port. [default: 8000]")
@data_options
@json_option
def serve(host: str | None, port: int | None, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """Run the database, API, worker and sweeper on this machine.

    The first start creates the account "default" with an API key. The key is shown only once.
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
    """Run only the API.

    Set FRAMEHOUSE_DATABASE_URL and FRAMEHOUSE_STORAGE_URL to the URLs of the database and the storage that all machines
    share.
    """
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
    help="A label of this worker, such as gpu=h100. The worker also serves routes that need this label. "
    "Repeatable. [default: the setting worker_labels]",
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
    """Run only a worker, which includes the sweeper.

    Any number of workers can run, on any machine with access to the shared database and the shared storage.
    """
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
