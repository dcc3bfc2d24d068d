"""The `framehouse callback …` commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import click

from framehouse.cli.options import account_option, data_options, json_option
from framehouse.cli.output import Problem, echo, print_json

if TYPE_CHECKING:
    from framehouse.adapters.postgres.pool import Database
    from framehouse.domain.callback import Delivery


@click.group()
def callback() -> None:
    """List and resend callbacks, or receive them for development."""


@callback.command("list")
@click.argument("task", required=False)
@click.option(
    "--failed",
    is_flag=True,
    help="List only messages that will be retried, that were given up, or that the receiver rejected with HTTP 410.",
)
@account_option
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@data_options
@json_option
def list_callbacks(
    task: str | None, failed: bool, account: str, limit: int, data_dir: Path | None, config: Path | None, as_json: bool
) -> None:
    """List the newest messages, each with the number of attempts, the last response and the time of the next attempt.

    If TASK is given, the list contains only the messages of this task. TASK is a task id or an external id.
    """
    from framehouse.adapters.postgres import callback_queue
    from framehouse.cli.local_database import get_account, with_database

    async def work(db: Database) -> list[Delivery]:
        account_id = (await get_account(db, account)).id
        return await callback_queue.list_callbacks(db, account_id, either_id=task, failed=failed, limit=limit)

    deliveries = with_database(data_dir, config, work)
    if as_json:
        times = ("created_at", "tried_at", "next_try_at")
        print_json(
            [
                row._asdict() | {name: at.isoformat() if (at := getattr(row, name)) else None for name in times}
                for row in deliveries
            ]
        )
        return
    if not deliveries:
        echo("No callbacks." if not failed else "No failed callbacks.")
    for row in deliveries:
        created = f"{row.created_at:%Y-%m-%d %H:%M:%S}"
        echo(f"{row.id}  {created}  {row.status:10}  {row.state:9}  {row.callback_url}")
        if row.tries:
            last = row.last_error or f"HTTP {row.last_code}"
            echo(f"    task {row.task_id}; {row.tries} attempts; last attempt at {row.tried_at:%H:%M:%S}: {last}")
        if row.next_try_at and row.tries:
            echo(f"    next attempt at {row.next_try_at:%Y-%m-%d %H:%M:%S} UTC")


@callback.command("resend")
@click.argument("id")
@account_option
@data_options
@json_option
def resend_callback(id: str, account: str, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """Send a message again immediately, with the same webhook-id.

    ID is the id of the message as `framehouse callback list` shows it.
    """
    from framehouse.adapters.postgres import callback_queue
    from framehouse.cli.local_database import get_account, operator, with_database

    try:
        message = UUID(id.removeprefix("msg_"))
    except ValueError:
        raise click.UsageError(f'"{id}" is not the id of a message; see: framehouse callback list') from None

    async def work(db: Database) -> bool:
        account_id = (await get_account(db, account)).id
        return await callback_queue.resend_callback(db, account_id, message, actor=operator())

    if not with_database(data_dir, config, work):
        raise Problem(f'The account "{account}" has no message {id}. See: framehouse callback list')
    if as_json:
        print_json({"id": str(message), "state": "waiting"})
    else:
        echo(
            f"The message {message} is due now or is already being sent. "
            "Messages are sent only while a server or worker is running."
        )


@callback.command("listen")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=9000,
    show_default=True,
    help="Port to listen on. 0 selects a free port.",
)
@click.option(
    "--secret",
    envvar="FRAMEHOUSE_CALLBACK_SECRET",
    help="The secret (whsec_…) for verifying the signatures. [default: the account's secrets]",
)
@account_option
@data_options
@json_option
def listen_for_callbacks(
    host: str, port: int, secret: str | None, account: str, data_dir: Path | None, config: Path | None, as_json: bool
) -> None:
    """Run a development receiver that verifies and prints each message. Ctrl-C stops the receiver.

    To send callbacks to this receiver, the server must allow private addresses:

    FRAMEHOUSE_ALLOW_PRIVATE_ADDRESSES=1 framehouse serve
    """
    from framehouse.cli.callback_receiver import run_receiver
    from framehouse.cli.local_database import with_database
    from framehouse.domain.callback import signature

    if secret:
        try:
            signature([secret], "", 0, b"")
        except ValueError:
            raise click.UsageError("--secret must be whsec_ followed by base64; see: framehouse account show") from None
    secrets = [secret] if secret else with_database(data_dir, config, lambda db: _secrets(db, account))
    run_receiver(host, port, secrets, as_json=as_json)


async def _secrets(db: Database, account: str) -> list[str]:
    from framehouse.cli.local_database import get_account

    owner = await get_account(db, account)
    return [owner.callback_secret, *(owner.callback_secret_old or "").split()]
