"""Callbacks from the change of status to receivers that misbehave."""

import asyncio
import random
import time
from contextlib import AsyncExitStack
from datetime import timedelta
from uuid import UUID

import pytest

from framehouse.adapters.postgres import account_store, callback_queue, task_store
from framehouse.adapters.postgres.callback_queue import HostLimits
from tests.support.api_server import PATH, serving
from tests.support.callbacks import LINKS, wait_for_callbacks, list_messages, running_callback_worker, wait_for_messages, statuses
from tests.support.eventually import eventually
from tests.support.in_process_deployment import MISBEHAVING, MakeDeployment
from tests.support.receivers import (
    Behaviour,
    Receiver,
    answer,
    cut,
    drip,
    endless_headers,
    flood,
    hang,
    nonsense,
    receiving,
)


@pytest.mark.parametrize(("prompt", "end"), [("a fox", "succeed"), ("decline", "failed")])
async def test_each_change_is_told_once_in_order_and_signed(
    make_deployment: MakeDeployment, prompt: str, end: str
) -> None:
    deployment = await make_deployment()
    async with receiving() as receiver, running_callback_worker(deployment):
        ticket = await deployment.submit(prompt, n=2, callback_url=receiver.url, external_task_id="mine")
        deployment.start_worker()
        await wait_for_callbacks(receiver, 2)
        assert statuses(receiver) == ["processing", end]
        secret = (await deployment.account())["callback_secret"]
        for got in receiver.received:
            got.verify(secret)
            assert got.headers["content-type"] == "application/json"
        assert len({got.headers["webhook-id"] for got in receiver.received}) == 2
        first, last = (got.data for got in receiver.received)
        assert first["task_id"] == last["task_id"] == str(ticket.task_id)
        assert "code" not in first, "the bare task, no envelope"
        assert "progress" not in first
        assert first["task_info"] == {"external_task_id": "mine"}
        if end == "succeed":
            assert last["task_result"]["images"][0]["url"].startswith("http://house.example/images/")
            assert last["final_unit_deduction"] == "16"
    assert {m.state for m in await list_messages(deployment)} == {"delivered"}


