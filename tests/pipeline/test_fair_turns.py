"""Workers serve the accounts in turn: no account waits until another account's batches are all generated."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from framehouse.adapters.postgres import account_store, batch_queue, task_store
from framehouse.adapters.postgres.batch_queue import Claimed, StoredShot
from framehouse.adapters.postgres.new_task import NewTask
from framehouse.adapters.postgres.pool import Database, sql
from framehouse.domain.shot import Shot
from framehouse.domain.turn_cost import shot_cost
from tests.support.database import execute
from tests.support.eventually import eventually
from tests.support.worker_processes import two_apis_and_two_workers

LEASE = timedelta(seconds=30)
MODEL = "kling-v3-omni"
ROUTES = [(MODEL, "")]


class Queue:
    """The accounts of one database, and the calls that clients and workers send."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.ids: dict[str, int] = {}
        self.names: dict[int, str] = {}

    async def account(self, name: str, *, weight: float = 1.0) -> int:
        if name not in self.ids:
            await account_store.create_account(self.db, name, concurrency=1_000_000, weight=weight)
            account = await account_store.find_account(self.db, name)
            assert account is not None
            self.ids[name], self.names[account.id] = account.id, name
        return self.ids[name]

    async def accept(
        self, name: str, count: int = 1, *, images: int = 1, resolution: str = "1k", low: bool = False,
        model: str = MODEL,
    ) -> list[UUID]:  # fmt: skip
        """Accept `count` tasks. Each task has one batch with `images` shots."""
        account_id = await self.account(name)
        indexes = tuple(range(images))
        tasks = [
            NewTask(
                uuid4(), account_id, model, "x", "single", resolution, "1:1", False, 8,
                shots=tuple(Shot(index, "x", "", index) for index in indexes), batches=(indexes,), low=low,
            )
            for _ in range(count)
        ]  # fmt: skip
        results = await task_store.accept_tasks(self.db, tasks)
        assert {result.outcome for result in results} == {"accepted"}
        return [task.task_id for task in tasks]

    async def claim(self, limit: int = 1, routes: Sequence[tuple[str, str]] = ROUTES) -> list[Claimed]:
        return await batch_queue.claim_batches(self.db, worker=1, limit=limit, lease=LEASE, routes=routes)

    async def serve(self, count: int, routes: Sequence[tuple[str, str]] = ROUTES) -> list[str]:
        """Claim and finish `count` batches one after the other. Returns the names of their accounts."""
        served = []
        for _ in range(count):
            (batch,) = await self.claim(routes=routes)
            served.append(self.names[batch.account_id])
            await self.finish(batch)
        return served

    async def finish(self, batch: Claimed) -> None:
        for shot in batch.shots:
            stored = StoredShot(shot.index, "test", f"{uuid4()}.png", "", "image/png", 8, 8)
            saved = await batch_queue.settle_shot(self.db, batch.task_id, batch.id, batch.claim, stored, LEASE)
            assert saved != "lost"

    async def cancel(self, name: str, task_id: UUID) -> None:
        assert await task_store.cancel_task(self.db, self.ids[name], task_id, LEASE)

    async def release(self, batch: Claimed, *, after_s: float = 0.0, route: str | None = None) -> None:
        after = timedelta(seconds=after_s)
        await batch_queue.release_batch(self.db, batch.id, batch.claim, after=after, error="busy", route=route)

    async def lose(self, batch: Claimed) -> None:
        """Requeue a batch whose worker died."""
        lease_until = await self.db.value("select lease_until from batches where id = :id", id=batch.id)
        assert await self.db.rows(
            sql("requeue_batches"), batch_ids=[batch.id], claims=[batch.claim], leases=[lease_until]
        )

    async def end_pauses(self) -> None:
        await self.db.row("update batches set run_at = now() where claim is null and run_at > now()")


@pytest.fixture
def queue(db: Database) -> Queue:
    return Queue(db)


async def test_a_new_account_is_next_however_many_batches_wait(queue: Queue) -> None:
    for name in ("alice", "bob", "carol"):
        await queue.accept(name, 30, images=9)
    await queue.serve(7)
    await queue.accept("dave")
    assert await queue.serve(1) == ["dave"]


