"""Hosts on this machine: network namespaces on a bridge of their own, whose cables can be pulled."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pytest


@dataclass(frozen=True, slots=True)
class Host:
    """`within` goes before a command that is to run there."""

    name: str
    address: str
    cable: str

    @property
    def within(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.name)

    def cut_off(self) -> None:
        """Nothing comes, nothing goes, and nobody is told: packets are lost in both directions."""
        _ip("link", "set", self.cable, "down")

    def return_to_others(self) -> None:
        _ip("link", "set", self.cable, "up")


@contextmanager
def network(names: Sequence[str]) -> Iterator[tuple[str, list[Host]]]:
    """Our own address on the bridge, and a host of each name. Skipped where none may be made; but CI must make them."""
    own = os.getpid() % 250 + 1
    bridge, net = f"fh{os.getpid()}", f"10.231.{own}"
    hosts = [Host(f"{bridge}-{name}", f"{net}.{number}", f"{bridge}{name}") for number, name in enumerate(names, 1)]
    try:
        try:
            _ip("link", "add", bridge, "type", "bridge")
            _ip("addr", "add", f"{net}.254/24", "dev", bridge)
            _ip("link", "set", bridge, "up")
            for host in hosts:
                _ip("netns", "add", host.name)
                _ip("link", "add", host.cable, "type", "veth", "peer", "name", "eth0", "netns", host.name)
                _ip("link", "set", host.cable, "master", bridge, "up")
                _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "eth0")
                _ip("-n", host.name, "link", "set", "eth0", "up")
                _ip("-n", host.name, "link", "set", "lo", "up")
        except (OSError, subprocess.CalledProcessError) as error:
            why = f"no hosts can be made here: {getattr(error, 'stderr', '') or error}"
            if os.environ.get("CI") == "true":
                pytest.fail(why)
            pytest.skip(why)
        yield f"{net}.254", hosts
    finally:
        for host in hosts:
            subprocess.run(["ip", "netns", "del", host.name], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", bridge], capture_output=True, check=False)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], capture_output=True, text=True, check=True)
