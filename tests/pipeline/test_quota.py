"""Quota is exact under any interleaving: never over the limit, nothing leaks, and only what is delivered is charged.

FRAMEHOUSE_TEST_LONG=1 makes both tests long: many more examples, and a minute of clients.
"""

import asyncio
import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import asyncpg
import httpx
import hypothesis
import pytest
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from framehouse.adapters.postgres import account_store, batch_queue, orphaned_batches, task_store
from framehouse.adapters.postgres.batch_queue import Claimed, StoredShot
from framehouse.adapters.postgres.new_task import NewTask
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.postgres.task_store import AcceptResult
from framehouse.domain.shot import Shot
from framehouse.domain.task import CANCELED
from framehouse.pipeline.accept import AcceptQueue
from tests.support.api_server import PATH
from tests.support.command_line import FRAMEHOUSE, environment
from tests.support.database import Server, execute, fresh_database, server_database
from tests.support.eventually import eventually
from tests.support.in_process_deployment import MISBEHAVING

LONG = bool(os.environ.get("FRAMEHOUSE_TEST_LONG"))
EXAMPLES, STEPS = (1000, 40) if LONG else (25, 25)
CLIENTS, LIMIT, SECONDS = 50, 20, 60 if LONG else 5
LEASE = timedelta(seconds=30)
PRICES = {"cheap": 0, "usual": 8, "dear": 16}
ACCOUNTS = ("alice", "bob")

WATCH = """
create table quota_wrong (what text);
create table quota_seen (account_id bigint primary key, most bigint not null);

create function watch_quota(p_account bigint, p_grew boolean) returns void language plpgsql as $$
declare
    a        accounts;
    images   bigint;
    reserved bigint;
    charged  bigint;
begin
    select * into a from accounts where id = p_account;
    select coalesce(sum(image_count) filter (where status in ('submitted', 'processing')), 0),
           coalesce(sum(units_reserved) filter (where status in ('submitted', 'processing')), 0),
           coalesce(sum(units_charged), 0)
    into images, reserved, charged from tasks where account_id = p_account;
    if (a.images_in_flight, a.units_reserved, a.units_used) is distinct from (images, reserved, charged) then
        insert into quota_wrong values (format('%s counts %s %s %s, its tasks are %s %s %s', a.name,
            a.images_in_flight, a.units_reserved, a.units_used, images, reserved, charged));
    end if;
    if p_grew and (images > a.concurrency or charged + reserved > a.units_limit) then
        insert into quota_wrong values (format('%s grew to %s images and %s units, it may have %s and %s', a.name,
            images, charged + reserved, a.concurrency, a.units_limit));
    end if;
    insert into quota_seen as s values (p_account, images)
    on conflict (account_id) do update set most = greatest(s.most, excluded.most);
end $$;

create function watch_task() returns trigger language plpgsql as $$
begin
    perform watch_quota(new.account_id, tg_op = 'INSERT');
    return null;
end $$;

create function watch_account() returns trigger language plpgsql as $$
begin
    perform watch_quota(new.id, false);
    return null;
end $$;

create constraint trigger watch after insert or update of ended_at on tasks
deferrable initially deferred for each row execute function watch_task();
create constraint trigger watch after update of images_in_flight, units_reserved, units_used on accounts
deferrable initially deferred for each row execute function watch_account();
"""
"""Looks at every transaction when it commits. It still holds the account's row then, as all others that change these
must, so what is compared here is exact, however many run at once."""


@dataclass(frozen=True)
class Offer:
    """A task that a client asks for. `key` is an idempotency key, `external` an external id; few, so that they meet."""

    account: str
    images: int
    model: str
    series: bool = False
    max_batch: int = 1
    external: str | None = None
    key: str | None = None

    @property
    def units(self) -> int:
        return self.images * PRICES[self.model]

    def task(self, account_id: int) -> NewTask:
        indexes = tuple(range(self.images))
        body = repr((self.images, self.model, self.series, self.external)).encode()
        return NewTask(
            uuid4(), account_id, self.model, "x", "series" if self.series else "single", "1k", "1:1", False, self.units,
            shots=tuple(Shot(index, "x", "", index) for index in indexes),
            batches=tuple(indexes[start : start + self.max_batch] for start in range(0, self.images, self.max_batch)),
            external_task_id=self.external or "", idempotency=(self.key, body) if self.key else None,
        )  # fmt: skip


