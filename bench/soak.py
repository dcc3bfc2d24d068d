"""A long time in small: a real server under a realistic mix, and whether anything grows, stays open or gets slower.

    make soak [MINUTES=10] [RATE=15] [LEAK=pictures|little|files|threads]

Starts `framehouse serve` as a user does, on loopback, with a data folder of its own, and makes RATE requests of all
kinds a second (bench/soaking/traffic.py), the same mix from the first minute to the last. The first fifth is for
warming up; what is compared is the rest. Linux only, for what processes have in use is read from /proc. The table says
what was promised and found, bench/results/soak.json has the figures; the exit code is 1 where a promise is broken.
LEAK makes the engine leak, to see that it would be found.
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
from soaking.traffic import ENDED, Traffic
from soaking.verdict import FIFTHS, Run, count_by_fifth, judge, table
from soaking.watch import Sample, connections, look

RESULTS = Path(__file__).parent / "results" / "soak.json"
MOST_CONNECTIONS = API_POOL + WORKER_POOL + BUSY_POOL + 8
"""What the pools of the API and of the worker may hold, and the connections that listen."""
_EVERY_S = 2.0
_REST_S = 20.0
_PATIENCE_S = 180.0
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
class Served:
    """A running server."""

    process: "subprocess.Popen[str]"
    folder: Path
    url: str
    key: str
    db: Database
    watching: "asyncpg.Connection[asyncpg.Record]"
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def sample(self) -> Sample:
        found = await asyncio.to_thread(look, self.process.pid, self.folder)
        async with self.turn:
            found.connections = await connections(self.watching)
        found.connections["idle"] = found.connections.get("idle", 1) - 1  # the soak's own
        return found


@asynccontextmanager
async def serving(folder: Path, leak: str) -> AsyncIterator[Served]:
    """A server as a user starts it, but for its engine and a folder for temporary files."""
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
        told = json.loads(line)
        url = EmbeddedPostgres(folder / "data").url
        db = Database(url, size=1)
        await db.open()
        watching = await asyncpg.connect(url)
        try:
            yield Served(process, folder, told["url"], told["key"], db, watching)
        finally:
            await watching.close()
            await db.close()
    finally:
        process.terminate()
        process.wait(timeout=60)


async def soak(served: Served, met: OutsideServer, *, minutes: float, rate: float) -> Run:
    """The whole time: a fifth to warm up, a rest, the other fifths, a rest."""
    await account_store.create_account(served.db, "small", concurrency=2)
    small = await account_store.find_account(served.db, "small")
    assert small is not None
    small_key = await account_store.create_key(served.db, small.id)
    traffic = Traffic(served.url, served.key, small_key, met, rate=rate)
    fifth_s = minutes * 60 / FIFTHS
    samples: list[Sample] = []
    watching = asyncio.create_task(_watch(served, samples))
    try:
        began = time.monotonic()
        await traffic.run(fifth_s)
        warm = time.monotonic()
        before = await _rest(served)
        resting_s = time.monotonic() - began - fifth_s
        _say(f"warm after {warm - began:.0f} s, {len(traffic.seen.accepted)} tasks")
        await traffic.run(fifth_s * (FIFTHS - 1))
        after = await _rest(served)
        if watching.done():
            watching.result()
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await traffic.close()
    run = Run(began, fifth_s, resting_s, samples, before, after, traffic.seen, {})
    run.facts = await _facts(served, met, run)
    return run


async def _watch(served: Served, samples: list[Sample]) -> None:
    while True:
        samples.append(await served.sample())
        if len(samples) % 15 == 0:
            uses = samples[-1].uses
            _say(", ".join(f"{name} {use.memory_mb:.0f} MB {use.files.total()} files" for name, use in uses.items()))
        await asyncio.sleep(_EVERY_S)


async def _rest(served: Served) -> Sample:
    """What is in use when all is done and a while has passed; what is still to be done after a long time is told by the
    facts."""
    end = time.monotonic() + _PATIENCE_S
    busy = (
        "select exists (select from tasks where ended_at is null) "
        "or exists (select from callback_messages where state = 'waiting') "
        "or exists (select from elements where status in ('submitted', 'processing'))"
    )
    while time.monotonic() < end and await served.db.value(busy):  # noqa: ASYNC110 - it is asked for, nobody tells
        await asyncio.sleep(0.5)
    await asyncio.sleep(_REST_S)
    return await served.sample()


async def _facts(served: Served, met: OutsideServer, run: Run) -> dict[str, Any]:
    """What the database, the storage, the receivers and the log say in the end."""
    db, folder = served.db, served.folder
    rows = {str(row["id"]): row for row in await db.rows("select * from tasks")}
    totals = await db.row(
        "select sum(images_in_flight)::int as images, sum(units_reserved)::int as units from accounts"
    )
    assert totals is not None
    wrong = sum(
        row["units_charged"] != (8 * row["image_count"] if row["status"] == "succeed" else 0) for row in rows.values()
    )
    used = await db.value("select sum(units_used)::int from accounts")
    expected = sum(row["units_charged"] for row in rows.values())
    shots = await db.rows("select key, watermark_key from shots where painted_at is not null")
    named = {key for row in shots for key in (row["key"], row["watermark_key"]) if key}
    files = folder / "data" / "files"
    stored = {path.relative_to(files).as_posix() for path in (files / "images").rglob("*") if path.is_file()}
    ends = [["processing", "succeed"], ["processing", "failed"], ["failed"], ["succeed"]]
    now = time.time() - time.monotonic()
    began = [row["created_at"].timestamp() - now for row in rows.values()]
    log = (folder / "server.log").read_text()
    pids = {tuple(sorted(sample.pids.items())) for sample in run.samples if len(sample.pids) == 2}
    return {
        "tasks": len(rows),
        "tasks_by_fifth": count_by_fifth(run, began),
        "images": len(shots),
        "statuses": {status: sum(row["status"] == status for row in rows.values()) for status in ENDED},
        "most_connections": MOST_CONNECTIONS,
        "open": sum(row["ended_at"] is None for row in rows.values()),
        "lost": len(run.seen.accepted - rows.keys()),
        "in_flight": totals["images"],
        "reserved": totals["units"],
        "mischarged": wrong + (used != expected),
        "batches": await db.value("select count(*) from batches"),
        "elements_open": await db.value("select count(*) from elements where status in ('submitted', 'processing')"),
        "callbacks": sum(len(statuses) for statuses in met.statuses.values()),
        "callbacks_refused_at_first": met.again.total(),
        "callbacks_missing": sum(
            not met.statuses[id] or met.statuses[id][-1] != rows[id]["status"] for id in run.seen.told_of
        ),
        "callbacks_disordered": sum(statuses not in ends for statuses in met.statuses.values()),
        "files_without_row": len(stored - named),
        "rows_without_file": len(named - stored),
        "restarts": len(pids) - 1,
        "errors_logged": len(re.findall(r"^\S+ \S+ ERROR |^Traceback", log, re.MULTILINE)),
    }


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


async def main(folder: Path, minutes: float, rate: float, leak: str) -> bool:
    """Whether all promises were kept."""
    _say(f"{minutes:g} minutes, {rate:g} requests a second" + (f", an engine that leaks {leak}" if leak else ""))
    async with outside_server() as met, serving(folder, leak) as served:
        run = await soak(served, met, minutes=minutes, rate=rate)
    rows, figures = judge(run)
    kept = all(row.kept for row in rows)
    print(table(rows))
    for what, times in figures["latency_ms"].items():
        print(f"{what:22}", *(f"{name} {' '.join(f'{ms:g}' for ms in found)}  " for name, found in times.items()))
    machine: dict[str, Any] = {
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
    machine["malloc"] = {name: value for name, value in os.environ.items() if name.startswith("MALLOC_")}
    told = {"minutes": minutes, "rate": rate, "leak": leak, "kept": kept, "machine": machine}
    facts = {name: value for name, value in run.facts.items() if name not in figures}
    if not leak:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(told | figures | facts, indent=2) + "\n")
    median = statistics.median(run.facts["tasks_by_fifth"]) / run.fifth_s
    print(f"{run.facts['tasks']} tasks, {run.facts['images']} pictures, {median:.1f} tasks a second; CPU of one core:")
    print("  " + ", ".join(f"{name} {share:.0%}" for name, share in figures["cpu_share"].items()))
    print("All promises kept." if kept else "Broken: " + "; ".join(row.what for row in rows if not row.kept))
    return kept


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, default=15)
    parser.add_argument("--leak", default="", choices=["", "pictures", "little", "files", "threads"])
    parser.add_argument("--keep", action="store_true", help="keep the server's folder")
    given = parser.parse_args()
    if not Path("/proc/self/smaps_rollup").exists():
        sys.exit("The soak reads /proc, which only Linux has: it cannot be run here.")
    folder, kept = Path(tempfile.mkdtemp(prefix="soak-")), False
    folder.chmod(0o711)
    try:
        kept = asyncio.run(main(folder, given.minutes, given.rate, given.leak))
    except KeyboardInterrupt:
        print("Ended early.")
    finally:
        if given.keep or not kept:
            print(f"The server's log and data are in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(not kept)
