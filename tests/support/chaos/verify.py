"""What must be true after a chaos test: each task ended as its kind must, once, charged, delivered and reported."""

import asyncio
import json
import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import httpx

from framehouse.adapters.postgres.pool import DATABASE_ERRORS, Database
from tests.support.chaos.clients import Clients, Sent
from tests.support.chaos.processes import Parts
from tests.support.eventually import eventually

UNITS = {"direct": 8, "relay": 8, "previz": 8}


async def all_is_over(db: Database) -> bool:
    try:
        left = await db.row(
            "select (select count(*) from tasks where ended_at is null) as tasks, "
            "(select count(*) from elements where status in ('submitted', 'processing')) as elements, "
            "(select count(*) from callback_messages where state = 'waiting') as messages"
        )
    except DATABASE_ERRORS:
        return False
    await asyncio.sleep(0.2)
    return left is not None and not any(left.values())


async def end_of_all(db: Database) -> None:
    """Wait until all is over; what is not by then is told, with what it waits for. A clock that went back puts off
    work for a minute until that is noticed, two more where it was to wait; a try that fails then is a minute more."""
    try:
        await eventually(lambda: all_is_over(db), seconds=480)
    except TimeoutError:
        left: list[str] = []
        for what, condition in (
            ("batches", "true"),
            ("elements", "status in ('submitted', 'processing')"),
            ("callback_messages", "state = 'waiting'"),
        ):
            rows = await db.rows(f"select to_jsonb(x) - 'body' as row, now() from {what} x where {condition} limit 10")
            left += [f"{what} at {row['now']}: {row['row']}" for row in rows]
        raise AssertionError("\n".join(left) or "tasks that nobody will end") from None


async def verify(folder: Path, parts: Parts, db: Database, clients: Clients, servers: list[str]) -> Counter[str]:
    """Check all that must be true, whatever happened; returns how many images were generated again."""
    rows = {str(row["id"]): row for row in await db.rows("select * from task_answers")}
    assert set(rows) == {sent.id for sent in clients.sent}, "each accepted task is there, and none twice"
    assert len(rows) == len(clients.sent)
    units = 0
    for sent in clients.sent:
        row = rows[sent.id]
        check_fate(sent, row)
        if row["status"] == "succeed":
            assert row["units_charged"] == UNITS[row["model"]] * sent.images
            units += row["units_charged"]
        else:
            assert row["units_charged"] == 0
    account = await db.row("select * from accounts where name = 'alice'")
    assert account is not None
    assert (account["images_in_flight"], account["units_reserved"], account["units_used"]) == (0, 0, units)
    assert await db.value("select count(*) from batches") == 0
    await check_pictures(clients, servers)
    repeated = check_painted_once(folder, parts, rows)
    await check_told(folder, db, clients, rows)
    return repeated


def check_fate(sent: Sent, row: Any) -> None:
    """It ended as its kind must."""
    fates = {"cancelled": {"Canceled"}, "refused": {"the engine refuses to generate this"}}
    fates["failing"] = {"misbehaving: the engine returned invalid data", "the engine returned invalid data"}
    if sent.kind == "cancelled" and row["status"] == "succeed":
        return  # it was faster
    if sent.kind in fates:
        assert row["status"] == "failed", (sent, row["status"])
        assert any(fate in row["status_message"] for fate in fates[sent.kind]), row["status_message"]
    else:
        assert row["status"] == "succeed", (sent, row["status_message"])
        assert row["image_count"] == sent.images


async def check_pictures(clients: Clients, servers: list[str]) -> None:
    """Every picture of every success can be had, whole, under the link that the API gives."""
    checked = 0
    async with httpx.AsyncClient(timeout=30, headers={"Authorization": f"Bearer {clients.key}"}) as http:
        for sent in clients.sent:
            answer = await http.get(f"{random.choice(servers)}/kling/v1/images/omni-image/{sent.id}")
            data = answer.json()["data"]
            if data["task_status"] != "succeed":
                continue
            found = data["task_result"]["images"] + data["task_result"]["series_images"]
            assert [image["index"] for image in found] == list(range(sent.images))
            for image in found:
                assert ("watermark_url" in image) == sent.marked
                for url in filter(None, (image["url"], image.get("watermark_url"))):
                    content = (await http.get(url)).content
                    assert content[:8] == b"\x89PNG\r\n\x1a\n", content[:200]
                    assert content[-8:-4] == b"IEND", "whole"
                    checked += 1
    assert checked


def check_painted_once(folder: Path, parts: Parts, rows: dict[str, Any]) -> Counter[str]:
    """A picture was painted again only where the process that had painted it was killed or stopped. Who was stopped for
    longer than its lease goes on with its brush in hand, and may end after who took its place: that is not again."""
    repeated: Counter[str] = Counter()
    for name in ("notes", "upstream.notes"):
        generated: dict[tuple[str, str], list[int]] = defaultdict(list)
        for task, index, pid in done_lines(folder / name):
            generated[task, index].append(int(pid))
        for (task, index), pids in generated.items():
            others = pids[:-1] if pids[-1] in parts.stopped else pids
            spared = [pid for pid in others[:-1] if pid not in parts.harmed]
            why = f"{name}: picture {index} of {task} was painted by {pids}, of which {spared} lived on"
            assert not spared, f"{why}\n{told_of(folder, task)}"
        repeated[f"painted again ({name})"] = sum(len(pids) - 1 for pids in generated.values())
    direct = {task for task, row in rows.items() if row["model"] == "direct"}
    assert direct >= {task for task, _, _ in done_lines(folder / "notes")}
    return repeated


def told_of(folder: Path, task: str) -> str:
    """What the house's processes logged of a task and of leases, and the blows, by their time."""
    lines: list[str] = []
    for path in [*folder.glob("worker*.log"), *folder.glob("api*.log"), folder / "blows.log"]:
        words = (task, "lease", "requeued", "---") if path.stem != "blows" else ("",)
        found = path.read_text(errors="replace").splitlines()
        lines += [f"{line[:300]} ({path.stem})" for line in found if any(word in line for word in words)]
    return "\n".join(sorted(lines))


def done_lines(notes: Path) -> list[list[str]]:
    """Task, index and process of each picture that was painted."""
    return [line.split()[1:] for line in notes.read_text().splitlines() if line.startswith("done ")]


async def check_told(folder: Path, db: Database, clients: Clients, rows: dict[str, Any]) -> None:
    """Every change of status arrived, in order, under one id however often."""
    told = received_callbacks(folder)
    for sent in clients.sent:
        notes = told.get(sent.id, [])
        if not sent.told:
            assert not notes
            continue
        ids = dict(notes)
        order = list(dict.fromkeys(status for _, status in notes))
        assert order[-1:] == [rows[sent.id]["status"]], (sent, notes)
        assert order in (["processing", "succeed"], ["processing", "failed"], ["failed"]), (sent, notes)
        assert len(ids) == len(order), "one message per change"
    states = await db.rows("select distinct state from callback_messages")
    assert [row["state"] for row in states] == ["delivered"]


def received_callbacks(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """By task, the message id and the status of each callback that a receiver has taken."""
    received: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for path in sorted(folder.glob("told*")):
        for line in path.read_text().splitlines():
            note = json.loads(line)
            received[note["task"]].append((note["id"], note["status"]))
    return received