@dataclass
class Account:
    """What the model knows of an account: its limits, and what it was accepted for."""

    id: int
    concurrency: int
    units_limit: int | None
    disabled: bool = False
    externals: set[str] = field(default_factory=set)
    keys: dict[str, tuple[str, tuple[str, bytes] | None]] = field(default_factory=dict)
    open: dict[str, Offer] = field(default_factory=dict)
    used: int = 0

    @property
    def images(self) -> int:
        return sum(offer.images for offer in self.open.values())

    @property
    def units(self) -> int:
        return self.used + sum(offer.units for offer in self.open.values())

    def expect(self, offer: Offer, task: NewTask) -> str:
        """What must become of an offer if nothing else happens; if accepted, it is taken in."""
        if offer.key in self.keys:
            return "replayed" if self.keys[offer.key][1] == task.idempotency else "key_reused"
        if self.disabled:
            return "disabled"
        if offer.external in self.externals:
            return "external_taken"
        if self.images + offer.images > self.concurrency:
            return "over_concurrency"
        if self.units_limit is not None and self.units + offer.units > self.units_limit:
            return "over_units"
        self.take(offer, task)
        return "accepted"

    def take(self, offer: Offer, task: NewTask) -> None:
        self.open[str(task.task_id)] = offer
        if offer.external:
            self.externals.add(offer.external)
        if offer.key:
            self.keys[offer.key] = (str(task.task_id), task.idempotency)


@dataclass
class Task:
    """What the model knows of an accepted task. `ends` are the answers of those that said they ended it."""

    offer: Offer
    ends: list[str] = field(default_factory=list)
    tried: set[str] = field(default_factory=set)
    ended_as: tuple[str, int] | None = None


offers = st.builds(
    Offer,
    account=st.sampled_from(ACCOUNTS),
    images=st.integers(1, 9),
    model=st.sampled_from(sorted(PRICES)),
    series=st.booleans(),
    max_batch=st.sampled_from([1, 1, 2, 9]),
    external=st.sampled_from([None, None, "e1", "e2", "e3"]),
    key=st.sampled_from([None, None, "k1", "k2", "k3"]),
)
which = st.integers(0, 30)
units_limits = st.integers(0, 75).map(lambda images: 8 * images)
limits = st.tuples(st.just("limit"), st.sampled_from(ACCOUNTS), st.integers(0, 25), st.none() | units_limits)
endings = st.one_of(
    st.tuples(st.just("settle"), which, which),
    st.tuples(st.just("finish"), which),
    st.tuples(st.just("fail"), which),
    st.tuples(st.just("cancel"), which, st.booleans()),
)
disturbances = st.one_of(
    st.tuples(st.just("claim"), which, st.integers(1, 9)),
    st.tuples(st.just("release"), which),
    st.tuples(st.just("renew"), which),
    st.tuples(st.just("free"), st.integers(1, 3)),
    limits,
    st.tuples(st.just("disable"), st.sampled_from(ACCOUNTS), st.booleans()),
)
actions = st.one_of(
    st.tuples(st.just("offer"), st.integers(0, 1), offers),
    st.tuples(st.just("group"), st.lists(offers, min_size=2, max_size=6)),
    st.tuples(st.just("repeat"), which),
    endings,
    disturbances,
)
Action = tuple[Any, ...]


class Stage:
    """One database and one event loop for all examples, which begin with empty tables. What went wrong first is kept:
    a race that does not go wrong again would be told as flaky. `seen` counts what became of what was tried."""

    def __init__(self, runner: asyncio.Runner, db: Database) -> None:
        self._runner = runner
        self.db = db
        self.wrong: Exception | None = None
        self.seen: Counter[str] = Counter()

    def run(self, step: Coroutine[Any, Any, None]) -> None:
        try:
            self._runner.run(step)
        except Exception as error:
            self.wrong = self.wrong or error
            raise