async def test_an_account_is_served_in_the_order_of_its_requests(queue: Queue) -> None:
    tasks = [(await queue.accept("alice", images=images))[0] for images in (9, 1, 1, 4)]
    await queue.accept("bob", 3)
    tasks += await queue.accept("alice", 3)
    batches = await queue.claim(limit=50)
    by_alice = [batch for batch in batches if queue.names[batch.account_id] == "alice"]
    by_turn = await queue.db.rows(
        "select task_id from batches where id = any (:ids) order by turn", ids=[batch.id for batch in by_alice]
    )
    assert [row["task_id"] for row in by_turn] == tasks


async def test_accounts_with_full_queues_take_turns(queue: Queue) -> None:
    for name in ("alice", "bob", "carol"):
        await queue.accept(name, 10)
    served = await queue.serve(30)
    for count in range(3, 31, 3):
        assert set(Counter(served[:count]).values()) == {count // 3}


async def test_a_weight_gives_an_account_a_larger_share(queue: Queue) -> None:
    await queue.account("alice", weight=3)
    for name in ("alice", "bob"):
        await queue.accept(name, 60)
    assert abs(Counter(await queue.serve(40))["alice"] - 30) <= 1


async def test_a_changed_weight_counts_for_new_tasks(queue: Queue) -> None:
    await queue.account("alice")
    await account_store.set_account(
        queue.db, "alice", concurrency=None, units_limit=None, no_limit=False, disabled=None, weight=4.0
    )
    for name in ("alice", "bob"):
        await queue.accept(name, 60)
    assert abs(Counter(await queue.serve(50))["alice"] - 40) <= 1


async def test_large_images_cost_more_than_small_images(queue: Queue) -> None:
    """Nine 4k images are as expensive as 144 1k images."""
    await queue.accept("alice", 3, images=9, resolution="4k")
    await queue.accept("bob", 300)
    served = await queue.serve(200)
    first, second = (index for index, name in enumerate(served) if name == "alice")
    assert second - first - 1 == 9 * shot_cost("4k") == 144


async def test_low_priority_waits_for_normal_priority(queue: Queue) -> None:
    await queue.accept("alice", 3, low=True)
    await queue.accept("alice", 3)
    await queue.accept("bob", 3)
    batches = await queue.claim(limit=9)
    low = {row["id"] for row in await queue.db.rows("select id from batches where low")}
    await queue.db.row("update batches set claim = null, lease_until = null")
    order = [(await queue.claim())[0].id for _ in batches]
    assert set(order[-3:]) == low


async def test_low_priority_is_served_once_a_minute_while_normal_batches_wait(queue: Queue) -> None:
    await queue.accept("low", 5, low=True)
    await queue.accept("alice", 20)
    assert await queue.serve(3) == ["alice"] * 3
    for _ in range(2):
        await queue.db.row("update batch_queues set claimed_at = claimed_at - interval '61 seconds'")
        assert await queue.serve(3) == ["low", "alice", "alice"]


async def test_the_cost_of_canceled_tasks_is_refunded(queue: Queue) -> None:
    canceled = await queue.accept("alice", 50)
    await queue.accept("bob", 50)
    await queue.serve(4)
    for task_id in canceled[2:]:
        await queue.cancel("alice", task_id)
    await queue.serve(5)
    await queue.accept("alice", 5)
    assert Counter(await queue.serve(10))["alice"] == 5


async def test_work_on_an_idle_queue_is_forgotten(queue: Queue) -> None:
    """While alice used idle workers, no other account waited. Later, the two accounts are equal."""
    await queue.accept("alice", images=9, resolution="4k")
    await queue.serve(1)
    assert await queue.claim() == []
    await queue.accept("bob", 20)
    await queue.accept("alice", 20)
    assert Counter(await queue.serve(20))["alice"] >= 9


@pytest.mark.parametrize("count", [1, 20])
async def test_postponed_batches_of_one_account_do_not_delay_others(queue: Queue, count: int) -> None:
    await queue.accept("alice", count)
    for batch in await queue.claim(limit=count):
        await queue.release(batch, after_s=60)
    await queue.accept("bob", 30)
    await queue.serve(5)
    await queue.end_pauses()
    await queue.accept("carol")
    assert await queue.serve(1) == ["carol"]
    assert Counter(await queue.serve(2 * count))["alice"] >= count - 1


async def test_a_postponed_batch_does_not_wait_for_the_new_tasks_of_its_account(queue: Queue) -> None:
    (first,) = await queue.accept("alice")
    (batch,) = await queue.claim()
    await queue.accept("alice", 100)
    await queue.accept("bob", 100)
    await queue.release(batch)
    assert first in {batch.task_id for batch in await queue.claim(limit=4)}


async def test_a_batch_that_is_handed_over_gets_a_turn_of_the_next_route(queue: Queue) -> None:
    await queue.accept("bob", 10)
    for batch in await queue.claim(limit=10):
        await queue.release(batch, route="cloud")
    cloud = [(MODEL, "cloud")]
    assert await queue.serve(3, cloud) == ["bob"] * 3
    await queue.accept("alice")
    (batch,) = await queue.claim()
    await queue.release(batch, route="cloud")
    assert "alice" in await queue.serve(2, cloud)


async def test_a_worker_serves_the_queues_of_several_models_in_turn(queue: Queue) -> None:
    await queue.accept("alice", 50)
    await queue.serve(10)
    await queue.accept("bob", 3, model="other")
    routes = [(MODEL, ""), ("other", "")]
    assert Counter(await queue.serve(6, routes)) == {"alice": 3, "bob": 3}


async def test_batches_of_an_older_release_are_claimed(queue: Queue) -> None:
    """During an upgrade, a worker of the previous release releases batches without changing their turns."""
    await queue.accept("alice", 2)
    postponed, released = await queue.claim(limit=2)
    for batch, after in ((postponed, "1 hour"), (released, "0")):
        await queue.db.row(
            "update batches set claim = null, lease_until = null, run_at = now() + :after::text::interval "
            "where id = :id",
            after=after, id=batch.id,
        )  # fmt: skip
    assert [batch.id for batch in await queue.claim(limit=2)] == [released.id]


async def test_a_claim_for_one_task_does_not_move_other_accounts_back(queue: Queue) -> None:
    """`framehouse generate` claims only the batches of its own task."""
    await queue.accept("bob", 50)
    for _ in range(5):
        (task_id,) = await queue.accept("alice", images=9, resolution="4k")
        (batch,) = await batch_queue.claim_batches(
            queue.db, worker=1, limit=1, lease=LEASE, routes=ROUTES, task_id=task_id
        )
        await queue.finish(batch)
    await queue.accept("carol")
    assert "carol" in await queue.serve(2)


async def test_cancelled_retries_are_refunded(queue: Queue) -> None:
    tasks = await queue.accept("alice", 30)
    for batch in await queue.claim(limit=30):
        await batch_queue.release_batch(
            queue.db, batch.id, batch.claim, after=timedelta(minutes=1), error="busy", count_attempt=False
        )
    await queue.end_pauses()
    await queue.accept("bob", 100)
    await queue.serve(2)
    for task_id in tasks[3:]:
        await queue.cancel("alice", task_id)
    await queue.serve(10)
    await queue.accept("alice")
    (batch,) = await queue.claim()
    assert queue.names[batch.account_id] == "alice"
    await queue.release(batch)
    assert Counter(await queue.serve(4))["alice"] >= 1


async def test_queues_are_served_in_turn_after_the_clock_was_set_back(queue: Queue) -> None:
    await queue.accept("alice", 20)
    await queue.accept("bob", 20, model="other")
    routes = [(MODEL, ""), ("other", "")]
    await queue.serve(4, routes)
    await queue.db.row("update batch_queues set claimed_at = claimed_at + interval '1 hour'")
    assert Counter(await queue.serve(10, routes)) == {"alice": 5, "bob": 5}


async def test_100_000_postponed_batches_are_not_read(queue: Queue) -> None:
    (task_id,) = await queue.accept("alice")
    await queue.db.row(
        "insert into batches (task_id, model, shot_indexes, turn, run_at) "
        "select :task_id, 'kling-v3-omni', '{0}', null, now() + interval '1 hour' from generate_series(1, 100000)",
        task_id=task_id,
    )
    await queue.accept("bob", 10)
    await queue.db.row("analyze batches")
    plan = await queue.db.rows(
        "explain (analyze, buffers, format text) select * from claim_batches(:models, :routes, 4, :claim, 1, "
        "interval '30 s', null, false, '{}')",
        models=[MODEL], routes=[""], claim=uuid4(),
    )  # fmt: skip
    text = "\n".join(row[0] for row in plan)
    hits = sum(int(part.split("=")[1]) for part in text.split() if part.startswith(("hit=", "read=")))
    assert hits < 1000, text


@pytest.mark.parametrize("seed", range(5))
async def test_simulation_of_random_arrivals(queue: Queue, seed: int) -> None:
    """A new account waits only until a slot is free. Accounts with full queues get equal shares.

    Random accounts send random tasks. The batches end in random order, some are postponed, and some workers die.
    """
    choose = random.Random(seed)
    slots = choose.randint(1, 6)
    full = {f"full-{number}": choose.choice([1, 2, 4]) for number in range(3)}
    for name, images in full.items():
        await queue.accept(name, 500, images=images)
    await queue.serve(20)
    running: list[Claimed] = []
    new_accounts: set[str] = set()
    cost: Counter[str] = Counter()
    for step in range(250):
        if choose.random() < 0.15:
            new_accounts.add(f"new-{step}")
            await queue.accept(f"new-{step}", choose.choice([1, 1, 40]), images=choose.choice([1, 9]))
        batches = await queue.claim(limit=slots - len(running)) if len(running) < slots else []
        running += batches
        assert len(running) == slots, "no slot is idle while batches wait"
        accounts = {queue.names[batch.account_id] for batch in batches if batch.attempt == 1}
        first = sum(batch.attempt == 1 for batch in batches)
        assert len(accounts & new_accounts) == min(first, len(new_accounts)), "new accounts are served first"
        new_accounts -= accounts
        for batch in batches:
            cost[queue.names[batch.account_id]] += len(batch.shots) * (batch.attempt == 1)
        batch = running.pop(choose.randrange(len(running)))
        match choose.random():
            case end if end < 0.05:
                await queue.release(batch, after_s=choose.choice([0, 60]))
            case end if end < 0.1:
                await queue.lose(batch)
            case _:
                await queue.finish(batch)
        if choose.random() < 0.1:
            await queue.end_pauses()
    shares = [cost[name] for name in full]
    assert max(shares) - min(shares) <= 2 * max(full.values()) + slots, shares


LOG_CLAIMS = """
create table claims (place bigint generated always as identity, task_id uuid);
create function log_claim() returns trigger language plpgsql as $$
begin
    insert into claims (task_id) values (new.task_id);
    return null;
end $$;
create trigger log_claim after update of claim on batches
for each row when (new.claim is not null and new.claim is distinct from old.claim) execute function log_claim();
"""


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_new_accounts_are_served_while_workers_are_killed(
    queue: Queue, database_url: str, tmp_path: Path
) -> None:
    """One account has queued 3000 batches. New accounts wait only until a slot is free, even if workers die."""
    slots = 2 * 3
    await execute(database_url, LOG_CLAIMS)
    for _ in range(6):
        await queue.accept("greedy", 500)
    for number in range(6):
        await queue.account(f"new-{number}")

    async def claims() -> int:
        return int(await queue.db.value("select coalesce(max(place), 0) from claims"))

    async def all_slots_busy() -> bool:
        return await claims() >= slots

    async def first_claim(task_id: UUID) -> int | None:
        place: int | None = await queue.db.value("select min(place) from claims where task_id = $1", task_id)
        return place

    waits = []
    with two_apis_and_two_workers(tmp_path, database_url, worker_concurrency=3, seconds=0.2) as (_, replace_worker):
        await eventually(all_slots_busy, seconds=90)
        for number in range(6):
            (task_id,) = await queue.accept(f"new-{number}")
            before = await claims()
            if number % 2:
                await asyncio.to_thread(replace_worker)
            waits.append(await eventually(partial(first_claim, task_id), seconds=90) - before)
    assert await queue.db.value("select count(*) from batches") > 100, "the account still has many batches"
    assert max(waits) <= 4 * slots, f"batches that were claimed before the batch of a new account: {waits}"
