"""A callback receiver for development. The receiver verifies, prints and forwards each message."""

import asyncio
import hmac
import json
import signal
import sys
import threading
import time
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from framehouse.adapters.fetch import FetchFailed, post
from framehouse.cli.output import Problem, echo
from framehouse.domain.callback import signature
from framehouse.domain.fetch_problems import NO_RESPONSE, UNREACHABLE

_TOLERANCE_S = 300
_MAX_BYTES = 1_000_000
_APPLICATION_TIMEOUT_S, _IDLE_TIMEOUT_S = 9.0, 8.0
"""The server waits ten seconds for a response. The receiver must report a slow application before this time is over."""
_CONNECTIONS = 128
_printing = threading.Lock()


@dataclass(frozen=True, slots=True)
class Forwarded:
    """The application's response to a forwarded message.

    `status` is the HTTP status code for the server: the status code of the application, or 502 or 504 if the
    application did not respond. `problem` is the reason, or empty. `retry_after` is the application's `Retry-After`
    header.
    """

    status: int
    problem: str
    seconds: float
    retry_after: str = ""


def run_receiver(host: str, port: int, secrets: list[str], *, forward_to: str, hints: list[str], as_json: bool) -> None:
    """Receive messages until SIGINT or SIGTERM arrives. Each of these signals raises KeyboardInterrupt.

    Verified messages are forwarded to the URL `forward_to`, if it is not empty. `hints` are printed at the start.
    Raises Problem if the address or the port cannot be used.
    """

    class Receiver(BaseHTTPRequestHandler):
        timeout = 10

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")[:9]
            body = self.rfile.read(min(int(length), _MAX_BYTES)) if _is_number(length) else b""
            problem = _problem(secrets, self.headers, body)
            if not as_json:
                _print(_message_text(self.headers, body, problem))
            forwarded = None
            if forward_to and not problem:
                forwarded = _forward(forward_to, self.headers, body)
            if as_json:
                _print(_message_json(self.headers, body, problem, forwarded))
            elif forward_to:
                _print(_forwarded_text(self.headers, forward_to, forwarded))
            self.send_response(400 if problem else forwarded.status if forwarded else 204)
            if forwarded and forwarded.retry_after:
                self.send_header("Retry-After", forwarded.retry_after)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Suppress the access log, because the receiver prints each message."""

    class ReceiverServer(ThreadingHTTPServer):
        request_queue_size = _CONNECTIONS

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Ignore connections that the server closed, for example because the application was too slow."""
            if not isinstance(sys.exc_info()[1], OSError):
                super().handle_error(request, client_address)

    try:
        server = ReceiverServer((host, port), Receiver)
    except OSError as error:
        raise Problem(f"Cannot listen on {host}:{port}: {error.strerror}. Choose another port with --port.") from error
    if forward_to and _is_own_address(forward_to, host, server.server_address[1]):
        server.server_close()
        raise Problem(
            f"--forward-to {forward_to} is the address of the receiver itself. Use your application's address."
        )
    # The signal handlers are set explicitly, because shells start background jobs with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    with server:
        for hint in hints:
            echo(hint, err=True)
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


def _is_own_address(url: str, host: str, port: int) -> bool:
    """Return whether a URL leads to the receiver, which would forward each message to itself without end."""
    parts = urlsplit(url)
    own_hosts = ("localhost", "127.0.0.1", "::1", "0.0.0.0", host)  # noqa: S104 - the receiver does not listen here
    return parts.port == port and parts.hostname in own_hosts


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


def _forward(url: str, headers: Message, body: bytes) -> Forwarded:
    """Send a message to the application. The body of the application's response is not read."""
    started = time.monotonic()
    kept = {name: value for name, value in headers.items() if name.lower().startswith("webhook-")}
    for name in ("Content-Type", "User-Agent"):
        if value := headers.get(name):
            kept[name] = value

    async def send() -> Forwarded:
        try:
            async with asyncio.timeout(_APPLICATION_TIMEOUT_S):
                status, answered = await post(url, body, kept, idle_timeout_s=_IDLE_TIMEOUT_S, allow_private=True)
        except TimeoutError:
            problem = f"{NO_RESPONSE} within {_APPLICATION_TIMEOUT_S:.0f} s"
            return Forwarded(504, problem, time.monotonic() - started)
        except FetchFailed as error:
            code = 504 if NO_RESPONSE in error.message else 502
            advice = "; is the application running?" if UNREACHABLE in error.message else ""
            return Forwarded(code, f"{error.message}{advice}", time.monotonic() - started)
        seconds = time.monotonic() - started
        if not 200 <= status < 600:
            return Forwarded(502, f"responded with the invalid status {status}", seconds)
        return Forwarded(status, "", seconds, answered.get("retry-after", ""))

    return asyncio.run(send())


def _message_text(headers: Message, body: bytes, problem: str | None) -> str:
    data = _data(body)
    kind = "  (test message)" if isinstance(data, dict) and data.get("type") == "test" else ""
    return f"{_id(headers)}  {problem or 'verified'}{kind}\n{json.dumps(data, ensure_ascii=False, indent=2)}"


def _forwarded_text(headers: Message, url: str, forwarded: Forwarded | None) -> str:
    if forwarded is None:
        return f"{_id(headers)}  not forwarded, because the message is not verified"
    if forwarded.problem:
        return f"{_id(headers)}  {url} {forwarded.problem} ({forwarded.seconds:.3f} s); answered {forwarded.status}"
    redirect = "; redirects are not followed" if 300 <= forwarded.status < 400 else ""
    return f"{_id(headers)}  {url} answered {forwarded.status} ({forwarded.seconds:.3f} s){redirect}"


def _message_json(headers: Message, body: bytes, problem: str | None, forwarded: Forwarded | None) -> str:
    message = {"id": _id(headers), "problem": problem, "data": _data(body)}
    if forwarded:
        message["forwarded"] = {
            "status": forwarded.status,
            "seconds": round(forwarded.seconds, 3),
            "problem": forwarded.problem or None,
        }
    return json.dumps(message)


def _data(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return {"not JSON": body[:200].decode(errors="replace")}


def _id(headers: Message) -> str:
    return headers.get("webhook-id", "(no id)")[:200]


def _print(text: str) -> None:
    """Print a text. `echo` replaces control characters, so that an untrusted message cannot control the terminal."""
    with _printing:
        echo(text)
        sys.stdout.flush()


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