class Quota(RuleBasedStateMachine):
    """Clients, workers and an operator at the same accounts. What order determines is predicted; what runs at once is
    checked for what must be true in whatever order it ran.

    A crash is a worker that claimed and says no more: its batches are freed, others take them, and it may come late.
    """

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage, self.db = stage, stage.db
        self.accept_queues = [AcceptQueue(self.db), AcceptQueue(self.db)]
        self.accounts: dict[str, Account] = {}
        self.tasks: dict[str, Task] = {}
        self.hands: list[Claimed] = []
        self.answers: list[tuple[Offer, NewTask, AcceptResult]] = []
        self.limits: dict[str, list[tuple[int, int | None]]] = {}
        self.disabled: dict[str, list[bool]] = {}
        self.locks = {name: asyncio.Lock() for name in ACCOUNTS}
        """One operator per account, so that its last change is known; others go on beside."""
        self.cut = self.broken = False
        self.doing: dict[str, Callable[..., Awaitable[None]]] = {
            "offer": self._offer, "group": self._group, "repeat": self._repeat, "settle": self._settle,
            "finish": self._finish, "fail": self._fail, "cancel": self._cancel, "claim": self._claim,
            "release": self._release, "renew": self._renew, "free": self._free, "limit": self._limit,
            "disable": self._disable,
        }  # fmt: skip

    def _run(self, step: Coroutine[Any, Any, None]) -> None:
        self.broken = True
        self.stage.run(step)
        self.broken = False

    @initialize(concurrency=st.integers(1, 25), units_limit=st.none() | units_limits)
    def open_accounts(self, concurrency: int, units_limit: int | None) -> None:
        async def make() -> None:
            await self.db.row("truncate accounts, quota_wrong, quota_seen cascade")
            for name in ACCOUNTS:
                await account_store.create_account(self.db, name, concurrency=concurrency, units_limit=units_limit)
                found = await account_store.find_account(self.db, name)
                assert found is not None
                self.accounts[name] = Account(found.id, concurrency, units_limit)

        self._run(make())

    # --- one after the other: all is determined ------------------------------------------------------------------

    @rule(group=st.lists(offers, min_size=1, max_size=8))
    def accept_in_order(self, group: list[Offer]) -> None:
        self._run(self._accept_in_order(group))

    @rule(hand=which, shot=which, again=st.booleans())
    def settle_alone(self, hand: int, shot: int, again: bool) -> None:
        """The holder's shot counts, a late twin's does not, and the same again has the same answer."""
        self._run(self._settle_alone(hand, shot, again))

    @rule(name=st.sampled_from(ACCOUNTS), images=st.integers(1, 9), by_units=st.booleans())
    def fill_to_the_brim(self, name: str, images: int, by_units: bool) -> None:
        """What just fits is accepted, one image more is not."""
        self._run(self._fill_to_the_brim(name, images, by_units))

    @rule(hand=which)
    def fail_alone(self, hand: int) -> None:
        """The holder ends the task, a late twin changes nothing."""
        self._run(self._fail_alone(hand))

    async def _accept_in_order(self, group: list[Offer]) -> None:
        tasks = [offer.task(self.accounts[offer.account].id) for offer in group]
        expected = [self.accounts[offer.account].expect(offer, task) for offer, task in zip(group, tasks, strict=True)]
        answers = await task_store.accept_tasks(self.db, tasks)
        assert [answer.outcome for answer in answers] == expected
        self.stage.seen.update(expected)
        for offer, task, answer in zip(group, tasks, answers, strict=True):
            if answer.outcome == "accepted":
                self.tasks[str(task.task_id)] = Task(offer)
            elif answer.outcome == "replayed" and offer.key:
                assert str(answer.task_id) == self.accounts[offer.account].keys[offer.key][0]

    async def _fill_to_the_brim(self, name: str, images: int, by_units: bool) -> None:
        account, fitting, more = self.accounts[name], Offer(name, images, "usual"), Offer(name, 1, "usual")
        self.limits[name], self.disabled[name] = [], []
        await self._disable(name, False)
        if by_units:
            await self._limit(name, account.images + 100, account.units + fitting.units)
        else:
            await self._limit(name, account.images + images, None)
        await self._accept_in_order([fitting, more])
        assert (account.units == account.units_limit) if by_units else (account.images == account.concurrency)

    async def _settle_alone(self, hand: int, shot: int, again: bool) -> None:
        if not self.hands:
            return
        batch = self._hand(hand)
        index = batch.shots[shot % len(batch.shots)].index
        held = await self._is_held(batch)
        rows = await self.db.rows("select index from shots where task_id = $1 and painted_at is null", batch.task_id)
        missing = {row["index"] for row in rows}
        key = f"{uuid4()}"
        answers = [await self._generate(batch, index, key) for _ in range(1 + again)]
        if not held:
            assert set(answers) == {"lost"}
        elif index in missing:
            assert set(answers) == {"succeeded" if missing == {index} else "kept"}
        else:
            assert set(answers) == {"kept"}

    async def _fail_alone(self, hand: int) -> None:
        if not self.hands:
            return
        batch = self._hand(hand)
        held = await self._is_held(batch)
        if held:
            self.tasks[str(batch.task_id)].tried.add("failed")
            self.tasks[str(batch.task_id)].ends.append("broke")
        assert await batch_queue.fail_batch(self.db, batch.id, batch.claim, "broke", LEASE) == held

    async def _is_held(self, batch: Claimed) -> bool:
        """Whether who claimed it so still holds it."""
        found = "select exists (select from batches where id = $1 and claim = $2)"
        return bool(await self.db.value(found, batch.id, batch.claim))

    # --- many at once ----------------------------------------------------------------------------------------------

    @rule(group=st.lists(actions, min_size=2, max_size=12))
    def at_once(self, group: list[Action]) -> None:
        self._at_once(group)

    @rule(group=st.lists(endings, min_size=2, max_size=10), disturbance=st.lists(disturbances, max_size=3))
    def end_at_once(self, group: list[Action], disturbance: list[Action]) -> None:
        """Cancel, failure, the last shot and the loss of its lease, at the same tasks in the same moment."""
        self._at_once([*group, *disturbance])

    @rule(hand=which, twice=st.booleans(), free=st.booleans())
    def race_for_one(self, hand: int, twice: bool, free: bool) -> None:
        if not self.hands:
            return
        task_id = str(self._hand(hand).task_id)
        held = [batch for batch in self.hands if str(batch.task_id) == task_id]
        group: list[Action] = [("finish", batch) for batch in held] * (1 + twice)
        group += [("cancel", list(self.tasks)[::-1].index(task_id), True), ("fail", held[-1])]
        group += [("free", 1), ("claim", 7, 9)] if free else []
        self._at_once(group)

    @rule(group=st.lists(actions, min_size=2, max_size=8))
    def at_once_with_cut_connections(self, group: list[Action]) -> None:
        """All connections are cut in the middle: statements may run twice, and answers are lost."""
        self.cut = True
        self._at_once([*group, ("cut",)])

    @rule(most=st.integers(1, 9))
    def claim_some(self, most: int) -> None:
        self._run(self._claim(1, most))

    def _at_once(self, group: list[Action]) -> None:
        before = {name: (a.images, a.units, a.concurrency, a.units_limit) for name, a in self.accounts.items()}
        self.answers = []
        self.limits = {name: [(a.concurrency, a.units_limit)] for name, a in self.accounts.items()}
        self.disabled = {name: [a.disabled] for name, a in self.accounts.items()}
        known = list(self.tasks)

        async def run() -> None:
            cuts = [self._cut() for name, *_ in group if name == "cut"]
            await asyncio.gather(
                *(self._do(action, known) for action in group if action[0] != "cut"),
                *cuts,
            )

            self._check_answers(before)

        self._run(run())

    async def _do(self, action: Action, known: list[str]) -> None:
        name, *values = action
        if name == "cancel":
            await self._cancel(known, *values)
        else:
            await self.doing[name](*values)

    def _check_answers(self, before: dict[str, tuple[int, int, int, int | None]]) -> None:
        taken: Counter[str] = Counter()
        units: Counter[str] = Counter()
        for offer, task, answer in self.answers:
            if answer.outcome == "accepted":
                account = self.accounts[offer.account]
                assert answer.task_id == task.task_id
                assert offer.key is None or offer.key not in account.keys, "one key, one task"
                assert offer.external is None or offer.external not in account.externals, "one external id, one task"
                account.take(offer, task)
                self.tasks[str(task.task_id)] = Task(offer)
                taken[offer.account] += offer.images
                units[offer.account] += offer.units
        for offer, task, answer in self.answers:
            self.stage.seen[f"{answer.outcome} at once"] += 1
            account, name = self.accounts[offer.account], offer.account
            images_before, units_before, *_ = before[name]
            match answer.outcome:
                case "accepted":
                    assert False in self.disabled[name]
                case "replayed":
                    assert account.keys[str(offer.key)] == (str(answer.task_id), task.idempotency)
                case "key_reused":
                    assert account.keys[str(offer.key)][1] != task.idempotency
                case "external_taken":
                    assert offer.external in account.externals
                case "disabled":
                    assert True in self.disabled[name]
                case "over_concurrency":
                    least = min(concurrency for concurrency, _ in self.limits[name])
                    assert images_before + taken[name] + offer.images > least, "refused although there was room"
                case "over_units":
                    least = min(limit for _, limit in self.limits[name] if limit is not None)
                    assert units_before + units[name] + offer.units > least, "refused although units were left"
                case other:
                    raise AssertionError(other)

    # --- what each does ------------------------------------------------------------------------------------------

    def _hand(self, which: int | Claimed) -> Claimed:
        """One that a worker has, or thinks it has; the latest are 0, 1, 2 …"""
        return self.hands[-1 - which % len(self.hands)] if isinstance(which, int) else which

    async def _offer(self, process: int, offer: Offer) -> None:
        task = offer.task(self.accounts[offer.account].id)
        self.answers.append((offer, task, await self.accept_queues[process].submit(task)))

    async def _group(self, group: list[Offer]) -> None:
        tasks = [offer.task(self.accounts[offer.account].id) for offer in group]
        self.answers += zip(group, tasks, await task_store.accept_tasks(self.db, tasks), strict=True)

    async def _repeat(self, number: int) -> None:
        """A client whose answer was lost."""
        if keyed := [task.offer for task in self.tasks.values() if task.offer.key]:
            await self._offer(number % 2, keyed[-1 - number % len(keyed)])

    async def _generate(self, batch: Claimed, index: int, key: str) -> str:
        made = StoredShot(index, "test", key, "", "image/png", 1024, 1024)
        task = self.tasks[str(batch.task_id)]
        task.tried.add("succeed")
        answer = await batch_queue.settle_shot(self.db, batch.task_id, batch.id, batch.claim, made, LEASE)
        self.stage.seen[answer] += 1
        if answer == "succeeded":
            task.ends.append(f"succeed {key}")
        return answer

    async def _settle(self, hand: int | Claimed, shot: int) -> None:
        if self.hands:
            batch = self._hand(hand)
            await self._generate(batch, batch.shots[shot % len(batch.shots)].index, f"{uuid4()}")

    async def _finish(self, hand: int | Claimed) -> None:
        if self.hands:
            batch = self._hand(hand)
            for shot in batch.shots:
                await self._generate(batch, shot.index, f"{uuid4()}")

    async def _fail(self, hand: int | Claimed) -> None:
        if self.hands:
            batch = self._hand(hand)
            task = self.tasks[str(batch.task_id)]
            task.tried.add("failed")
            failed = await batch_queue.fail_batch(self.db, batch.id, batch.claim, "broke", LEASE)
            self.stage.seen["failed" if failed else "too late to fail"] += 1
            if failed:
                task.ends.append("broke")

    async def _cancel(self, known: list[str], number: int, own: bool) -> None:
        if not known:
            return
        task_id = known[-1 - number % len(known)]
        task = self.tasks[task_id]
        owner = task.offer.account if own else next(name for name in ACCOUNTS if name != task.offer.account)
        if not own:
            with pytest.raises(LookupError):
                await task_store.cancel_task(self.db, self.accounts[owner].id, UUID(task_id), LEASE)
            return
        task.tried.add("failed")
        canceled = await task_store.cancel_task(self.db, self.accounts[owner].id, UUID(task_id), LEASE)
        self.stage.seen["canceled" if canceled else "too late to cancel"] += 1
        if canceled:
            task.ends.append(CANCELED)

    async def _claim(self, worker: int, most: int) -> None:
        self.hands += await batch_queue.claim_batches(
            self.db, worker=worker + 1, limit=most, lease=LEASE, routes=[(name, "") for name in sorted(PRICES)]
        )

    async def _release(self, hand: int | Claimed) -> None:
        if self.hands:
            batch = self._hand(hand)
            await batch_queue.release_batch(self.db, batch.id, batch.claim, after=timedelta(0), error="unavailable")

    async def _renew(self, hand: int) -> None:
        if self.hands:
            held = {b.id: (b.claim, 0.5) for b in self.hands[-1 - hand % len(self.hands) :]}
            await batch_queue.renew_leases(self.db, held, LEASE)

    async def _free(self, every: int) -> None:
        """What the sweeper does with the work of those that died, or are taken for dead."""
        quiet = await orphaned_batches.unrenewed_batches(self.db, lease=3 * LEASE, unrenewed_for=LEASE)
        await orphaned_batches.requeue_batches(self.db, quiet[::every])

    async def _limit(self, name: str, concurrency: int, units_limit: int | None) -> None:
        account = self.accounts[name]
        self.limits[name].append((concurrency, units_limit))
        async with self.locks[name]:
            await account_store.set_account(
                self.db,
                name,
                concurrency=concurrency,
                units_limit=units_limit,
                no_limit=units_limit is None,
                disabled=None,
            )
            account.concurrency, account.units_limit = concurrency, units_limit

    async def _disable(self, name: str, disabled: bool) -> None:
        self.disabled[name].append(disabled)
        async with self.locks[name]:
            await account_store.set_account(
                self.db, name, concurrency=None, units_limit=None, no_limit=False, disabled=disabled
            )
            self.accounts[name].disabled = disabled

    async def _cut(self) -> None:
        for pause_s in (0.002, 0.004):
            await asyncio.sleep(pause_s)
            await self.db.rows(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
            )

    # --- what must be true -----------------------------------------------------------------------------------------

    @invariant()
    def all_is_exact(self) -> None:
        if self.accounts:
            self._run(self._check())

    async def _check(self) -> None:
        assert [row["what"] for row in await self.db.rows("select what from quota_wrong")] == []
        rows = {str(row["id"]): row for row in await self.db.rows("select * from tasks")}
        assert set(rows) == set(self.tasks), "what was refused left nothing, what was accepted is there"
        await self._check_work(rows)
        for name, account in self.accounts.items():
            account.open, account.used = {}, 0
            for task_id, task in self.tasks.items():
                if task.offer.account == name:
                    self._check_task(task, rows[task_id])
                    if rows[task_id]["ended_at"] is None:
                        account.open[task_id] = task.offer
                    account.used += rows[task_id]["units_charged"]
            found = await account_store.find_account(self.db, name)
            assert found is not None
            assert (found.concurrency, found.units_limit, found.disabled) == (
                account.concurrency,
                account.units_limit,
                account.disabled,
            )
            reserved = account.units - account.used
            assert (found.images_in_flight, found.units_reserved, found.units_used) == (
                account.images,
                reserved,
                account.used,
            )

    def _check_task(self, task: Task, row: asyncpg.Record) -> None:
        status, charged = row["status"], row["units_charged"]
        ended = status in ("succeed", "failed")
        assert ended == (row["ended_at"] is not None)
        assert charged == (task.offer.units if status == "succeed" else 0)
        assert not ended or status in task.tried, "it ended as nobody wanted"
        assert task.ended_as in (None, (status, charged)), "an ended task stays as it ended"
        task.ended_as = (status, charged) if ended else None
        winners = {"succeed" if end.startswith("succeed") else "failed" for end in task.ends}
        assert winners <= {status}, "who is told that he ended it, did"
        if not self.cut:  # a lost answer is asked for again, and then it had ended before
            assert bool(task.ends) == ended
            assert len(set(task.ends)) <= 1, "one ends it"

    async def _check_work(self, rows: dict[str, asyncpg.Record]) -> None:
        """Ended tasks have no work left; of the others, every shot that is not made is in exactly one batch."""
        left = Counter(
            (str(row["task_id"]), index)
            for row in await self.db.rows("select task_id, shot_indexes from batches")
            for index in row["shot_indexes"]
        )
        shots = await self.db.rows("select task_id, index, painted_at from shots")
        assert Counter(str(shot["task_id"]) for shot in shots) == {
            task_id: row["image_count"] for task_id, row in rows.items()
        }
        missing = set()
        for shot in shots:
            row = rows[str(shot["task_id"])]
            if row["ended_at"] is None and shot["painted_at"] is None:
                missing.add((str(shot["task_id"]), shot["index"]))
            assert row["status"] != "succeed" or shot["painted_at"]
        assert set(left.values()) <= {1}
        assert missing <= set(left), "work was lost"
        assert all(rows[task_id]["ended_at"] is None for task_id, _ in left), "an ended task has work left"
        keys = await self.db.rows("select key, account_id, task_id from idempotency_keys")
        assert {(row["account_id"], row["key"], str(row["task_id"])) for row in keys} == {
            (account.id, key, task_id)
            for account in self.accounts.values()
            for key, (task_id, _) in account.keys.items()
        }

    def teardown(self) -> None:
        """Whatever happened, all that is open can be brought to its end, and then nothing is in flight."""
        if self.accounts and not self.broken:
            self._run(self._end_everything())

    async def _end_everything(self) -> None:
        await self._free(1)
        await self.db.row("update batches set run_at = now()")
        self.hands = []
        for turn in range(100):
            before = len(self.hands)
            await self._claim(turn, 9)
            if len(self.hands) == before:
                break
            await asyncio.gather(*(self._finish(batch) for batch in self.hands[before:]))
        await self._check()
        for name, account in self.accounts.items():
            found = await account_store.find_account(self.db, name)
            assert found is not None
            assert (found.images_in_flight, found.units_reserved) == (0, 0)
            assert found.units_used == account.used
        assert await self.db.value("select count(*) from batches") == 0
        note(f"{len(self.tasks)} tasks, {dict(Counter(str(t.ended_as) for t in self.tasks.values()))}")


@contextmanager
def stage(postgres: Server, template: str) -> Iterator[Stage]:
    with asyncio.Runner() as runner:
        opened = fresh_database(postgres, template)
        url = runner.run(opened.__aenter__())
        db = server_database(postgres, url, size=12)
        runner.run(db.open())
        runner.run(execute(url, WATCH))
        try:
            yield Stage(runner, db)
        finally:
            runner.run(db.close())
            runner.run(opened.__aexit__(None, None, None))


@pytest.mark.long
@pytest.mark.timeout(7200 if LONG else 300)
def test_quota_is_exact_in_any_order(postgres: Server, template: str) -> None:
    with stage(postgres, template) as opened:
        try:
            run_state_machine_as_test(
                cast(type[Quota], partial(Quota, opened)),  # what makes one is enough
                settings=hypothesis.settings(
                    max_examples=EXAMPLES,
                    stateful_step_count=STEPS,
                    suppress_health_check=list(hypothesis.HealthCheck),
                    phases=[p for p in hypothesis.Phase if LONG or p is not hypothesis.Phase.shrink],  # takes minutes
                ),
            )
        except hypothesis.errors.Flaky:
            raise opened.wrong or AssertionError from None
        print(dict(opened.seen))  # noqa: T201 - shown with -s
        tried = {"accepted", "replayed", "key_reused", "disabled", "external_taken", "over_concurrency", "over_units"}
        ends = {"lost", "kept", "succeeded", "failed", "too late to fail", "canceled", "too late to cancel"}
        assert tried | ends <= {what.removesuffix(" at once") for what in opened.seen}, "all that can happen did"


