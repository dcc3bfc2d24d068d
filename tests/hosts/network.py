"""Hosts on this machine: network namespaces on a separate bridge, which a test can cut off in two ways."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.system_packages import skip_missing

_NET = "10.231.77"
_PREFIX = "fhosts"
_REFUSED = ("not permitted", "not supported", "unknown device type")


@dataclass(frozen=True, slots=True)
class Host:
    """A network namespace. `within` is the prefix of a command that runs on this host."""

    name: str
    address: str
    link: str

    @property
    def within(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.name)

    def unplug(self) -> None:
        """Stop all traffic. The host sees that the network device has no carrier."""
        _run("ip", "link", "set", self.link, "down")

    def drop_packets(self) -> None:
        """Lose all packets in both directions, as if a distant switch or firewall dropped them.

        Neither side gets an error, and the state of the network devices does not change.
        """
        _run("bridge", "link", "set", "dev", self.link, "state", "0")

    def forget_connections(self) -> None:
        """Remove the connections of killed programs without sending FIN or RST, as after a power failure.

        It must be called while packets are dropped.
        """
        _run(*self.within, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/tcp_orphan_retries")
        end = time.monotonic() + 30
        while _run(*self.within, "ss", "-HtanK", "state", "connected", "exclude", "time-wait"):
            assert time.monotonic() < end
            time.sleep(0.1)

    def reconnect(self) -> None:
        """Undo `unplug` and `drop_packets`."""
        _run("ip", "link", "set", self.link, "up")
        end = time.monotonic() + 30
        while True:  # the kernel refuses the change until it has noticed that the link is up
            try:
                _run("bridge", "link", "set", "dev", self.link, "state", "3")
            except subprocess.CalledProcessError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
            else:
                return


@contextmanager
def network(names: Sequence[str]) -> Iterator[list[Host]]:
    """Create a host for each name on one bridge, which this process can reach too.

    A lock allows only one network on this machine. Therefore, all hosts and bridges that exist at the beginning are
    left over from killed test runs, and they are removed.
    """
    with (Path(tempfile.gettempdir()) / f"{_PREFIX}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        bridge = f"{_PREFIX}{os.getpid()}"
        numbered = enumerate(names, 1)
        hosts = [Host(f"{bridge}-{name}", f"{_NET}.{number}", f"{bridge}{name}") for number, name in numbered]
        try:
            try:
                _remove_all()
                _create(bridge, hosts)
            except (OSError, subprocess.CalledProcessError) as error:
                if shutil.which("ip") is None:
                    skip_missing("ip", "iproute2")
                _skip_or_fail(str(getattr(error, "stderr", "") or error).strip())
            yield hosts
        finally:
            with suppress(OSError, subprocess.CalledProcessError):
                _remove_all()


def _create(bridge: str, hosts: Sequence[Host]) -> None:
    _run("ip", "link", "add", bridge, "type", "bridge")
    _run("ip", "addr", "add", f"{_NET}.254/24", "dev", bridge)
    _run("ip", "link", "set", bridge, "up")
    for host in hosts:
        _run("ip", "netns", "add", host.name)
        _run("ip", "link", "add", host.link, "type", "veth", "peer", "name", "eth0", "netns", host.name)
        _run("ip", "link", "set", host.link, "master", bridge, "up")
        _run("ip", "-n", host.name, "addr", "add", f"{host.address}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            _run("ip", "-n", host.name, "link", "set", device, "up")
    # All neighbour entries are permanent, as if the hosts were behind routers. Otherwise, neighbour discovery would
    # fail soon after packets are dropped, and the sender would get the error "host unreachable".
    devices = [("-n", host.name, "eth0", host.address) for host in hosts] + [("", "", bridge, f"{_NET}.254")]
    hardware = {
        address: json.loads(_run("ip", "-j", *filter(None, within), "link", "show", device))[0]["address"]
        for *within, device, address in devices
    }
    for *within, device, own_address in devices:
        for address in hardware.keys() - {own_address}:
            entry = ("lladdr", hardware[address], "dev", device, "nud", "permanent")
            _run("ip", *filter(None, within), "neigh", "replace", address, *entry)


def _remove_all() -> None:
    """Remove all networks of these tests, and kill the processes in them."""
    for line in _run("ip", "netns", "list").splitlines():
        if (name := line.split()[0]).startswith(_PREFIX):
            for pid in _run("ip", "netns", "pids", name).split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            _run("ip", "netns", "del", name)
    for link in json.loads(_run("ip", "-j", "link", "show") or "[]"):
        if link["ifname"].startswith(_PREFIX):
            with suppress(subprocess.CalledProcessError):  # the link may have been deleted with its namespace
                _run("ip", "link", "del", link["ifname"])


def _skip_or_fail(reason: str) -> None:
    """Skip the test; in CI, fail it unless the kernel does not even allow root to create hosts."""
    message = f"hosts cannot be created on this machine: {reason}"
    refused = os.getuid() == 0 and any(words in reason.lower() for words in _REFUSED)
    if os.environ.get("CI") and not refused:
        pytest.fail(message)
    pytest.skip(message)


def _run(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout
