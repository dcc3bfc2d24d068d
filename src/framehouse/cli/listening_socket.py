"""The sockets that the API and the metrics of a worker listen on."""

import errno
import socket
import time

from framehouse.cli.output import Problem
from framehouse.settings import Settings

_PORT_PATIENCE_S = 3.0


def listen(host: str, port: int, *, by: str = "--host and --port") -> socket.socket:
    """An open, listening socket. A port that a dying predecessor still holds is waited for. `by`: how
    to choose others."""
    end = time.monotonic() + _PORT_PATIENCE_S
    while True:
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            return socket.create_server((host, port), family=family, backlog=1024)
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            if taken and time.monotonic() < end:
                time.sleep(0.1)
                continue
            why = f"Cannot listen on {host}:{port}: {(error.strerror or str(error)).lower()}."
            advice = f"Choose another with {by.split()[-1]} (0 takes a free one), or stop the program that has it."
            raise Problem(f"{why} {advice if taken else f'Choose others with {by}.'}") from error


def listen_for_metrics(settings: Settings) -> socket.socket:
    where = "worker_metrics_host and worker_metrics_port"
    return listen(settings.worker_metrics_host, settings.worker_metrics_port, by=where)


def url_of(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