async def test_the_body_is_what_get_answers(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    async with serving(deployment, links=LINKS) as api, receiving() as receiver, running_callback_worker(deployment):
        task = await api.create(callback_url=receiver.url)
        deployment.start_worker()
        await wait_for_callbacks(receiver, 2)
        assert receiver.received[-1].data == (await api.alice.get(f"{PATH}/{task['task_id']}")).json()["data"]


async def test_cancel_is_told_too_and_no_url_means_no_message(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    async with receiving() as receiver, running_callback_worker(deployment):
        await deployment.submit("quiet")
        ticket = await deployment.submit(callback_url=receiver.url)
        await task_store.cancel_task(
            deployment.db, deployment.caller.account_id, ticket.task_id, deployment.rules.retention
        )
        await wait_for_callbacks(receiver, 1)
        assert receiver.received[0].data["task_status_msg"] == "Canceled"
    assert len(await list_messages(deployment)) == 1


async def test_a_failing_receiver_is_tried_again_with_the_same_id_and_in_order(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    async with receiving("500 Oops", "302 Found", "503 Busy") as receiver, running_callback_worker(deployment):
        await deployment.submit(callback_url=receiver.url)
        deployment.start_worker()
        await wait_for_callbacks(receiver, 5)
        assert statuses(receiver) == ["processing"] * 4 + ["succeed"]
        ids = [got.headers["webhook-id"] for got in receiver.received]
        assert len(set(ids[:4])) == 1
        assert len({got.body for got in receiver.received[:4]}) == 1
        secret = (await deployment.account())["callback_secret"]
        for got in receiver.received:
            got.verify(secret)


async def test_410_ends_it_and_retry_after_is_respected(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    async with receiving("410 Gone", "429 Slow\r\nRetry-After: 3600") as receiver, running_callback_worker(deployment):
        await deployment.submit(callback_url=receiver.url)
        deployment.start_worker()
        await wait_for_callbacks(receiver, 2)
        found = await wait_for_messages(deployment, lambda ms: any(m.last_code == 429 for m in ms))
        later, gone = found
        assert (gone.state, gone.last_code) == ("gone", 410)
        assert later.state == "waiting"
        assert later.last_error == "HTTP 429"
        assert later.next_try_at and later.tried_at
        assert (later.next_try_at - later.tried_at).total_seconds() > 3590
        assert len(await list_messages(deployment, failed=True)) == 2
        assert await callback_queue.resend_callback(deployment.db, deployment.caller.account_id, later.id)
        await wait_for_callbacks(receiver, 3)
        assert receiver.received[2].headers["webhook-id"] == receiver.received[1].headers["webhook-id"]
        assert not await callback_queue.resend_callback(deployment.db, deployment.caller.account_id + 1, later.id)


@pytest.mark.parametrize(
    "retry_after", ["99999999", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "soon", "-5", "9" * 5000]
)
async def test_odd_wishes_for_a_pause_lose_nothing(make_deployment: MakeDeployment, retry_after: str) -> None:
    deployment = await make_deployment()
    async with receiving(f"429 Slow\r\nRetry-After: {retry_after}") as receiver, running_callback_worker(deployment):
        ticket = await deployment.submit(callback_url=receiver.url)
        await deployment.db.row("select start_tasks($1)", [ticket.task_id])
        (message,) = await wait_for_messages(deployment, lambda ms: bool(ms[0].last_error) or ms[0].state != "waiting")
        assert message.state in ("waiting", "delivered")
        if message.next_try_at:
            assert (message.next_try_at - message.created_at).total_seconds() <= 24 * 3600 + 1


async def test_a_dead_path_does_not_condemn_its_host(make_deployment: MakeDeployment) -> None:
    async def by_path(receiver: Receiver, writer: asyncio.StreamWriter) -> None:
        if receiver.received[-1].data["task_info"].get("external_task_id", "").startswith("slow"):
            await hang(receiver, writer)
        await answer(receiver, writer)

    deployment = await make_deployment(concurrency=1000)
    async with receiving(behave=by_path) as receiver, running_callback_worker(deployment):
        for n in range(30):
            ticket = await deployment.submit(
                callback_url=receiver.url, external_task_id=f"{'slow' if n < 2 else 'good'}{n}"
            )
            await task_store.cancel_task(
                deployment.db, deployment.caller.account_id, ticket.task_id, deployment.rules.retention
            )
        await wait_for_messages(deployment, lambda ms: sum(m.state == "delivered" for m in ms) == 28)


async def test_the_next_message_waits_for_the_one_before_whoever_is_first(make_deployment: MakeDeployment) -> None:
    """The end of a task and the delivery of its first message at the same moment: none is forgotten."""
    deployment = await make_deployment(concurrency=1000)
    async with receiving() as receiver, running_callback_worker(deployment):
        for _ in range(30):
            ticket = await deployment.submit(callback_url=receiver.url)
            await deployment.db.row("select start_tasks($1)", [ticket.task_id])
            await asyncio.sleep(random.uniform(0, 0.02))
            await task_store.cancel_task(
                deployment.db, deployment.caller.account_id, ticket.task_id, deployment.rules.retention
            )
        await wait_for_messages(deployment, lambda ms: len(ms) == 60 and all(m.state == "delivered" for m in ms))


async def test_24_hours_are_enough(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    async with receiving("500 Oops", "500 Oops") as receiver:
        await deployment.submit("decline", callback_url=receiver.url)
        deployment.start_worker()
        await wait_for_messages(deployment, lambda ms: len(ms) == 2)
        await deployment.db.row("update callback_messages set created_at = now() - interval '24 hours'")
        async with running_callback_worker(deployment):
            found = await wait_for_messages(deployment, lambda ms: all(m.state == "given_up" for m in ms))
        assert {m.last_error for m in found} == {"HTTP 500"}
        assert statuses(receiver) == ["processing", "failed"]


@pytest.mark.parametrize(
    ("behave", "why"),
    [(hang, "no answer"), (drip, "no answer"), (nonsense, "could not be reached"), (cut, "could not be reached"),
     (endless_headers, "could not be reached")],
)  # fmt: skip
async def test_receivers_that_misbehave_are_told_apart(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch, behave: Behaviour, why: str
) -> None:
    monkeypatch.setattr("framehouse.pipeline.deliver_callback.ANSWER_TIMEOUT_S", 1.0)
    deployment = await make_deployment()
    async with receiving(behave=behave) as receiver, running_callback_worker(deployment):
        await deployment.submit(callback_url=receiver.url)
        deployment.start_worker()
        found = await wait_for_messages(deployment, lambda ms: any(m.last_error for m in ms))
        assert any(why in (m.last_error or "") for m in found)


async def test_a_hanging_tls_is_no_answer(make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framehouse.pipeline.deliver_callback.ANSWER_TIMEOUT_S", 1.0)
    deployment = await make_deployment()
    async with receiving(hung=True) as receiver, running_callback_worker(deployment):
        await deployment.submit(callback_url=receiver.url.replace("http:", "https:"))
        deployment.start_worker()
        await wait_for_messages(deployment, lambda ms: any("no answer" in (m.last_error or "") for m in ms))


async def test_an_answer_is_enough_and_its_body_is_not_read(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    async with receiving(behave=flood) as receiver, running_callback_worker(deployment):
        await deployment.submit(callback_url=receiver.url)
        deployment.start_worker()
        await wait_for_messages(deployment, lambda ms: len(ms) == 2 and all(m.state == "delivered" for m in ms))


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "http://localhost:1/x", "http://[::ffff:10.0.0.1]/x"])
async def test_private_addresses_are_not_called(make_deployment: MakeDeployment, url: str) -> None:
    deployment = await make_deployment()
    async with running_callback_worker(deployment, allow_private=False):
        await deployment.submit(callback_url=url)
        deployment.start_worker()
        found = await wait_for_messages(deployment, lambda ms: any(m.last_error for m in ms))
        assert "private or special address" in (found[-1].last_error or "")


async def connected(receivers: list[Receiver], least: int) -> bool:
    return sum(receiver.connections for receiver in receivers) >= least


@pytest.mark.long
async def test_a_thousand_dead_receivers_delay_nobody(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dead ones of every kind hold their connections open; a living receiver and the painting do not notice. Behind all
    of the dead ones, its turn would come after a minute."""
    monkeypatch.setattr("framehouse.pipeline.deliver_callback.ANSWER_TIMEOUT_S", 3.0)
    deployment = await make_deployment(concurrency=100_000)
    async with AsyncExitStack() as stack:
        dead = [await stack.enter_async_context(receiving(hung=n % 2 == 0, behave=hang)) for n in range(1000)]
        for n in range(1000):
            await deployment.submit("dead", callback_url=dead[n % len(dead)].url)
        await deployment.db.row("select start_tasks(array(select id from tasks))")
        await stack.enter_async_context(running_callback_worker(deployment))
        await eventually(lambda: connected(dead, 300), seconds=200)
        living = await stack.enter_async_context(receiving())
        began = time.monotonic()
        ticket = await deployment.submit(callback_url=living.url)
        await task_store.cancel_task(
            deployment.db, deployment.caller.account_id, ticket.task_id, deployment.rules.retention
        )
        await wait_for_callbacks(living, 1)
        assert time.monotonic() - began < 20


async def test_one_dead_host_with_thousands_of_messages_stands_before_nobody(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment(concurrency=100_000)
    async with receiving(hung=True) as dead, receiving() as living:
        ticket = await deployment.submit(callback_url=dead.url)
        await deployment.db.row("select start_tasks($1)", [ticket.task_id])
        await deployment.db.row(
            "insert into callback_messages "
            "(task_id, sequence, host, status, status_message, units_charged, updated_at, run_at) "
            "select task_id, 10 + n, host, status, '', 0, now(), now() - interval '1 hour' "
            "from callback_messages, generate_series(1, 5000) n"
        )
        await deployment.db.row("update callback_messages set state = 'given_up' where sequence = 1")
        other = await deployment.submit(callback_url=living.url)
        await task_store.cancel_task(
            deployment.db, deployment.caller.account_id, other.task_id, deployment.rules.retention
        )
        async with running_callback_worker(deployment, host_limits=HostLimits(unknown=4)):
            await wait_for_callbacks(living, 1, seconds=9)
        assert dead.connections <= 4


async def test_rotation_signs_with_both_secrets_during_the_overlap(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    old = (await deployment.account())["callback_secret"]
    new = await account_store.rotate_secret(deployment.db, "alice", timedelta(hours=1))
    assert new and new != old
    async with receiving() as receiver, running_callback_worker(deployment):
        await deployment.submit("decline", callback_url=receiver.url)
        deployment.start_worker()
        await wait_for_callbacks(receiver, 2)
        for got in receiver.received:
            got.verify(new)
            got.verify(old)
        third = await account_store.rotate_secret(deployment.db, "alice", timedelta(hours=1))
        await deployment.submit("decline", callback_url=receiver.url)
        await wait_for_callbacks(receiver, 4)
        for secret in (third, new, old):
            receiver.received[-1].verify(str(secret))
        new = str(third)
        await deployment.db.row("update accounts set callback_secret_old_until = now()")
        await deployment.submit("decline", callback_url=receiver.url)
        await wait_for_callbacks(receiver, 6)
        receiver.received[-1].verify(new)
        assert len(receiver.received[-1].headers["webhook-signature"].split()) == 1
    assert await account_store.rotate_secret(deployment.db, "nobody", timedelta(0)) is None


async def test_two_notifiers_share_and_a_dead_ones_messages_are_sent_again(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    async with receiving() as receiver:
        for _ in range(10):
            await deployment.submit("decline", callback_url=receiver.url)
        deployment.start_worker()
        await wait_for_messages(deployment, lambda ms: len(ms) == 20)
        host = receiver.url.split("/")[2]
        taken = await callback_queue.claim_callbacks(
            deployment.db, limit=5, host_limits=HostLimits(), healthy={host}, failing=(), lease=timedelta(seconds=1)
        )
        assert len(taken) == 5
        async with running_callback_worker(deployment), running_callback_worker(deployment):
            await wait_for_messages(deployment, lambda ms: all(m.state == "delivered" for m in ms))
        assert len({got.headers["webhook-id"] for got in receiver.received}) == 20
        by_task: dict[str, list[str]] = {}
        for got in receiver.received:
            by_task.setdefault(got.data["task_id"], []).append(got.data["task_status"])
        assert all(list(dict.fromkeys(told)) == ["processing", "failed"] for told in by_task.values())
        assert {UUID(task) for task in by_task} == {m.task_id for m in await list_messages(deployment)}


async def test_figures(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    async with serving(deployment) as api, receiving("410 Gone") as receiver, running_callback_worker(deployment):
        await deployment.submit("decline", callback_url=receiver.url)
        deployment.start_worker()
        await wait_for_messages(deployment, lambda ms: len(ms) == 2 and all(m.state != "waiting" for m in ms))
        text = (await api.anonymous.get("/metrics")).text
    assert 'framehouse_callback_messages{answer="2xx",state="delivered"} 1.0' in text
    assert 'framehouse_callback_attempts{answer="4xx",state="gone"} 1.0' in text
    waiting = f'framehouse_queue_batches{{model="kling-v3-omni",route="{MISBEHAVING}",state="waiting"}}'
    assert f"{waiting} 0.0" in text
