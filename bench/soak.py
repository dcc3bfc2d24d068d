"""Run a server under realistic load, and check that it does not leak and does not become slower.

    make soak [MINUTES=10] [RATE=15] [LEAK=images|little|files|threads]

It starts `framehouse serve` on loopback with a temporary data folder, and sends RATE requests per second of all kinds
(bench/soaking/traffic.py), always in the same mix. The first fifth of the time is a warm-up, and the checks compare the
other fifths. It runs only on Linux, because it reads the resources of the processes from /proc. It prints a table of
checks, and writes all figures to bench/results/soak.json. The exit status is 1 if a check fails. LEAK adds a leak to
the engine, to verify that the checks detect it.
"""

import argparse
import asyncio
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from framehouse.adapters.postgres import account_store
from framehouse.adapters.postgres.embedded import EmbeddedPostgres
from framehouse.adapters.postgres.pool import Database
from framehouse.wiring import API_POOL, BUSY_POOL, WORKER_POOL
from soaking.outside_server import OutsideServer, outside_server
from soaking.process_usage import Sample, count_connections, measure_usage
from soaking.soak_checks import FIFTHS, Run, count_by_fifth, evaluate, table
from soaking.traffic import FINAL_STATUSES, Traffic

RESULTS = Path(__file__).parent / "results" / "soak.json"
MAX_CONNECTIONS = API_POOL + WORKER_POOL + BUSY_POOL + 8
"""The maximum size of the pools of the API and of the worker, and the listening connections."""
_SAMPLE_EVERY_S = 2.0
_IDLE_S = 20.0
_IDLE_TIMEOUT_S = 180.0
CONFIG = """
worker_concurrency = 16
allow_private_addresses = true
image_format = "jpeg"
[models."kling-v3-omni"]
routes = [{{ engine = "soaking.engine:Quick", leak = "{leak}" }}]
[models."kling-image-o1"]
resolutions = ["1k", "2k"]
series = false
routes = [{{ engine = "previz" }}]
"""


@dataclass
class RunningServer:
    """A running server. `sampling` is the connection that counts connections; `sampling_lock` protects it."""

    process: "subprocess.Popen[str]"
    folder: Path
    url: str
    key: str
    db: Database
    sampling: "asyncpg.Connection[asyncpg.Record]"
    sampling_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def sample(self) -> Sample:
        sample = await asyncio.to_thread(measure_usage, self.process.pid, self.folder)
        async with self.sampling_lock:
            sample.connections = await count_connections(self.sampling)
        sample.connections["idle"] = sample.connections.get("idle", 1) - 1  # without the connection of `db`
        return sample


@asynccontextmanager
async def serving(folder: Path, leak: str) -> AsyncIterator[RunningServer]:
    """Run `framehouse serve` with the engine of the soak test and a separate folder for temporary files."""
    for name in ("data", "tmp"):
        (folder / name).mkdir(mode=0o711)
    (folder / "data" / "framehouse.toml").write_text(CONFIG.format(leak=leak))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FRAMEHOUSE_")}
    environment |= {"PYTHONPATH": str(Path(__file__).parent), "TMPDIR": str(folder / "tmp")}
    command = [sys.executable, "-m", "framehouse", "serve", "--port", "0", "--data-dir", str(folder / "data"), "--json"]
    with (folder / "server.log").open("w") as log:
        process = await asyncio.to_thread(
            subprocess.Popen, command, stdout=subprocess.PIPE, stderr=log, env=environment, text=True
        )
    try:
        assert process.stdout
        line = await asyncio.to_thread(process.stdout.readline)
        if not line:
            raise SystemExit(f"The server did not start:\n{(folder / 'server.log').read_text()[-2000:]}")
        started = json.loads(line)
        url = EmbeddedPostgres(folder / "data").url
        db = Database(url, size=1)
        await db.open()
        sampling = await asyncpg.connect(url)
        try:
            yield RunningServer(process, folder, started["url"], started["key"], db, sampling)
        finally:
            await sampling.close()
            await db.close()
    finally:
        process.terminate()
        process.wait(timeout=60)


async def soak(server: RunningServer, outside: OutsideServer, *, minutes: float, rate: float) -> Run:
    """Run the load: one fifth as a warm-up, an idle time, the other fifths, and another idle time."""
    await account_store.create_account(server.db, "small", concurrency=2)
    small = await account_store.find_account(server.db, "small")
    assert small is not None
    small_key = await account_store.create_key(server.db, small.id)
    traffic = Traffic(server.url, server.key, small_key, outside, rate=rate)
    fifth_s = minutes * 60 / FIFTHS
    samples: list[Sample] = []
    sampling = asyncio.create_task(_sample_repeatedly(server, samples))
    try:
        began = time.monotonic()
        await traffic.run(fifth_s)
        warm_up_end = time.monotonic()
        before = await _sample_idle(server)
        idle_s = time.monotonic() - began - fifth_s
        accepted = len(traffic.observations.accepted)
        _print_with_time(f"the warm-up took {warm_up_end - began:.0f} s and {accepted} tasks")
        await traffic.run(fifth_s * (FIFTHS - 1))
        after = await _sample_idle(server)
        if sampling.done():
            sampling.result()
    finally:
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)
        await traffic.close()
    run = Run(began, fifth_s, idle_s, samples, before, after, traffic.observations, {})
    run.facts = await _collect_facts(server, outside, run)
    return run


async def _sample_repeatedly(server: RunningServer, samples: list[Sample]) -> None:
    while True:
        samples.append(await server.sample())
        if len(samples) % 15 == 0:
            groups = samples[-1].usage.items()
            _print_with_time(", ".join(f"{name} {u.memory_mb:.0f} MB {u.files.total()} files" for name, u in groups))
        await asyncio.sleep(_SAMPLE_EVERY_S)


async def _sample_idle(server: RunningServer) -> Sample:
    """Wait until all work is done and some time has passed, and return a sample.

    The wait has a time limit. Work that is still open then is reported by `_collect_facts`.
    """
    deadline = time.monotonic() + _IDLE_TIMEOUT_S
    busy = (
        "select exists (select from tasks where ended_at is null) "
        "or exists (select from callback_messages where state = 'waiting') "
        "or exists (select from elements where status in ('submitted', 'processing'))"
    )
    while time.monotonic() < deadline and await server.db.value(busy):  # noqa: ASYNC110 - there is no event
        await asyncio.sleep(0.5)
    await asyncio.sleep(_IDLE_S)
    return await server.sample()


