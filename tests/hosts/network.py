"""Hosts on this machine: network namespaces on a bridge of their own, which can be cut off in two ways."""

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
    """`within` goes before a command that is to run there."""

    name: str
    address: str
    cable: str

    @property
    def within(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.name)

    def unplug(self) -> None:
        """Nothing comes and nothing goes, and the host sees that it has no carrier."""
        _run("ip", "link", "set", self.cable, "down")

    def fall_silent(self) -> None:
        """As where a switch or a firewall far away drops everything: packets are lost in both directions, nobody is
        told, and all that can be seen nearby is as it was."""
        _run("bridge", "link", "set", "dev", self.cable, "state", "0")

    def forget_connections(self) -> None:
        """As after a power cut: of the connections of programs that were killed, nothing says goodbye later on. While
        silent only."""
        _run(*self.within, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/tcp_orphan_retries")
        end = time.monotonic() + 30
        while _run(*self.within, "ss", "-HtanK", "state", "connected", "exclude", "time-wait"):
            assert time.monotonic() < end
            time.sleep(0.1)

    def come_back(self) -> None:
        _run("ip", "link", "set", self.cable, "up")
        _run("bridge", "link", "set", "dev", self.cable, "state", "3")


@contextmanager
def network(names: Sequence[str]) -> Iterator[list[Host]]:
    """A host of each name, on a bridge that we are on as well. One network at a time on this machine, whoever else
    tests; so what is there at the beginning was left behind by one who was killed, and is removed."""
    with (Path(tempfile.gettempdir()) / f"{_PREFIX}.lock").open("a") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        bridge = f"{_PREFIX}{os.getpid()}"
        numbered = enumerate(names, 1)
        hosts = [Host(f"{bridge}-{name}", f"{_NET}.{number}", f"{bridge}{name}") for number, name in numbered]
        try:
            try:
                _remove_all()
                _make(bridge, hosts)
            except (OSError, subprocess.CalledProcessError) as error:
                if shutil.which("ip") is None:
                    skip_missing("ip", "iproute2")
                _give_up(str(getattr(error, "stderr", "") or error).strip())
            yield hosts
        finally:
            with suppress(OSError, subprocess.CalledProcessError):
                _remove_all()


def _make(bridge: str, hosts: Sequence[Host]) -> None:
    _run("ip", "link", "add", bridge, "type", "bridge")
    _run("ip", "addr", "add", f"{_NET}.254/24", "dev", bridge)
    _run("ip", "link", "set", bridge, "up")
    for host in hosts:
        _run("ip", "netns", "add", host.name)
        _run("ip", "link", "add", host.cable, "type", "veth", "peer", "name", "eth0", "netns", host.name)
        _run("ip", "link", "set", host.cable, "master", bridge, "up")
        _run("ip", "-n", host.name, "addr", "add", f"{host.address}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            _run("ip", "-n", host.name, "link", "set", device, "up")
    # neighbours never need to be found, as if all were behind routers: else who is silent would seem unreachable, soon
    places = [("-n", host.name, "eth0", host.address) for host in hosts] + [("", "", bridge, f"{_NET}.254")]
    hardware = {
        address: json.loads(_run("ip", "-j", *filter(None, within), "link", "show", device))[0]["address"]
        for *within, device, address in places
    }
    for *within, device, own in places:
        for address in hardware.keys() - {own}:
            known = ("lladdr", hardware[address], "dev", device, "nud", "permanent")
            _run("ip", *filter(None, within), "neigh", "replace", address, *known)


def _remove_all() -> None:
    """All networks of ours, with whatever still runs in them."""
    for line in _run("ip", "netns", "list").splitlines():
        if (name := line.split()[0]).startswith(_PREFIX):
            for pid in _run("ip", "netns", "pids", name).split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            _run("ip", "netns", "del", name)
    for link in json.loads(_run("ip", "-j", "link", "show") or "[]"):
        if link["ifname"].startswith(_PREFIX):
            with suppress(subprocess.CalledProcessError):  # a cable goes with the namespace at its other end
                _run("ip", "link", "del", link["ifname"])


def _give_up(why: str) -> None:
    """CI must make hosts, unless its kernel lets not even root do so: nothing of ours could change that."""
    message = f"no hosts can be made here: {why}"
    refused = os.getuid() == 0 and any(words in why.lower() for words in _REFUSED)
    if os.environ.get("CI") and not refused:
        pytest.fail(message)
    pytest.skip(message)


def _run(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout
