"""Checks after a chaos test: each task ended as expected, was charged once, and its images and callbacks arrived."""

import asyncio
import json
import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import httpx

from framehouse.adapters.postgres.pool import DATABASE_ERRORS, Database
from tests.support.chaos.clients import Clients, SentTask
from tests.support.chaos.disturbers import check_disturbers
from tests.support.chaos.processes import ProcessSet
from tests.support.eventually import eventually

UNITS = {"direct": 8, "relay": 8, "previz": 8}


async def all_work_ended(db: Database) -> bool:
    """Whether no task, element or callback is unfinished; false if the database cannot be reached."""
    try:
        unfinished = await db.row(
            "select (select count(*) from tasks where ended_at is null) as tasks, "
            "(select count(*) from elements where status in ('submitted', 'processing')) as elements, "
            "(select count(*) from callback_messages where state = 'waiting') as messages"
        )
    except DATABASE_ERRORS:
        return False
    await asyncio.sleep(0.2)
    return unfinished is not None and not any(unfinished.values())


async def wait_for_all_work(db: Database) -> None:
    """Wait until all work has ended. Raises AssertionError with the unfinished rows after eight minutes.

    After the clock went back, work is delayed for up to a minute, until this is noticed. Work that was waiting for a
    point in time is delayed for two more minutes. An attempt that fails then adds one minute.
    """
    try:
        await eventually(lambda: all_work_ended(db), seconds=480)
    except TimeoutError:
        unfinished: list[str] = []
        for table, condition in (
            ("batches", "true"),
            ("elements", "status in ('submitted', 'processing')"),
            ("callback_messages", "state = 'waiting'"),
        ):
            rows = await db.rows(f"select to_jsonb(x) - 'body' as row, now() from {table} x where {condition} limit 10")
            unfinished += [f"{table} at {row['now']}: {row['row']}" for row in rows]
        raise AssertionError("\n".join(unfinished) or "some tasks have no batch and will never end") from None


async def verify(
    folder: Path, processes: ProcessSet, db: Database, clients: Clients, servers: list[str]
) -> Counter[str]:
    """Check everything that must be true after any faults. Returns how many images were generated again."""
    query = "select t.* from task_answers t join accounts a on a.id = t.account_id where a.name = 'alice'"
    rows = {str(row["id"]): row for row in await db.rows(query)}
    assert set(rows) == {sent.id for sent in clients.sent}, "each accepted task exists"
    assert len(rows) == len(clients.sent)
    units = 0
    for sent in clients.sent:
        row = rows[sent.id]
        check_outcome(sent, row)
        if row["status"] == "succeed":
            assert row["units_charged"] == UNITS[row["model"]] * sent.images
            units += row["units_charged"]
        else:
            assert row["units_charged"] == 0
    account = await db.row("select * from accounts where name = 'alice'")
    assert account is not None
    assert (account["images_in_flight"], account["units_reserved"], account["units_used"]) == (0, 0, units)
    charges = await db.rows("select task_id, amount from charges where account_id = :id", id=account["id"])
    assert sum(charge["amount"] for charge in charges) == units
    assert len({charge["task_id"] for charge in charges}) == len(charges), "a task was charged twice"
    assert await db.value("select count(*) from batches") == 0
    await check_disturbers(db)
    await check_billing(clients, servers, units)
    await check_images(clients, servers)
    repeated = check_generated_once(folder, processes, rows)
    await check_callbacks(folder, db, clients, rows)
    return repeated


def check_outcome(sent: SentTask, row: Any) -> None:
    """Check that a task ended as its kind requires."""
    failures = {"cancelled": {"Canceled"}, "refused": {"the engine refuses to generate this"}}
    failures["failing"] = {"misbehaving: the engine returned invalid data", "the engine returned invalid data"}
    if sent.kind == "cancelled" and row["status"] == "succeed":
        return  # the task ended before its cancellation
    if sent.kind in failures:
        assert row["status"] == "failed", (sent, row["status"])
        assert any(message in row["status_message"] for message in failures[sent.kind]), row["status_message"]
    else:
        assert row["status"] == "succeed", (sent, row["status_message"])
        assert row["image_count"] == sent.images


async def check_billing(clients: Clients, servers: list[str], units: int) -> None:
    """Check that the account endpoints report exactly these units, and one row for each successful task."""
    charges: list[dict[str, Any]] = []
    url = random.choice(servers)
    async with httpx.AsyncClient(timeout=30, headers={"Authorization": f"Bearer {clients.key}"}) as http:
        query: dict[str, Any] = {"limit": 50}
        while True:
            page = (await http.post(f"{url}/kling/account/billing/package", json=query)).json()["data"]
            charges += page["result"]["detail"]
            if not page["has_more"]:
                break
            query["cursor"] = page["next_cursor"]
        (pack,) = (await http.get(f"{url}/kling/account/costs")).json()["data"]["resource_pack_subscribe_infos"]
    assert sum(charge["deduction_amount"] for charge in charges) == units
    assert pack["total_quantity"] - pack["remaining_quantity"] == units
    remaining = pack["remaining_quantity"]
    for charge in charges:  # the newest charge is the first
        assert charge["unit_after_deduction"] == remaining
        remaining += charge["deduction_amount"]
        assert charge["unit_before_deduction"] == remaining
    assert remaining == pack["total_quantity"]


async def check_images(clients: Clients, servers: list[str]) -> None:
    """Check that every image of every successful task can be downloaded from the URL that the API gives."""
    checked = 0
    async with httpx.AsyncClient(timeout=30, headers={"Authorization": f"Bearer {clients.key}"}) as http:
        for sent in clients.sent:
            answer = await http.get(f"{random.choice(servers)}{sent.path}")
            data = answer.json()["data"]
            if data["task_status"] != "succeed":
                continue
            images = data["task_result"]["images"] + data["task_result"].get("series_images", [])
            assert [image["index"] for image in images] == list(range(sent.images))
            for image in images:
                assert ("watermark_url" in image) == sent.watermarked
                for url in filter(None, (image["url"], image.get("watermark_url"))):
                    content = (await http.get(url)).content
                    assert content[:8] == b"\x89PNG\r\n\x1a\n", content[:200]
                    assert content[-8:-4] == b"IEND", "the file is truncated"
                    checked += 1
    assert checked


def check_generated_once(folder: Path, processes: ProcessSet, rows: dict[str, Any]) -> Counter[str]:
    """Check that an image was generated again only if the earlier process was disturbed. Returns the repetitions.

    A process that was stopped for longer than its lease continues its call when it resumes. It may therefore finish an
    image after the process that took over its batch. Such a late process is not counted as the last one.
    """
    repeated: Counter[str] = Counter()
    for name in ("notes", "upstream.notes"):
        generated: dict[tuple[str, str], list[int]] = defaultdict(list)
        for task, index, pid in done_lines(folder / name):
            if task in rows or name != "notes":
                generated[task, index].append(int(pid))
        for (task, index), pids in generated.items():
            in_order = pids[:-1] if pids[-1] in processes.stopped else pids
            undisturbed = [pid for pid in in_order[:-1] if pid not in processes.disturbed]
            problem = f"{name}: image {index} of {task} was generated by {pids}; nothing disturbed {undisturbed}"
            assert not undisturbed, f"{problem}\n{log_lines(folder, task)}"
        repeated[f"generated again ({name})"] = sum(len(pids) - 1 for pids in generated.values())
    direct = {task for task, row in rows.items() if row["model"] == "direct"}
    assert direct >= {task for task, _, _ in done_lines(folder / "notes") if task in rows}
    return repeated


def log_lines(folder: Path, task: str) -> str:
    """Log lines of workers and APIs about a task and about leases, and the injected faults, in order of time."""
    lines: list[str] = []
    for path in [*folder.glob("worker*.log"), *folder.glob("api*.log"), folder / "faults.log"]:
        words = (task, "lease", "requeued", "---") if path.stem != "faults" else ("",)
        all_lines = path.read_text(errors="replace").splitlines()
        lines += [f"{line[:300]} ({path.stem})" for line in all_lines if any(word in line for word in words)]
    return "\n".join(sorted(lines))


def done_lines(notes: Path) -> list[list[str]]:
    """Task, index and pid of each image that was generated, as `RecordingEngine` writes them."""
    return [line.split()[1:] for line in notes.read_text().splitlines() if line.startswith("done ")]


async def check_callbacks(folder: Path, db: Database, clients: Clients, rows: dict[str, Any]) -> None:
    """Check that every change of status arrived in order, and that all deliveries of a change had the same id."""
    received = received_callbacks(folder)
    for sent in clients.sent:
        deliveries = received.get(sent.id, [])
        if not sent.callback_receiver:
            assert not deliveries
            continue
        ids = dict(deliveries)
        order = list(dict.fromkeys(status for _, status in deliveries))
        assert order[-1:] == [rows[sent.id]["status"]], (sent, deliveries)
        assert order in (["processing", "succeed"], ["processing", "failed"], ["failed"]), (sent, deliveries)
        assert len(ids) == len(order), "one message per change"
    states = await db.rows("select distinct state from callback_messages")
    assert [row["state"] for row in states] == ["delivered"]


def received_callbacks(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """By task, the message id and the status of each callback that a receiver accepted."""
    received: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for path in sorted(folder.glob("callbacks*")):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            received[record["task"]].append((record["id"], record["status"]))
    return received
