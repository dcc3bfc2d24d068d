"""The listening sockets for the API and for a worker's metrics."""

import errno
import socket
import time

from framehouse.cli.output import Problem
from framehouse.settings import Settings

_PORT_WAIT_S = 3.0


def listen(host: str, port: int, *, options: str = "--host and --port") -> socket.socket:
    """Open a listening socket. If the port is in use, retry for 3 s, because a process that is shutting down may still
    be using the port.

    Raises Problem if the socket cannot be opened. The error message contains `options`, the names of the options or
    settings for the address and the port.
    """
    end = time.monotonic() + _PORT_WAIT_S
    while True:
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            return socket.create_server((host, port), family=family, backlog=1024)
        except OSError as error:
            in_use = error.errno == errno.EADDRINUSE
            if in_use and time.monotonic() < end:
                time.sleep(0.1)
                continue
            reason = f"Cannot listen on {host}:{port}: {(error.strerror or str(error)).lower()}."
            advice = f"Change the address or the port with {options}."
            if in_use:
                port_option = options.split()[-1]
                advice = (
                    "Stop the program that uses this port, or choose another port with "
                    f"{port_option} (0 selects a free port)."
                )
            raise Problem(f"{reason} {advice}") from error


def listen_for_metrics(settings: Settings) -> socket.socket:
    options = "worker_metrics_host and worker_metrics_port"
    return listen(settings.worker_metrics_host, settings.worker_metrics_port, options=options)


def url_of(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
