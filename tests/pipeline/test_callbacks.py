"""Delivery of callbacks: order, signatures, retries, and receivers that misbehave or do not answer."""

import asyncio
import logging
import random
from contextlib import AsyncExitStack
from datetime import timedelta
from uuid import UUID

import pytest

from framehouse.adapters.postgres import account_store, callback_queue, task_store
from framehouse.adapters.postgres.callback_queue import HostLimits
from tests.support.api_server import PATH, serving
from tests.support.callbacks import (
    LINKS,
    list_messages,
    running_callback_worker,
    statuses,
    wait_for_callbacks,
    wait_for_messages,
)
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
async def test_each_status_change_is_delivered_once_signed_and_in_order(
    make_deployment: MakeDeployment, prompt: str, end: str
) -> None:
    deployment = await make_deployment()
    async with receiving() as receiver, running_callback_worker(deployment):
        ticket = await deployment.submit(prompt, n=2, callback_url=receiver.url, external_task_id="mine")
        deployment.start_worker()
        await wait_for_callbacks(receiver, 2)
        assert statuses(receiver) == ["processing", end]
        secret = (await deployment.account())["callback_secret"]
        for callback in receiver.received:
            callback.verify(secret)
            assert callback.headers["content-type"] == "application/json"
        assert len({callback.headers["webhook-id"] for callback in receiver.received}) == 2
        first, last = (callback.data for callback in receiver.received)
        assert first["task_id"] == last["task_id"] == str(ticket.task_id)
        assert "code" not in first, "the body is the task without the envelope"
        assert "progress" not in first
        assert first["task_info"] == {"external_task_id": "mine"}
        if end == "succeed":
            assert last["task_result"]["images"][0]["url"].startswith("http://framehouse.example/images/")
            assert last["final_unit_deduction"] == "16"
        await wait_for_messages(deployment, lambda ms: all(m.state == "delivered" for m in ms))
    assert {m.state for m in await list_messages(deployment)} == {"delivered"}


