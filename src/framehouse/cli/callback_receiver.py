"""A callback receiver for development. The receiver verifies and prints each message."""

import hmac
import json
import signal
import sys
import threading
import time
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from framehouse.cli.output import Problem, echo
from framehouse.domain.callback import signature

_TOLERANCE_S = 300
_MAX_BYTES = 1_000_000
_printing = threading.Lock()


def run_receiver(host: str, port: int, secrets: list[str], *, as_json: bool) -> None:
    """Receive messages until SIGINT or SIGTERM arrives. Each of these signals raises KeyboardInterrupt.

    Raises Problem if the address or the port cannot be used.
    """

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
            """Suppress the access log, because `_print` prints each message."""

    try:
        server = ThreadingHTTPServer((host, port), Receiver)
    except OSError as error:
        raise Problem(f"Cannot listen on {host}:{port}: {error.strerror}. Choose another port with --port.") from error
    # The signal handlers are set explicitly, because shells start background jobs with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    with server:
        echo(
            f"Listening for callbacks on http://{host}:{server.server_address[1]}/  (Ctrl-C stops the receiver)",
            err=True,
        )
        try:
            server.serve_forever()
        finally:
            # the lock is kept until the process exits, because Python aborts if a thread writes to stdout during the
            # exit
            _printing.acquire()


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _problem(secrets: list[str], headers: Message, body: bytes) -> str | None:
    """Return the problem with the signature headers of a message, or None if the headers are valid."""
    id, timestamp, signatures = (headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    if not id or not _is_number(timestamp[:12]) or not signatures:
        return "webhook-id, webhook-timestamp or webhook-signature is missing or invalid"
    if abs(time.time() - int(timestamp[:12])) > _TOLERANCE_S:
        return "the timestamp differs from the current time by more than five minutes"
    expected = signature(secrets, id, int(timestamp[:12]), body).split()
    received = signatures.split()
    if not any(hmac.compare_digest(a.encode(), b.encode()) for a in expected for b in received):
        return "the signature is wrong; check that the secret belongs to the account of the task"
    return None


def _print(headers: Message, body: bytes, problem: str | None, *, as_json: bool) -> None:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        data = {"not JSON": body[:200].decode(errors="replace")}
    id = headers.get("webhook-id", "(no id)")[:200]
    # Control characters are escaped or replaced, so that an untrusted message cannot control the terminal.
    if as_json:
        text = json.dumps({"id": id, "problem": problem, "data": data})
    else:
        shown = json.dumps(data, ensure_ascii=False, indent=2)
        text = f"{id}  {problem or 'verified'}\n{shown}"
        text = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)
    with _printing:
        echo(text)
        sys.stdout.flush()


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
