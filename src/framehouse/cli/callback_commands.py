"""framehouse callback …"""

import hmac
import json
import signal
import sys
import threading
import time
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from framehouse.adapters.postgres import callback_queue
from framehouse.adapters.postgres.pool import Database
from framehouse.cli.account_commands import account_named, with_database
from framehouse.cli.commands import Problem, print_json
from framehouse.domain.callback import Delivery, signature

_TOLERANCE_S = 300
_MOST_BYTES = 1_000_000
_printing = threading.Lock()


def list_all(
    task: str | None, failed: bool, account: str, limit: int, data_dir: Path | None, config: Path | None, as_json: bool
) -> None:
    async def work(db: Database) -> list[Delivery]:
        account_id = (await account_named(db, account)).id
        return await callback_queue.list_callbacks(db, account_id, either_id=task, failed=failed, limit=limit)

    found = with_database(data_dir, config, work)
    if as_json:
        times = ("created_at", "tried_at", "next_try_at")
        print_json(
            [
                row._asdict() | {name: at.isoformat() if (at := getattr(row, name)) else None for name in times}
                for row in found
            ]
        )
        return
    if not found:
        click.echo("No callbacks." if not failed else "No callbacks with trouble.")
    for row in found:
        when = f"{row.created_at:%Y-%m-%d %H:%M:%S}"
        click.echo(f"{row.id}  {when}  {row.status:10}  {row.state:9}  {row.callback_url}")
        if row.tries:
            last = row.last_error or f"HTTP {row.last_code}"
            click.echo(f"    task {row.task_id}; {row.tries} tries, the last at {row.tried_at:%H:%M:%S}: {last}")
        if row.next_try_at and row.tries:
            click.echo(f"    next try at {row.next_try_at:%Y-%m-%d %H:%M:%S} UTC")


def resend(id: str, account: str, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    try:
        message = UUID(id.removeprefix("msg_"))
    except ValueError:
        raise click.UsageError(f'"{id}" is no message id; see: framehouse callback list') from None

    async def work(db: Database) -> bool:
        return await callback_queue.resend_callback(db, (await account_named(db, account)).id, message)

    if not with_database(data_dir, config, work):
        raise Problem(f'The account "{account}" has no message {id}. See: framehouse callback list')
    if as_json:
        print_json({"id": str(message), "state": "waiting"})
    else:
        click.echo(f"Message {message} is sent again; a running server or worker does it.")


def listen(
    host: str, port: int, secret: str | None, account: str, data_dir: Path | None, config: Path | None, as_json: bool
) -> None:
    if secret:
        try:
            signature([secret], "", 0, b"")
        except ValueError:
            raise click.UsageError("--secret must be whsec_ and base64, as framehouse account show tells it") from None
    secrets = [secret] if secret else with_database(data_dir, config, lambda db: _secrets(db, account))

    class Receiver(BaseHTTPRequestHandler):
        timeout = 10

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")[:9]
            body = self.rfile.read(min(int(length), _MOST_BYTES)) if _is_number(length) else b""
            problem = _problem(secrets, self.headers, body)
            _print(self.headers, body, problem, as_json=as_json)
            self.send_response(400 if problem else 204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """We print what came ourselves."""

    try:
        server = ThreadingHTTPServer((host, port), Receiver)
    except OSError as error:
        raise Problem(f"Cannot listen on {host}:{port}: {error.strerror}. Choose another with --port.") from error
    for number in (signal.SIGINT, signal.SIGTERM):  # said outright: a shell's background jobs begin with SIGINT ignored
        signal.signal(number, _interrupt)
    with server:
        click.echo(f"Listening for callbacks on http://{host}:{server.server_address[1]}/  (Ctrl-C ends)", err=True)
        try:
            server.serve_forever()
        finally:
            _printing.acquire()  # for good: Python aborts where it ends while a thread is about to write


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


async def _secrets(db: Database, account: str) -> list[str]:
    found = await account_named(db, account)
    return [found.callback_secret, *(found.callback_secret_old or "").split()]


def _problem(secrets: list[str], headers: Message, body: bytes) -> str | None:
    """What is wrong with a message's signature, or None."""
    id, sent, given = (headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    if not id or not _is_number(sent[:12]) or not given:
        return "webhook-id, webhook-timestamp or webhook-signature is missing"
    if abs(time.time() - int(sent[:12])) > _TOLERANCE_S:
        return "the timestamp is more than five minutes off"
    expected = signature(secrets, id, int(sent[:12]), body).split()
    if not any(hmac.compare_digest(one.encode(), other.encode()) for one in expected for other in given.split()):
        return "the signature is wrong: is it another account's secret?"
    return None


def _print(headers: Message, body: bytes, problem: str | None, *, as_json: bool) -> None:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        data = {"not JSON": body[:200].decode(errors="replace")}
    id = headers.get("webhook-id", "(no id)")[:200]
    # as ASCII, escapes and all: what a stranger sends must not steer the terminal
    if as_json:
        text = json.dumps({"id": id, "problem": problem, "data": data})
    else:
        shown = json.dumps(data, ensure_ascii=False, indent=2)
        text = f"{id}  {problem or 'verified'}\n{shown}"
        text = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)
    with _printing:
        click.echo(text)
        sys.stdout.flush()


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
