"""A small receiver of callbacks for development: verifies each message and prints it."""

import hmac
import json
import signal
import sys
import threading
import time
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import click

from framehouse.cli.output import Problem
from framehouse.domain.callback import signature

_TOLERANCE_S = 300
_MAX_BYTES = 1_000_000
_printing = threading.Lock()


def run_receiver(host: str, port: int, secrets: list[str], *, as_json: bool) -> None:
    """Receive until SIGINT or SIGTERM, which raise KeyboardInterrupt."""

    class Receiver(BaseHTTPRequestHandler):
        timeout = 10

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")[:9]
            body = self.rfile.read(min(int(length), _MAX_BYTES)) if _is_number(length) else b""
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