@contextmanager
def processes(folder: Path, url: str) -> Iterator[tuple[list[str], Callable[[], None]]]:
    """Two processes of the API and two workers at one database: the APIs' URLs, and what kills a worker and starts
    another one."""
    variables = {
        "FRAMEHOUSE_DATABASE_URL": url,
        "FRAMEHOUSE_STORAGE_URL": (folder / "files").as_uri(),
        "FRAMEHOUSE_MODELS": json.dumps({"kling-v3-omni": {"routes": [{"engine": MISBEHAVING, "max_batch": 2}]}}),
        "FRAMEHOUSE_IMAGE_FORMAT": "jpeg",
        "FRAMEHOUSE_WORKER_CONCURRENCY": "8",
    }
    running: list[subprocess.Popen[str]] = []

    def start(part: str, *words: str, **options: Any) -> subprocess.Popen[str]:
        command = [*FRAMEHOUSE, part, *words, "--data-dir", str(folder / "data")]
        running.append(subprocess.Popen(command, env=environment(**variables), stderr=log, text=True, **options))
        return running[-1]

    def replace() -> None:
        workers[0].kill()
        workers[0].wait()
        workers.append(start("worker", stdout=log))

    with (folder / "processes.log").open("a") as log:
        try:
            workers = [start("worker", stdout=log) for _ in range(2)]
            urls = []
            for _ in range(2):
                api = start("api", "--port", "0", "--json", stdout=subprocess.PIPE)
                assert api.stdout
                urls.append(json.loads(api.stdout.readline())["url"])
            yield urls, replace
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait(timeout=60)
                if process.stdout:
                    process.stdout.close()


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_fifty_clients_at_the_limit_of_two_processes(database_url: str, tmp_path: Path) -> None:
    db = Database(database_url, size=2)
    await db.open()
    await execute(database_url, WATCH)
    await account_store.create_account(db, "alice", concurrency=LIMIT)
    account = await account_store.find_account(db, "alice")
    assert account is not None
    headers = {"Authorization": f"Bearer {await account_store.create_key(db, account.id)}"}
    accepted: dict[str, int] = {}
    refused = 0

    async def client(number: int, api: httpx.AsyncClient, end: float) -> None:
        nonlocal refused
        turn = number
        while time.monotonic() < end:
            turn += 1
            images = 1 + turn % 5
            answer = await api.post(PATH, json={"model_name": "kling-v3-omni", "prompt": "a fox", "n": images})
            told = answer.json()
            if answer.status_code == 200:
                accepted[told["data"]["task_id"]] = images
                continue
            assert (answer.status_code, told["code"]) == (429, 1303), told
            assert told["message"] == "parallel task over resource pack limit"
            assert int(answer.headers["Retry-After"]) > 0
            refused += 1
            await asyncio.sleep(0.05)

    async def sample(end: float) -> Counter[int]:
        """How often which sum was seen, as fast as can be asked."""
        seen: Counter[int] = Counter()
        connection = await asyncpg.connect(database_url)
        while time.monotonic() < end:
            seen[await connection.fetchval("select sum(image_count) from tasks where ended_at is null") or 0] += 1
        await connection.close()
        return seen

    with processes(tmp_path, database_url) as (urls, replace):
        apis = [httpx.AsyncClient(base_url=url, headers=headers, timeout=30) for url in urls]

        async def ready() -> bool:
            with suppress(httpx.TransportError):
                return all([(await api.get("/readyz")).status_code == 200 for api in apis])
            return False

        async def all_ended() -> bool:
            return not await db.value("select count(*) from tasks where ended_at is null")

        await eventually(ready, seconds=60)
        end = time.monotonic() + SECONDS
        async with asyncio.TaskGroup() as group:
            sampling = group.create_task(asyncio.to_thread(asyncio.run, sample(end)))
            for number in range(CLIENTS):
                group.create_task(client(number, apis[number % 2], end))
            await asyncio.sleep(SECONDS / 2)
            await asyncio.to_thread(replace)  # what it had in hand stays in flight until somebody else has made it
        await eventually(all_ended, seconds=60)
        for api in apis:
            await api.aclose()

    most = await db.value("select most from quota_seen where account_id = $1", account.id)
    told = f"{len(accepted)} tasks accepted, {refused} refused, at most {most} of {LIMIT} images in flight"
    seen = sampling.result()
    print(f"{told}; {seen.total()} samples saw at most {max(seen)}")  # noqa: T201 - shown with -s
    assert [row["what"] for row in await db.rows("select what from quota_wrong")] == []
    assert max(seen) <= most == LIMIT, "never over, and the limit is reached"
    assert refused
    rows = await db.rows("select id, image_count, status from tasks")
    assert {str(row["id"]): row["image_count"] for row in rows} == accepted
    assert {row["status"] for row in rows} == {"succeed"}
    found = await account_store.find_account(db, "alice")
    assert found is not None
    assert (found.images_in_flight, found.units_reserved) == (0, 0)
    assert found.units_used == 8 * sum(accepted.values())
    assert await db.value("select count(*) from batches") == 0
    await db.close()
