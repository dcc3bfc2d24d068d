"""Quota is exact for any interleaving: limits are never exceeded, nothing leaks, and only finished tasks are charged.

FRAMEHOUSE_TEST_LONG=1 makes both tests longer: many more examples, and clients that send requests for a minute.
"""

import asyncio
import os
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
from framehouse.domain.task_kind import TASK_PATHS, TaskKind
from framehouse.pipeline.accept import AcceptQueue
from tests.support.api_server import PATH
from tests.support.database import Server, execute, fresh_database, server_database
from tests.support.eventually import eventually
from tests.support.worker_processes import two_apis_and_two_workers

LONG = bool(os.environ.get("FRAMEHOUSE_TEST_LONG"))
EXAMPLES, STEPS = (1000, 40) if LONG else (25, 25)
CLIENTS, LIMIT, SECONDS = 50, 20, 60 if LONG else 5
LEASE = timedelta(seconds=30)
PRICES = {"cheap": 0, "usual": 8, "expensive": 16}
ACCOUNTS = ("alice", "bob")

WATCH = """
create table quota_violations (message text);
create table quota_peaks (account_id bigint primary key, peak bigint not null);

create function watch_quota(p_account bigint, p_inserted boolean) returns void language plpgsql as $$
declare
    a        accounts;
    images   bigint;
    reserved bigint;
    charged  bigint;
    ledger   bigint;
begin
    select * into a from accounts where id = p_account;
    select coalesce(sum(image_count) filter (where status in ('submitted', 'processing')), 0),
           coalesce(sum(units_reserved) filter (where status in ('submitted', 'processing')), 0),
           coalesce(sum(units_charged), 0)
    into images, reserved, charged from tasks where account_id = p_account;
    if (a.images_in_flight, a.units_reserved, a.units_used) is distinct from (images, reserved, charged) then
        insert into quota_violations values (format('%s has the counters %s %s %s, but its tasks add up to %s %s %s',
            a.name, a.images_in_flight, a.units_reserved, a.units_used, images, reserved, charged));
    end if;
    select coalesce(sum(amount), 0) into ledger from charges where account_id = p_account;
    if a.units_used <> ledger then
        insert into quota_violations values (format('%s has used %s units, but its charges add up to %s',
            a.name, a.units_used, ledger));
    end if;
    if p_inserted and (images > a.concurrency or charged + reserved > a.units_limit) then
        insert into quota_violations values (format(
            '%s accepted up to %s images and %s units, but its limits are %s and %s',
            a.name, images, charged + reserved, a.concurrency, a.units_limit));
    end if;
    insert into quota_peaks as s values (p_account, images)
    on conflict (account_id) do update set peak = greatest(s.peak, excluded.peak);
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
"""Triggers that check the quota at the end of every transaction, just before its commit.

The transaction still locks the account's row then, as every transaction that changes these values must. Therefore the
comparison is exact for any number of concurrent transactions.
"""


@dataclass(frozen=True)
class Submission:
    """A task that a client submits. Idempotency keys and external ids have few values, so that they often collide."""

    account: str
    images: int
    model: str
    series: bool = False
    max_batch: int = 1
    external_id: str | None = None
    key: str | None = None
    kind: TaskKind = "omni-image"

    @property
    def units(self) -> int:
        return self.images * PRICES[self.model]

    def new_task(self, account_id: int) -> NewTask:
        indexes = tuple(range(self.images))
        body = repr((self.images, self.model, self.series, self.external_id, self.kind)).encode()
        return NewTask(
            uuid4(), account_id, self.model, "x", "series" if self.series else "single", "1k", "1:1", False, self.units,
            shots=tuple(Shot(index, "x", "", index) for index in indexes),
            batches=tuple(indexes[start : start + self.max_batch] for start in range(0, self.images, self.max_batch)),
            external_task_id=self.external_id or "", idempotency=(self.key, body) if self.key else None,
            kind=self.kind,
        )  # fmt: skip


@dataclass
class Account:
    """The model's state of an account: its limits and its accepted tasks."""

    id: int
    concurrency: int
    units_limit: int | None
    disabled: bool = False
    external_ids: set[str] = field(default_factory=set)
    keys: dict[str, tuple[str, tuple[str, bytes] | None]] = field(default_factory=dict)
    open: dict[str, Submission] = field(default_factory=dict)
    used: int = 0

    @property
    def images(self) -> int:
        return sum(submission.images for submission in self.open.values())

    @property
    def units(self) -> int:
        return self.used + sum(submission.units for submission in self.open.values())

    def expect(self, submission: Submission, task: NewTask) -> str:
        """The outcome of a submission if nothing else runs at the same time. An accepted submission is added."""
        if submission.key in self.keys:
            return "replayed" if self.keys[submission.key][1] == task.idempotency else "key_reused"
        if self.disabled:
            return "disabled"
        if submission.external_id in self.external_ids:
            return "external_taken"
        if self.images + submission.images > self.concurrency:
            return "over_concurrency"
        if self.units_limit is not None and self.units + submission.units > self.units_limit:
            return "over_units"
        self.add(submission, task)
        return "accepted"

    def add(self, submission: Submission, task: NewTask) -> None:
        self.open[str(task.task_id)] = submission
        if submission.external_id:
            self.external_ids.add(submission.external_id)
        if submission.key:
            self.keys[submission.key] = (str(task.task_id), task.idempotency)


@dataclass
class Task:
    """The model's state of an accepted task.

    `ends` has an entry for each call that reported that it ended the task. `attempted`: the statuses that calls have
    tried to set. `ended_as`: the final status and the charged units.
    """

    submission: Submission
    ends: list[str] = field(default_factory=list)
    attempted: set[str] = field(default_factory=set)
    ended_as: tuple[str, int] | None = None


submissions = st.builds(
    Submission,
    account=st.sampled_from(ACCOUNTS),
    images=st.integers(1, 9),
    model=st.sampled_from(sorted(PRICES)),
    series=st.booleans(),
    max_batch=st.sampled_from([1, 1, 2, 9]),
    external_id=st.sampled_from([None, None, "e1", "e2", "e3"]),
    key=st.sampled_from([None, None, "k1", "k2", "k3"]),
    kind=st.sampled_from(sorted(TASK_PATHS)),
)
choices = st.integers(0, 30)
"""Numbers that choose an entry of a list; they are taken modulo the length of the list."""
units_limits = st.integers(0, 75).map(lambda images: 8 * images)
limits = st.tuples(st.just("limit"), st.sampled_from(ACCOUNTS), st.integers(0, 25), st.none() | units_limits)
endings = st.one_of(
    st.tuples(st.just("settle"), choices, choices),
    st.tuples(st.just("finish"), choices),
    st.tuples(st.just("fail"), choices),
    st.tuples(st.just("cancel"), choices, st.booleans()),
)
disturbances = st.one_of(
    st.tuples(st.just("claim"), choices, st.integers(1, 9)),
    st.tuples(st.just("release"), choices),
    st.tuples(st.just("renew"), choices),
    st.tuples(st.just("requeue"), st.integers(1, 3)),
    limits,
    st.tuples(st.just("disable"), st.sampled_from(ACCOUNTS), st.booleans()),
)
actions = st.one_of(
    st.tuples(st.just("submit"), st.integers(0, 1), submissions),
    st.tuples(st.just("submit_group"), st.lists(submissions, min_size=2, max_size=6)),
    st.tuples(st.just("repeat"), choices),
    endings,
    disturbances,
)
Action = tuple[Any, ...]


class SharedDatabase:
    """One database and one event loop for all examples. Each example starts with empty tables.

    `first_error`: Hypothesis reports a race as flaky if it does not fail again, so the test reports this error instead.
    `outcomes` counts the outcomes of all calls.
    """

    def __init__(self, runner: asyncio.Runner, db: Database) -> None:
        self._runner = runner
        self.db = db
        self.first_error: Exception | None = None
        self.outcomes: Counter[str] = Counter()

    def run(self, step: Coroutine[Any, Any, None]) -> None:
        try:
            self._runner.run(step)
        except Exception as error:
            self.first_error = self.first_error or error
            raise