async def _collect_facts(server: RunningServer, outside: OutsideServer, run: Run) -> dict[str, Any]:
    """Return the facts from the database, the storage, the callback receivers and the log at the end of the run."""
    db, folder = server.db, server.folder
    rows = {str(row["id"]): row for row in await db.rows("select * from tasks")}
    totals = await db.row(
        "select sum(images_in_flight)::int as images, sum(units_reserved)::int as units from accounts"
    )
    assert totals is not None
    wrong_charges = sum(
        row["units_charged"] != (8 * row["image_count"] if row["status"] == "succeed" else 0) for row in rows.values()
    )
    used = await db.value("select sum(units_used)::int from accounts")
    charged = sum(row["units_charged"] for row in rows.values())
    shots = await db.rows("select key, watermark_key from shots where painted_at is not null")
    keys = {key for row in shots for key in (row["key"], row["watermark_key"]) if key}
    files = folder / "data" / "files"
    stored = {path.relative_to(files).as_posix() for path in (files / "images").rglob("*") if path.is_file()}
    valid_sequences = [["processing", "succeed"], ["processing", "failed"], ["failed"], ["succeed"]]
    clock_offset = time.time() - time.monotonic()
    created = [row["created_at"].timestamp() - clock_offset for row in rows.values()]
    log = (folder / "server.log").read_text()
    pids = {tuple(sorted(sample.pids.items())) for sample in run.samples if len(sample.pids) == 2}
    return {
        "tasks": len(rows),
        "tasks_by_fifth": count_by_fifth(run, created),
        "images": len(shots),
        "statuses": {status: sum(row["status"] == status for row in rows.values()) for status in FINAL_STATUSES},
        "max_connections": MAX_CONNECTIONS,
        "open": sum(row["ended_at"] is None for row in rows.values()),
        "lost": len(run.observations.accepted - rows.keys()),
        "in_flight": totals["images"],
        "reserved": totals["units"],
        "mischarged": wrong_charges + (used != charged),
        "batches": await db.value("select count(*) from batches"),
        "elements_open": await db.value("select count(*) from elements where status in ('submitted', 'processing')"),
        "callbacks": sum(len(statuses) for statuses in outside.statuses.values()),
        "callback_attempts_failed_on_purpose": outside.failed_attempts.total(),
        "callbacks_missing": sum(
            not outside.statuses[id] or outside.statuses[id][-1] != rows[id]["status"]
            for id in run.observations.with_callback
        ),
        "callbacks_disordered": sum(statuses not in valid_sequences for statuses in outside.statuses.values()),
        "files_without_row": len(stored - keys),
        "rows_without_file": len(keys - stored),
        "restarts": len(pids) - 1,
        "errors_logged": len(re.findall(r"^\S+ \S+ ERROR |^Traceback", log, re.MULTILINE)),
    }


def _print_with_time(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


async def main(folder: Path, minutes: float, rate: float, leak: str) -> bool:
    """Return whether all checks passed."""
    _print_with_time(f"{minutes:g} minutes, {rate:g} requests per second" + (f", with the leak {leak}" if leak else ""))
    async with outside_server() as outside, serving(folder, leak) as server:
        run = await soak(server, outside, minutes=minutes, rate=rate)
    checks, figures = evaluate(run)
    passed = all(check.passed for check in checks)
    print(table(checks))
    for kind, latencies in figures["latency_ms"].items():
        print(f"{kind:22}", *(f"{name} {' '.join(f'{ms:g}' for ms in values)}  " for name, values in latencies.items()))
    machine: dict[str, Any] = {
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
    machine["malloc"] = {name: value for name, value in os.environ.items() if name.startswith("MALLOC_")}
    parameters = {"minutes": minutes, "rate": rate, "leak": leak, "passed": passed, "machine": machine}
    facts = {name: value for name, value in run.facts.items() if name not in figures}
    if not leak:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(parameters | figures | facts, indent=2) + "\n")
    median = statistics.median(run.facts["tasks_by_fifth"]) / run.fifth_s
    print(f"{run.facts['tasks']} tasks, {run.facts['images']} images, {median:.1f} tasks per second; CPU of one core:")
    print("  " + ", ".join(f"{name} {share:.0%}" for name, share in figures["cpu_share"].items()))
    failed = "; ".join(check.name for check in checks if not check.passed)
    print("All checks passed." if passed else f"Failed: {failed}")
    return passed


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, default=15)
    parser.add_argument("--leak", default="", choices=["", "images", "little", "files", "threads"])
    parser.add_argument("--keep", action="store_true", help="keep the server's folder")
    arguments = parser.parse_args()
    if not Path("/proc/self/smaps_rollup").exists():
        sys.exit("The soak test reads /proc, so it runs only on Linux.")
    folder, passed = Path(tempfile.mkdtemp(prefix="soak-")), False
    folder.chmod(0o711)
    try:
        passed = asyncio.run(main(folder, arguments.minutes, arguments.rate, arguments.leak))
    except KeyboardInterrupt:
        print("Interrupted.")
    finally:
        if arguments.keep or not passed:
            print(f"The server's log and data are in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(not passed)
