"""Measure how long one account waits for accepts and polls while another account attacks the server.

The server is one `framehouse serve`. In each round, the times are measured without an attack, and then during each
attack of measuring/attackers.py. The tasks of the measured account wait at a paused route, so their generation does not
affect the times.

The attack also takes processors and network bandwidth from every other program of this machine. The benchmark measures
this with a second server, which only answers "hello" and is not attacked. Each result is how many times longer the
account waits during the attack, divided by how many times longer a client of "hello" waits.
"""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from measuring.attackers import ATTACKS
from measuring.comparisons import Figure, median, ratio
from measuring.framehouse_processes import (
    BENCH,
    PATH,
    create_keys,
    environment,
    run_framehouse,
    running,
    temporary_folder,
)
from measuring.load import Request, json_body, percentile, times_at_rate
from measuring.peers import free_port, running_program

CONFIG = """
allow_private_addresses = true
[models."kling-v3-omni"]
routes = [{ engine = "measuring.engine:Instant" }]
[models."attacked"]
routes = [{ engine = "framehouse.testing.misbehaving:Misbehaving" }]
"""
ACCEPTS_PER_S, POLLS_PER_S = 50, 200
SECONDS = 8
IDLE = "no attack"
_START_S = 3.0
"""The time from the start of an attack to the measurement. Within this time, the attack reaches its full strength."""
_PAUSE_S = 2.0


def measure(rounds: int) -> list[Figure]:
    values: list[dict[str, dict[str, float]]] = []
    with (
        temporary_folder() as folder,
        running(folder / "data", "serve", config=CONFIG) as server,
        _hello_server(folder / "hello.log") as hello_port,
    ):
        victim, attacker = create_keys(server.data_dir, 2)
        run_framehouse(server.data_dir, "account", "set", "bench-1", "--concurrency", "2000")
        run_framehouse(server.data_dir, "route", "pause", "kling-v3-omni")
        polls = Request("GET", f"{PATH}/{_create_task(server.url, victim)}", victim)
        loads = {
            "accepts": (server.port, Request("POST", PATH, victim, json_body()), ACCEPTS_PER_S),
            "polls": (server.port, polls, POLLS_PER_S),
            "hello": (hello_port, Request("GET", "/hello"), POLLS_PER_S),
        }
        _measure_once(loads)
        for _ in range(rounds):
            of_round = {IDLE: _measure_once(loads)}
            for attack in ATTACKS:
                with _attacking(attack, server.url, attacker):
                    of_round[attack] = _measure_once(loads)
                time.sleep(_PAUSE_S)
            values.append(of_round)
    return [_figure(values, attack, kind) for attack in ATTACKS for kind in ("accepts", "polls")]


def _figure(values: Sequence[dict[str, dict[str, float]]], attack: str, kind: str) -> Figure:
    rounds = [
        {
            "attacked": of_round[attack][kind],
            "idle": of_round[IDLE][kind],
            "longer": of_round[attack][kind] / of_round[IDLE][kind],
            "hello longer": max(1.0, of_round[attack]["hello"] / of_round[IDLE]["hello"]),
        }
        for of_round in values
    ]
    return Figure(
        f"p99 of {kind} while another account attacks: {attack}",
        "without an attack",
        ratio(rounds, "longer", "hello longer"),
        2,
        True,
        "×",
        f"{median(rounds, 'attacked') * 1000:.1f} ms",
        f"{median(rounds, 'idle') * 1000:.1f} ms",
        f"{median(rounds, 'longer'):.2g} ×; hello {median(rounds, 'hello longer'):.2g} ×",
        rounds=rounds,
    )


def _measure_once(loads: Mapping[str, tuple[int, Request, int]]) -> dict[str, float]:
    """Return the p99 of the times of each load, in seconds. A load is a port, a request and its rate per second."""
    values = {
        name: percentile(times_at_rate(port, [request], rate=rate, seconds=SECONDS, connections=8), 99)
        for name, (port, request, rate) in loads.items()
    }
    print("   ", ", ".join(f"{name} {value * 1000:.1f} ms" for name, value in values.items()), flush=True)
    return values


@contextmanager
def _hello_server(log: Path) -> Iterator[int]:
    port = free_port()
    with running_program([sys.executable, BENCH / "peers" / "hello.py", port], port=port, log=log):
        yield port


@contextmanager
def _attacking(attack: str, url: str, key: str) -> Iterator[None]:
    print(f"    {attack}:", flush=True)
    process = subprocess.Popen([sys.executable, "-m", "measuring.attackers", attack, url, key], env=environment())
    try:
        time.sleep(_START_S)
        if process.poll() is not None:
            raise SystemExit(f"the attack ended early: {attack}")
        yield
    finally:
        process.kill()
        process.wait()


def _create_task(url: str, key: str) -> str:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url + PATH, json_body().encode(), headers)) as answer:
        return str(json.load(answer)["data"]["task_id"])