async def test_the_body_equals_the_response_of_get(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    async with serving(deployment, links=LINKS) as api, receiving() as receiver, running_callback_worker(deployment):
        task = await api.create(callback_url=receiver.url)
        deployment.start_worker()
        await wait_for_callbacks(receiver, 2)
        assert receiver.received[-1].data == (await api.alice.get(f"{PATH}/{task['task_id']}")).json()["data"]


async def test_cancel_is_delivered_and_tasks_without_url_have_no_messages(make_deployment: MakeDeployment) -> None:
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


async def test_failed_deliveries_are_repeated_with_the_same_id_and_in_order(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    async with receiving("500 Oops", "302 Found", "503 Busy") as receiver, running_callback_worker(deployment):
        await deployment.submit(callback_url=receiver.url)
        deployment.start_worker()
        await wait_for_callbacks(receiver, 5)
        assert statuses(receiver) == ["processing"] * 4 + ["succeed"]
        ids = [callback.headers["webhook-id"] for callback in receiver.received]
        assert len(set(ids[:4])) == 1
        assert len({callback.body for callback in receiver.received[:4]}) == 1
        secret = (await deployment.account())["callback_secret"]
        for callback in receiver.received:
            callback.verify(secret)


async def test_status_410_ends_a_message_and_retry_after_is_respected(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    async with receiving("410 Gone", "429 Slow\r\nRetry-After: 3600") as receiver, running_callback_worker(deployment):
        await deployment.submit(callback_url=receiver.url)
        deployment.start_worker()
        await wait_for_callbacks(receiver, 2)
        later, gone = await wait_for_messages(deployment, lambda ms: any(m.last_code == 429 for m in ms))
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
async def test_invalid_or_huge_retry_after_values_lose_no_message(
    make_deployment: MakeDeployment, retry_after: str
) -> None:
    deployment = await make_deployment()
    async with receiving(f"429 Slow\r\nRetry-After: {retry_after}") as receiver, running_callback_worker(deployment):
        ticket = await deployment.submit(callback_url=receiver.url)
        await deployment.db.row("select start_tasks($1)", [ticket.task_id])
        (message,) = await wait_for_messages(deployment, lambda ms: bool(ms[0].last_error) or ms[0].state != "waiting")
        assert message.state in ("waiting", "delivered")
        if message.next_try_at:
            assert (message.next_try_at - message.created_at).total_seconds() <= 24 * 3600 + 60


async def test_a_hung_path_does_not_block_other_paths_of_its_host(make_deployment: MakeDeployment) -> None:
    async def hang_for_slow_tasks(receiver: Receiver, writer: asyncio.StreamWriter) -> None:
        if receiver.received[-1].data["task_info"].get("external_task_id", "").startswith("slow"):
            await hang(receiver, writer)
        await answer(receiver, writer)

    deployment = await make_deployment(concurrency=1000)
    async with receiving(behave=hang_for_slow_tasks) as receiver, running_callback_worker(deployment):
        for n in range(30):
            ticket = await deployment.submit(
                callback_url=receiver.url, external_task_id=f"{'slow' if n < 2 else 'good'}{n}"
            )
            await task_store.cancel_task(
                deployment.db, deployment.caller.account_id, ticket.task_id, deployment.rules.retention
            )
        await wait_for_messages(deployment, lambda ms: sum(m.state == "delivered" for m in ms) == 28)


async def test_both_messages_are_delivered_if_a_task_ends_during_the_first_delivery(
    make_deployment: MakeDeployment,
) -> None:
    """A task ends while its first message is delivered. Both messages must be delivered."""
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


async def test_messages_are_given_up_after_24_hours(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    async with receiving("500 Oops", "500 Oops") as receiver:
        await deployment.submit("decline", callback_url=receiver.url)
        deployment.start_worker()
        await wait_for_messages(deployment, lambda ms: len(ms) == 2)
        await deployment.db.row("update callback_messages set created_at = now() - interval '24 hours'")
        async with running_callback_worker(deployment):
            messages = await wait_for_messages(deployment, lambda ms: all(m.state == "given_up" for m in ms))
        assert {m.last_error for m in messages} == {"HTTP 500"}
        assert statuses(receiver) == ["processing", "failed"]


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (hang, "did not respond"),
        (drip, "did not respond"),
        (nonsense, "could not be reached"),
        (cut, "could not be reached"),
        (endless_headers, "sent too many bytes before the end of its response headers"),
    ],
)
async def test_failed_deliveries_record_their_reason(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch, behave: Behaviour, reason: str
) -> None:
    if reason == "did not respond":
        monkeypatch.setattr("framehouse.pipeline.deliver_callback.ANSWER_TIMEOUT_S", 1.0)
    deployment = await make_deployment()
    async with receiving(behave=behave) as receiver, running_callback_worker(deployment):
        await deployment.submit(callback_url=receiver.url)
        deployment.start_worker()
        messages = await wait_for_messages(deployment, lambda ms: any(m.last_error for m in ms))
        assert any(reason in (m.last_error or "") for m in messages)


async def test_a_hung_tls_handshake_is_recorded_as_no_answer(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framehouse.pipeline.deliver_callback.ANSWER_TIMEOUT_S", 1.0)
    deployment = await make_deployment()
    async with receiving(hung=True) as receiver, running_callback_worker(deployment):
        await deployment.submit(callback_url=receiver.url.replace("http:", "https:"))
        deployment.start_worker()
        await wait_for_messages(deployment, lambda ms: any("did not respond" in (m.last_error or "") for m in ms))


async def test_the_body_of_a_response_is_not_read(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    async with receiving(behave=flood) as receiver, running_callback_worker(deployment):
        await deployment.submit(callback_url=receiver.url)
        deployment.start_worker()
        await wait_for_messages(deployment, lambda ms: len(ms) == 2 and all(m.state == "delivered" for m in ms))


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "http://localhost:1/x", "http://[::ffff:10.0.0.1]/x"])
async def test_no_callbacks_are_sent_to_private_addresses(
    make_deployment: MakeDeployment, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "framehouse.entrypoints.callback_worker")
    deployment = await make_deployment()
    async with running_callback_worker(deployment, allow_private=False):
        await deployment.submit(callback_url=url)
        deployment.start_worker()
        messages = await wait_for_messages(deployment, lambda ms: any(m.last_error for m in ms))
        assert "private or special address" in (messages[-1].last_error or "")
        failed = messages[-1]
        await wait_for_messages(deployment, lambda ms: ms[-1].tries >= 3)
    [record] = [r for r in caplog.records if str(failed.id) in r.getMessage()]
    assert record.levelname == "WARNING", "only the first failed attempt of a message is logged"
    for part in ("private or special address", "FRAMEHOUSE_ALLOW_PRIVATE_ADDRESSES=1", str(failed.task_id)):
        assert part in record.getMessage()


async def have_connections(receivers: list[Receiver], minimum: int) -> bool:
    return sum(receiver.connections for receiver in receivers) >= minimum


@pytest.mark.long
async def test_hundreds_of_dead_receivers_do_not_delay_other_callbacks(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dead receivers of every kind keep their connections open. A healthy receiver must not wait for them.

    If its callback waited for the callbacks to the dead receivers one by one, it would be sent after minutes.
    """
    monkeypatch.setattr("framehouse.pipeline.deliver_callback.ANSWER_TIMEOUT_S", 3.0)
    deployment = await make_deployment(concurrency=100_000)
    async with AsyncExitStack() as stack:
        dead = [await stack.enter_async_context(receiving(hung=n % 2 == 0, behave=hang)) for n in range(300)]
        for n in range(300):
            await deployment.submit("dead", callback_url=dead[n % len(dead)].url)
        await deployment.db.row("select start_tasks(array(select id from tasks))")
        await stack.enter_async_context(running_callback_worker(deployment))
        await eventually(lambda: have_connections(dead, 100), seconds=200)
        healthy = await stack.enter_async_context(receiving())
        ticket = await deployment.submit(callback_url=healthy.url)
        await task_store.cancel_task(
            deployment.db, deployment.caller.account_id, ticket.task_id, deployment.rules.retention
        )
        await wait_for_callbacks(healthy, 1)


async def test_a_dead_host_with_thousands_of_messages_delays_no_other_host(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framehouse.pipeline.deliver_callback.ANSWER_TIMEOUT_S", 600.0)
    monkeypatch.setattr("framehouse.entrypoints.callback_worker._LEASE", timedelta(seconds=1200))
    deployment = await make_deployment(concurrency=100_000)
    async with receiving(hung=True) as dead, receiving() as healthy:
        ticket = await deployment.submit(callback_url=dead.url)
        await deployment.db.row("select start_tasks($1)", [ticket.task_id])
        await deployment.db.row(
            "insert into callback_messages "
            "(task_id, sequence, host, status, status_message, units_charged, updated_at, run_at) "
            "select task_id, 10 + n, host, status, '', 0, now(), now() - interval '1 hour' "
            "from callback_messages, generate_series(1, 5000) n"
        )
        await deployment.db.row("update callback_messages set state = 'given_up' where sequence = 1")
        other = await deployment.submit(callback_url=healthy.url)
        await task_store.cancel_task(
            deployment.db, deployment.caller.account_id, other.task_id, deployment.rules.retention
        )
        async with running_callback_worker(deployment, host_limits=HostLimits(unknown=4)):
            await wait_for_callbacks(healthy, 1)
        assert dead.connections <= 4


async def test_callbacks_are_signed_with_all_valid_secrets_during_a_rotation(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    old = (await deployment.account())["callback_secret"]
    new = await account_store.rotate_secret(deployment.db, "alice", timedelta(hours=1))
    assert new and new != old
    async with receiving() as receiver, running_callback_worker(deployment):
        await deployment.submit("decline", callback_url=receiver.url)
        deployment.start_worker()
        await wait_for_callbacks(receiver, 2)
        for callback in receiver.received:
            callback.verify(new)
            callback.verify(old)
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
    assert await account_store.rotate_secret(deployment.db, "unknown", timedelta(0)) is None


async def test_two_callback_workers_share_messages_and_resend_those_of_a_dead_worker(
    make_deployment: MakeDeployment,
) -> None:
    deployment = await make_deployment()
    async with receiving() as receiver:
        for _ in range(10):
            await deployment.submit("decline", callback_url=receiver.url)
        deployment.start_worker()
        await wait_for_messages(deployment, lambda ms: len(ms) == 20)
        host = receiver.url.split("/")[2]
        claimed = await callback_queue.claim_callbacks(
            deployment.db, limit=5, host_limits=HostLimits(), healthy={host}, failing=(), lease=timedelta(seconds=1)
        )
        assert len(claimed) == 5
        async with running_callback_worker(deployment), running_callback_worker(deployment):
            await wait_for_messages(deployment, lambda ms: all(m.state == "delivered" for m in ms))
        assert len({callback.headers["webhook-id"] for callback in receiver.received}) == 20
        by_task: dict[str, list[str]] = {}
        for callback in receiver.received:
            by_task.setdefault(callback.data["task_id"], []).append(callback.data["task_status"])
        assert all(list(dict.fromkeys(received)) == ["processing", "failed"] for received in by_task.values())
        assert {UUID(task) for task in by_task} == {m.task_id for m in await list_messages(deployment)}


async def test_callback_metrics(make_deployment: MakeDeployment) -> None:
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
