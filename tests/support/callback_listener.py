"""A running `framehouse callback listen`, and applications to which it forwards messages."""

import queue
import re
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.command_line import FRAMEHOUSE, environment


@dataclass
class Listener:
    """A running listener. `head` contains the lines that it printed when it started."""

    process: subprocess.Popen[str]
    url: str
    head: list[str]
    lines: "queue.Queue[str]" = field(default_factory=queue.Queue)
    errors: str = ""
    """What the listener printed on stderr after its head. The text is complete after the listener has stopped."""

    def line_with(self, text: str) -> str:
        """Wait for the next line on stdout that contains a text, and return the line."""
        while text not in (line := self.lines.get(timeout=90)):
            pass
        return line


@contextmanager
def listening(*words: str | Path, **extra: str) -> Iterator[Listener]:
    """Run a listener on a free port, and stop it with SIGINT."""
    process = subprocess.Popen(
        [*FRAMEHOUSE, "callback", "listen", "--port", "0", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**extra),
    )
    assert process.stdout and process.stderr
    listener = Listener(process, "", [])
    with process.stdout as stdout, process.stderr as stderr:

        def read() -> None:
            for line in stdout:
                listener.lines.put(line)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            while not listener.url:
                listener.head.append(stderr.readline())
                assert listener.head[-1], listener.head
                if found := re.search(r"Listening for callbacks on (\S+)", listener.head[-1]):
                    listener.url = found[1]
            yield listener
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait(timeout=90)
            reader.join()
            listener.errors = stderr.read()


@dataclass
class Application:
    """An application that receives forwarded messages."""

    url: str
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def application(answer: str, *, port: int = 0) -> Iterator[Application]:
    """Run an application on loopback. `answer` is the status line, and headers, of each response.

    Special values are `hang`, `huge`, `nonsense` and `together N`, which answers only after N connections have been
    open at the same time.
    """
    server = socket.create_server(("127.0.0.1", port), backlog=64)
    app = Application(f"http://127.0.0.1:{server.getsockname()[1]}/hooks")
    stopping = threading.Event()
    needed = int(answer.split()[1]) if answer.startswith("together") else 0
    waiting: set[socket.socket] = set()
    together = threading.Event()

    def wait_for_others(connection: socket.socket) -> None:
        """Wait until enough connections are open. A connection that the listener has closed does not count."""
        waiting.add(connection)
        try:
            while not together.is_set() and not stopping.is_set():
                if len(waiting) >= needed:
                    together.set()
                if select.select([connection], [], [], 0.02)[0]:  # the listener sends nothing more, so it has closed
                    return
        finally:
            waiting.discard(connection)

    def handle(connection: socket.socket) -> None:
        with connection, suppress(OSError), connection.makefile("rb") as file:
            file.readline()
            headers: dict[str, str] = {}
            while line := file.readline().strip():
                name, _, value = line.decode().partition(":")
                headers[name.lower()] = value.strip()
            app.received.append((headers, file.read(int(headers["content-length"]))))
            if answer == "hang":
                stopping.wait()
                return
            if answer == "nonsense":
                connection.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")
                return
            if needed:
                wait_for_others(connection)
            status = "200 OK" if answer == "huge" or needed else answer
            connection.sendall(f"HTTP/1.1 {status}\r\nConnection: close\r\n\r\n".encode())
            while answer == "huge" and not stopping.is_set():
                connection.sendall(b"x" * 1_000_000)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=handle, args=(connection,), daemon=True).start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield app
    finally:
        stopping.set()
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        accepting.join()