class Quota(RuleBasedStateMachine):
    """Clients, workers and an operator change the same accounts.

    The results of sequential calls are predicted. For concurrent calls, the test checks only what must be true for
    every order of the calls.

    A crash is modelled by a worker that claims batches and does not renew their leases. The batches are requeued, other
    workers claim them, and the crashed worker may report results late.
    """

    def __init__(self, shared: SharedDatabase) -> None:
        super().__init__()
        self.shared, self.db = shared, shared.db
        self.accept_queues = [AcceptQueue(self.db), AcceptQueue(self.db)]
        self.accounts: dict[str, Account] = {}
        self.tasks: dict[str, Task] = {}
        self.claimed: list[Claimed] = []
        self.results: list[tuple[Submission, NewTask, AcceptResult]] = []
        self.limits: dict[str, list[tuple[int, int | None]]] = {}
        self.disabled: dict[str, list[bool]] = {}
        self.locks = {name: asyncio.Lock() for name in ACCOUNTS}
        """Changes of one account's limits run one after the other, so that the last change is known."""
        self.connections_cut = self.step_failed = False
        self.actions: dict[str, Callable[..., Awaitable[None]]] = {
            "submit": self._submit, "submit_group": self._submit_group, "repeat": self._repeat, "settle": self._settle,
            "finish": self._finish, "fail": self._fail, "cancel": self._cancel, "claim": self._claim,
            "release": self._release, "renew": self._renew, "requeue": self._requeue, "limit": self._limit,
            "disable": self._disable,
        }  # fmt: skip

    def _run(self, step: Coroutine[Any, Any, None]) -> None:
        self.step_failed = True
        self.shared.run(step)
        self.step_failed = False

    @initialize(concurrency=st.integers(1, 25), units_limit=st.none() | units_limits)
    def open_accounts(self, concurrency: int, units_limit: int | None) -> None:
        async def create() -> None:
            await self.db.row("truncate accounts, quota_violations, quota_peaks cascade")
            for name in ACCOUNTS:
                await account_store.create_account(self.db, name, concurrency=concurrency, units_limit=units_limit)
                found = await account_store.find_account(self.db, name)
                assert found is not None
                self.accounts[name] = Account(found.id, concurrency, units_limit)

        self._run(create())

    # --- sequential calls: every result is predicted --------------------------------------------------------------

    @rule(group=st.lists(submissions, min_size=1, max_size=8))
    def accept_in_order(self, group: list[Submission]) -> None:
        self._run(self._accept_in_order(group))

    @rule(choice=choices, shot=choices, repeat=st.booleans())
    def settle_one_shot(self, choice: int, shot: int, repeat: bool) -> None:
        """A shot counts only if the worker still has the batch. A repeated call has the same result."""
        self._run(self._settle_one_shot(choice, shot, repeat))

    @rule(name=st.sampled_from(ACCOUNTS), images=st.integers(1, 9), by_units=st.booleans())
    def fill_to_the_limit(self, name: str, images: int, by_units: bool) -> None:
        """A submission that reaches the limit exactly is accepted; one more image is refused."""
        self._run(self._fill_to_the_limit(name, images, by_units))

    @rule(choice=choices)
    def fail_one_batch(self, choice: int) -> None:
        """A failure ends the task only if the worker still has the batch."""
        self._run(self._fail_one_batch(choice))

    async def _accept_in_order(self, group: list[Submission]) -> None:
        group = [*group, group[0]]  # the last request repeats the first
        tasks = [submission.new_task(self.accounts[submission.account].id) for submission in group]
        expected = [
            self.accounts[submission.account].expect(submission, task)
            for submission, task in zip(group, tasks, strict=True)
        ]
        answers = await task_store.accept_tasks(self.db, tasks)
        assert [answer.outcome for answer in answers] == expected
        self.shared.outcomes.update(expected)
        for submission, task, answer in zip(group, tasks, answers, strict=True):
            if answer.outcome == "accepted":
                self.tasks[str(task.task_id)] = Task(submission)
            elif answer.outcome == "replayed" and submission.key:
                assert str(answer.task_id) == self.accounts[submission.account].keys[submission.key][0]

    async def _fill_to_the_limit(self, name: str, images: int, by_units: bool) -> None:
        account = self.accounts[name]
        fitting, one_more = Submission(name, images, "usual"), Submission(name, 1, "usual")
        self.limits[name], self.disabled[name] = [], []
        await self._disable(name, False)
        if by_units:
            await self._limit(name, account.images + 100, account.units + fitting.units)
        else:
            await self._limit(name, account.images + images, None)
        await self._accept_in_order([fitting, one_more])
        assert (account.units == account.units_limit) if by_units else (account.images == account.concurrency)

    async def _settle_one_shot(self, choice: int, shot: int, repeat: bool) -> None:
        if not self.claimed:
            return
        batch = self._claimed_batch(choice)
        index = batch.shots[shot % len(batch.shots)].index
        has_batch = await self._has_batch(batch)
        rows = await self.db.rows("select index from shots where task_id = $1 and painted_at is null", batch.task_id)
        missing = {row["index"] for row in rows}
        key = f"{uuid4()}"
        answers = [await self._generate(batch, index, key) for _ in range(1 + repeat)]
        if not has_batch:
            assert set(answers) == {"lost"}
        elif index in missing:
            assert set(answers) == {"succeeded" if missing == {index} else "kept"}
        else:
            assert set(answers) == {"kept"}

    async def _fail_one_batch(self, choice: int) -> None:
        await self._claim(choice, 1)
        if not self.claimed:
            return
        batch = self._claimed_batch(choice // 2)
        has_batch = await self._has_batch(batch)
        if has_batch:
            self.tasks[str(batch.task_id)].attempted.add("failed")
            self.tasks[str(batch.task_id)].ends.append("broke")
        assert await batch_queue.fail_batch(self.db, batch.id, batch.claim, "broke", LEASE) == has_batch
        self.shared.outcomes["failed" if has_batch else "too late to fail"] += 1

    async def _has_batch(self, batch: Claimed) -> bool:
        """Whether the worker still has the batch that it claimed."""
        query = "select exists (select from batches where id = $1 and claim = $2)"
        return bool(await self.db.value(query, batch.id, batch.claim))

    # --- concurrent calls ------------------------------------------------------------------------------------------

    @rule(group=st.lists(actions, min_size=2, max_size=12))
    def run_concurrently(self, group: list[Action]) -> None:
        self._run_concurrently(group)

    @rule(group=st.lists(endings, min_size=2, max_size=10), disturbance=st.lists(disturbances, max_size=3))
    def end_tasks_concurrently(self, group: list[Action], disturbance: list[Action]) -> None:
        """The same tasks are canceled, fail, get their last shot and lose their leases at the same time."""
        self._run_concurrently([*group, *disturbance])

    @rule(choice=choices, twice=st.booleans(), requeue=st.booleans())
    def race_to_end_one_task(self, choice: int, twice: bool, requeue: bool) -> None:
        if not self.claimed:
            return
        task_id = str(self._claimed_batch(choice).task_id)
        batches = [batch for batch in self.claimed if str(batch.task_id) == task_id]
        group: list[Action] = [("finish", batch) for batch in batches] * (1 + twice)
        group += [("cancel", list(self.tasks)[::-1].index(task_id), True), ("fail", batches[-1])]
        group += [("requeue", 1), ("claim", 7, 9)] if requeue else []
        self._run_concurrently(group)

    @rule(group=st.lists(actions, min_size=2, max_size=8))
    def run_with_cut_connections(self, group: list[Action]) -> None:
        """All connections are cut while the calls run: statements may run twice, and responses are lost."""
        self.connections_cut = True
        self._run_concurrently([*group, ("cut",)])

    @rule(limit=st.integers(1, 9))
    def claim_some(self, limit: int) -> None:
        self._run(self._claim(1, limit))

    def _run_concurrently(self, group: list[Action]) -> None:
        before = {name: (a.images, a.units, a.concurrency, a.units_limit) for name, a in self.accounts.items()}
        self.results = []
        self.limits = {name: [(a.concurrency, a.units_limit)] for name, a in self.accounts.items()}
        self.disabled = {name: [a.disabled] for name, a in self.accounts.items()}
        known = list(self.tasks)

        async def run() -> None:
            cuts = [self._cut() for name, *_ in group if name == "cut"]
            await asyncio.gather(
                *(self._do(action, known) for action in group if action[0] != "cut"),
                *cuts,
            )

            self._check_results(before)

        self._run(run())

    async def _do(self, action: Action, known: list[str]) -> None:
        name, *values = action
        if name == "cancel":
            await self._cancel(known, *values)
        else:
            await self.actions[name](*values)

    def _check_results(self, before: dict[str, tuple[int, int, int, int | None]]) -> None:
        accepted_images: Counter[str] = Counter()
        accepted_units: Counter[str] = Counter()
        for submission, task, answer in self.results:
            if answer.outcome == "accepted":
                account = self.accounts[submission.account]
                assert answer.task_id == task.task_id
                assert submission.key is None or submission.key not in account.keys, "an idempotency key has one task"
                assert submission.external_id is None or submission.external_id not in account.external_ids, (
                    "an external id has one task"
                )
                account.add(submission, task)
                self.tasks[str(task.task_id)] = Task(submission)
                accepted_images[submission.account] += submission.images
                accepted_units[submission.account] += submission.units
        for submission, task, answer in self.results:
            self.shared.outcomes[f"{answer.outcome} concurrently"] += 1
            account, name = self.accounts[submission.account], submission.account
            images_before, units_before, *_ = before[name]
            match answer.outcome:
                case "accepted":
                    assert False in self.disabled[name]
                case "replayed":
                    assert account.keys[str(submission.key)] == (str(answer.task_id), task.idempotency)
                case "key_reused":
                    assert account.keys[str(submission.key)][1] != task.idempotency
                case "external_taken":
                    assert submission.external_id in account.external_ids
                case "disabled":
                    assert True in self.disabled[name]
                case "over_concurrency":
                    lowest_limit = min(concurrency for concurrency, _ in self.limits[name])
                    assert images_before + accepted_images[name] + submission.images > lowest_limit, (
                        "refused although the limit allows it"
                    )
                case "over_units":
                    lowest_limit = min(limit for _, limit in self.limits[name] if limit is not None)
                    assert units_before + accepted_units[name] + submission.units > lowest_limit, (
                        "refused although enough units are left"
                    )
                case other:
                    raise AssertionError(other)

    # --- the actions -----------------------------------------------------------------------------------------------

    def _claimed_batch(self, choice: int | Claimed) -> Claimed:
        """A batch that a worker has claimed and may have lost since then. Numbers count back from the latest claim."""
        return self.claimed[-1 - choice % len(self.claimed)] if isinstance(choice, int) else choice

    async def _submit(self, process: int, submission: Submission) -> None:
        task = submission.new_task(self.accounts[submission.account].id)
        self.results.append((submission, task, await self.accept_queues[process].submit(task)))

    async def _submit_group(self, group: list[Submission]) -> None:
        tasks = [submission.new_task(self.accounts[submission.account].id) for submission in group]
        self.results += zip(group, tasks, await task_store.accept_tasks(self.db, tasks), strict=True)

    async def _repeat(self, number: int) -> None:
        """A client whose response was lost repeats a submission."""
        if keyed := [task.submission for task in self.tasks.values() if task.submission.key]:
            await self._submit(number % 2, keyed[-1 - number % len(keyed)])

    async def _generate(self, batch: Claimed, index: int, key: str) -> str:
        stored_shot = StoredShot(index, "test", key, "", "image/png", 1024, 1024)
        task = self.tasks[str(batch.task_id)]
        task.attempted.add("succeed")
        answer = await batch_queue.settle_shot(self.db, batch.task_id, batch.id, batch.claim, stored_shot, LEASE)
        self.shared.outcomes[answer] += 1
        if answer == "succeeded":
            task.ends.append(f"succeed {key}")
        return answer

    async def _settle(self, choice: int | Claimed, shot: int) -> None:
        if self.claimed:
            batch = self._claimed_batch(choice)
            await self._generate(batch, batch.shots[shot % len(batch.shots)].index, f"{uuid4()}")

    async def _finish(self, choice: int | Claimed) -> None:
        if self.claimed:
            batch = self._claimed_batch(choice)
            for shot in batch.shots:
                await self._generate(batch, shot.index, f"{uuid4()}")

    async def _fail(self, choice: int | Claimed) -> None:
        if self.claimed:
            batch = self._claimed_batch(choice)
            task = self.tasks[str(batch.task_id)]
            task.attempted.add("failed")
            failed = await batch_queue.fail_batch(self.db, batch.id, batch.claim, "broke", LEASE)
            self.shared.outcomes["failed" if failed else "too late to fail"] += 1
            if failed:
                task.ends.append("broke")

    async def _cancel(self, known: list[str], number: int, own: bool) -> None:
        if not known:
            return
        task_id = known[-1 - number % len(known)]
        task = self.tasks[task_id]
        owner = task.submission.account if own else next(name for name in ACCOUNTS if name != task.submission.account)
        if not own:
            with pytest.raises(LookupError):
                await task_store.cancel_task(self.db, self.accounts[owner].id, UUID(task_id), LEASE)
            return
        task.attempted.add("failed")
        canceled = await task_store.cancel_task(self.db, self.accounts[owner].id, UUID(task_id), LEASE)
        self.shared.outcomes["canceled" if canceled else "too late to cancel"] += 1
        if canceled:
            task.ends.append(CANCELED)

    async def _claim(self, worker: int, limit: int) -> None:
        self.claimed += await batch_queue.claim_batches(
            self.db, worker=worker + 1, limit=limit, lease=LEASE, routes=[(name, "") for name in sorted(PRICES)]
        )

    async def _release(self, choice: int | Claimed) -> None:
        if self.claimed:
            batch = self._claimed_batch(choice)
            await batch_queue.release_batch(self.db, batch.id, batch.claim, after=timedelta(0), error="unavailable")

    async def _renew(self, choice: int) -> None:
        if self.claimed:
            leases = {b.id: (b.claim, 0.5) for b in self.claimed[-1 - choice % len(self.claimed) :]}
            await batch_queue.renew_leases(self.db, leases, LEASE)

    async def _requeue(self, every: int) -> None:
        """Requeue one in `every` unrenewed batches, as the sweeper does if their worker is dead or seems to be dead."""
        unrenewed = await orphaned_batches.unrenewed_batches(self.db, lease=3 * LEASE, unrenewed_for=LEASE)
        await orphaned_batches.requeue_batches(self.db, unrenewed[::every])

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

    # --- invariants ------------------------------------------------------------------------------------------------

    @invariant()
    def counters_are_exact(self) -> None:
        if self.accounts:
            self._run(self._check())

    async def _check(self) -> None:
        assert [row["message"] for row in await self.db.rows("select message from quota_violations")] == []
        rows = {str(row["id"]): row for row in await self.db.rows("select * from tasks")}
        assert set(rows) == set(self.tasks), "exactly the accepted tasks exist"
        await self._check_batches(rows)
        await self._check_charges(rows)
        for name, account in self.accounts.items():
            account.open, account.used = {}, 0
            for task_id, task in self.tasks.items():
                if task.submission.account == name:
                    self._check_task(task, rows[task_id])
                    if rows[task_id]["ended_at"] is None:
                        account.open[task_id] = task.submission
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
        assert charged == (task.submission.units if status == "succeed" else 0)
        assert not ended or status in task.attempted, "no call set this status"
        assert task.ended_as in (None, (status, charged)), "an ended task does not change"
        task.ended_as = (status, charged) if ended else None
        winners = {"succeed" if end.startswith("succeed") else "failed" for end in task.ends}
        assert winners <= {status}, "a call that reported that it ended the task did end it"
        if not self.connections_cut:  # after a lost response, the repeated call finds that the task has ended
            assert bool(task.ends) == ended
            assert len(set(task.ends)) <= 1, "only one call ends a task"

    async def _check_batches(self, rows: dict[str, asyncpg.Record]) -> None:
        """Ended tasks have no batches. Each missing shot of other tasks is in exactly one batch."""
        queued = Counter(
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
        assert set(queued.values()) <= {1}
        assert missing <= set(queued), "a missing shot has no batch"
        assert all(rows[task_id]["ended_at"] is None for task_id, _ in queued), "an ended task has a batch"
        keys = await self.db.rows("select key, account_id, task_id from idempotency_keys")
        assert {(row["account_id"], row["key"], str(row["task_id"])) for row in keys} == {
            (account.id, key, task_id)
            for account in self.accounts.values()
            for key, (task_id, _) in account.keys.items()
        }

    async def _check_charges(self, rows: dict[str, asyncpg.Record]) -> None:
        """Each task that was charged has exactly one charge, with its own kind, model and units."""
        charges = await self.db.rows("select task_id, kind, model, amount from charges")
        assert Counter((str(c["task_id"]), c["kind"], c["model"], c["amount"]) for c in charges) == {
            (task_id, self.tasks[task_id].submission.kind, row["model"], row["units_charged"]): 1
            for task_id, row in rows.items()
            if row["units_charged"]
        }
        assert all(row["kind"] == self.tasks[task_id].submission.kind for task_id, row in rows.items())

    def teardown(self) -> None:
        """All open tasks can be completed, and then nothing is in flight."""
        if self.accounts and not self.step_failed:
            self._run(self._complete_all_tasks())

    async def _complete_all_tasks(self) -> None:
        await self._requeue(1)
        await self.db.row("update batches set run_at = now()")
        self.claimed = []
        for turn in range(100):
            before = len(self.claimed)
            await self._claim(turn, 9)
            if len(self.claimed) == before:
                break
            await asyncio.gather(*(self._finish(batch) for batch in self.claimed[before:]))
        await self._check()
        for name, account in self.accounts.items():
            found = await account_store.find_account(self.db, name)
            assert found is not None
            assert (found.images_in_flight, found.units_reserved) == (0, 0)
            assert found.units_used == account.used
        assert await self.db.value("select count(*) from batches") == 0
        note(f"{len(self.tasks)} tasks, {dict(Counter(str(t.ended_as) for t in self.tasks.values()))}")


@contextmanager
def shared_database(postgres: Server, template: str) -> Iterator[SharedDatabase]:
    with asyncio.Runner() as runner:
        opened = fresh_database(postgres, template)
        url = runner.run(opened.__aenter__())
        db = server_database(postgres, url, size=12)
        runner.run(db.open())
        runner.run(execute(url, WATCH))
        try:
            yield SharedDatabase(runner, db)
        finally:
            runner.run(db.close())
            runner.run(opened.__aexit__(None, None, None))


@pytest.mark.long
@pytest.mark.timeout(7200 if LONG else 300)
def test_quota_is_exact_in_any_order(postgres: Server, template: str) -> None:
    with shared_database(postgres, template) as shared:
        try:
            run_state_machine_as_test(
                cast(type[Quota], partial(Quota, shared)),  # a callable that returns an instance is enough
                settings=hypothesis.settings(
                    max_examples=EXAMPLES,
                    stateful_step_count=STEPS,
                    suppress_health_check=list(hypothesis.HealthCheck),
                    # shrinking takes minutes
                    phases=[p for p in hypothesis.Phase if LONG or p is not hypothesis.Phase.shrink],
                ),
            )
        except hypothesis.errors.Flaky:
            raise shared.first_error or AssertionError from None
        print(dict(shared.outcomes))  # noqa: T201 - displayed with -s
        accept_outcomes = {
            "accepted",
            "replayed",
            "key_reused",
            "disabled",
            "external_taken",
            "over_concurrency",
            "over_units",
        }
        batch_outcomes = {"lost", "kept", "succeeded", "failed", "too late to fail", "canceled", "too late to cancel"}
        assert accept_outcomes | batch_outcomes <= {
            outcome.removesuffix(" concurrently") for outcome in shared.outcomes
        }, "every outcome occurred"


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_fifty_clients_of_two_processes_never_exceed_the_limit(database_url: str, tmp_path: Path) -> None:
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
            body = answer.json()
            if answer.status_code == 200:
                accepted[body["data"]["task_id"]] = images
                continue
            assert (answer.status_code, body["code"]) == (429, 1303), body
            assert body["message"] == "parallel task over resource pack limit"
            assert int(answer.headers["Retry-After"]) > 0
            refused += 1
            await asyncio.sleep(0.05)

    async def sample(end: float) -> Counter[int]:
        """Query the number of images in flight again and again. Returns how often each number was seen."""
        seen: Counter[int] = Counter()
        connection = await asyncpg.connect(database_url)
        while not seen or time.monotonic() < end:
            seen[await connection.fetchval("select sum(image_count) from tasks where ended_at is null") or 0] += 1
        await connection.close()
        return seen

    with two_apis_and_two_workers(tmp_path, database_url, worker_concurrency=8, max_batch=2) as (urls, replace_worker):
        apis = [httpx.AsyncClient(base_url=url, headers=headers, timeout=120) for url in urls]

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
            await asyncio.to_thread(replace_worker)  # its images stay in flight until another worker has generated them
        await eventually(all_ended, seconds=60)
        for api in apis:
            await api.aclose()

    peak = await db.value("select peak from quota_peaks where account_id = $1", account.id)
    summary = f"{len(accepted)} tasks accepted, {refused} refused, at most {peak} of {LIMIT} images in flight"
    seen = sampling.result()
    print(f"{summary}; {seen.total()} samples saw at most {max(seen)}")  # noqa: T201 - displayed with -s
    assert [row["message"] for row in await db.rows("select message from quota_violations")] == []
    assert max(seen) <= peak == LIMIT, "the limit is reached and never exceeded"
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
