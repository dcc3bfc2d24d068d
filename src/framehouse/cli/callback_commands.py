"""The `framehouse callback …` commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import click

from framehouse.cli.options import account_option, data_options, json_option
from framehouse.cli.output import EXIT_FAILED, Problem, echo, print_json

if TYPE_CHECKING:
    from framehouse.adapters.postgres.pool import Database
    from framehouse.domain.callback import Delivery
    from framehouse.settings import Settings


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
    """List the newest messages: which are delivered, why others are not delivered, and when the next attempt follows.

    If TASK is given, the list contains only the messages of this task. TASK is a task id or an external id.
    """
    from framehouse.adapters.postgres import callback_queue
    from framehouse.cli.delivery_lines import delivery_json, delivery_lines
    from framehouse.cli.local_database import get_account, with_database

    async def work(db: Database) -> list[Delivery]:
        account_id = (await get_account(db, account)).id
        return await callback_queue.list_callbacks(db, account_id, either_id=task, failed=failed, limit=limit)

    deliveries = with_database(data_dir, config, work)
    if as_json:
        print_json([delivery_json(row) for row in deliveries])
        return
    if not deliveries:
        echo("No callbacks." if not failed else "No failed callbacks.")
    for row in deliveries:
        created = f"{row.created_at:%Y-%m-%d %H:%M:%S}"
        echo(f"{row.id}  {created}  {row.status:10}  {row.state:9}  {row.callback_url}")
        echo(f"    task {row.task_id}")
        for line in delivery_lines(row):
            echo(f"    {line}")


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


@callback.command("test")
@click.argument("url")
@account_option
@data_options
@json_option
def test_callback(url: str, account: str, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """Send a signed test message to URL, and print the result.

    The message has the signature and the limits of a real callback. Private addresses are refused if the running
    server refuses them.
    """
    import asyncio

    from framehouse.cli.callback_addresses import allows_private
    from framehouse.cli.local_database import get_account
    from framehouse.domain.field_reader import url_problem
    from framehouse.domain.signed_urls import Links
    from framehouse.pipeline.send_test_callback import TestCallbackResult, send_test_callback
    from framehouse.settings import load_settings
    from framehouse.wiring import open_database, open_links, trust_configured_certificates

    if problem := url_problem(url):
        raise click.UsageError(f"URL {problem}")
    settings = load_settings(config, data_dir=data_dir)
    trust_configured_certificates(settings)

    async def send() -> TestCallbackResult:
        async with open_database(settings) as db:
            account_id = (await get_account(db, account)).id
            links: Links = await open_links(settings, db)
            allow_private = await allows_private(db, settings)
            return await send_test_callback(db, account_id, url, links, allow_private=allow_private)

    result = asyncio.run(send())
    if as_json:
        print_json(result.data)
    elif not result.reason:
        echo(f"Delivered: HTTP {result.code} after {result.seconds:.3f} s ({result.id})")
    else:
        echo(f"Not delivered: {result.reason} ({result.seconds:.3f} s)", err=True)
        if result.advice:
            echo(result.advice, err=True)
    if result.reason:
        raise click.exceptions.Exit(EXIT_FAILED)


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
    "--forward-to",
    metavar="URL",
    default="",
    help="Forward each verified message to this URL, for example http://127.0.0.1:3000/hooks, and answer the server "
    "with the status of the response.",
)
@click.option(
    "--secret",
    envvar="FRAMEHOUSE_CALLBACK_SECRET",
    help="The secret (whsec_…) for verifying the signatures. [default: the account's secrets]",
)
@click.option("--print-secret", is_flag=True, help="Print the account's newest secret on stdout, and do not listen.")
@account_option
@data_options
@json_option
def listen_for_callbacks(
    host: str,
    port: int,
    forward_to: str,
    secret: str | None,
    print_secret: bool,
    account: str,
    data_dir: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Run a development receiver that verifies, prints and forwards each message. Ctrl-C stops the receiver.

    To send callbacks to this receiver, the server must allow private addresses:

    FRAMEHOUSE_ALLOW_PRIVATE_ADDRESSES=1 framehouse serve
    """
    from framehouse.cli.callback_receiver import run_receiver
    from framehouse.cli.local_database import with_database
    from framehouse.domain.callback import signature
    from framehouse.domain.field_reader import url_problem

    if secret:
        try:
            signature([secret], "", 0, b"")
        except ValueError:
            raise click.UsageError("--secret must be whsec_ followed by base64; see: framehouse account show") from None
    if forward_to and (problem := url_problem(forward_to)):
        raise click.UsageError(f"--forward-to {problem}")
    secrets, hints = [secret] if secret else [], []
    if not secret:
        from framehouse.settings import load_settings

        settings = load_settings(config, data_dir=data_dir)
        secrets, allowed = with_database(data_dir, config, lambda db: _secrets_and_rule(db, account, settings))
        if not allowed:
            hints = [_PRIVATE_REFUSED]
    if print_secret:
        print_json({"callback_secret": secrets[0]}) if as_json else echo(secrets[0])
        return
    hints = [f"The secret for verifying the signatures: {secrets[0]}", *hints]
    if forward_to:
        hints = [f"Forwarding to {forward_to}", *hints]
    run_receiver(host, port, secrets, forward_to=forward_to, hints=hints, as_json=as_json)


_PRIVATE_REFUSED = (
    "WARNING: The server sends no callbacks to private addresses such as 127.0.0.1. Stop the server, and start it "
    "with: FRAMEHOUSE_ALLOW_PRIVATE_ADDRESSES=1 framehouse serve"
)


async def _secrets_and_rule(db: Database, account: str, settings: Settings) -> tuple[list[str], bool]:
    """Return the callback secrets of an account, newest first, and whether the server allows private addresses."""
    from framehouse.adapters.postgres import account_store
    from framehouse.cli.callback_addresses import allows_private
    from framehouse.cli.local_database import get_account

    owner = await get_account(db, account)
    return await account_store.valid_secrets(db, owner.id), await allows_private(db, settings)
