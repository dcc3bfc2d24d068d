"""References in storage: each content is stored once, checked once, and deleted when no task needs it."""

import asyncio
import io
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from PIL import Image

from framehouse.adapters.postgres import reference_store, task_store
from framehouse.adapters.postgres.pool import Database
from framehouse.entrypoints.sweeper import sweep
from framehouse.pipeline.expire import REFERENCE_GRACE, remove_references
from framehouse.pipeline.references import InspectedImage, content_of, store
from tests.support.eventually import eventually
from tests.support.http_answers import http, server
from tests.support.image_files import image_base64, image_file
from tests.support.in_process_deployment import RULES, Deployment, MakeDeployment
from tests.support.tasks import wait_for_task

NOW = timedelta(0)
KEEP = timedelta(days=30)


async def key_of(deployment: Deployment, task_id: UUID, index: int = 0) -> str:
    return str(
        await deployment.db.value("select key from task_references where task_id = $1 and index = $2", task_id, index)
    )


async def pass_grace_period(deployment: Deployment) -> None:
    """Change the stored times as if the grace period (an hour) had passed."""
    await deployment.db.row("update stored_references set used_at = used_at - $1::interval", REFERENCE_GRACE)


async def cancel(deployment: Deployment, task_id: UUID) -> None:
    await task_store.cancel_task(deployment.db, deployment.caller.account_id, task_id, KEEP)


async def test_a_reference_is_deleted_only_when_no_task_needs_it(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    first = await deployment.submit(image_list=[{"image": image_base64()}])
    second = await deployment.submit(image_list=[{"image": image_base64()}])
    other = await deployment.submit(image_list=[{"image": image_base64(500, 500)}])
    key = await key_of(deployment, first.task_id)
    assert key == await key_of(deployment, second.task_id)
    await cancel(deployment, first.task_id)
    await cancel(deployment, other.task_id)
    await pass_grace_period(deployment)
    await sweep(deployment.db, deployment.storage, history=KEEP)
    assert await deployment.storage.get(key) == image_file()
    assert await deployment.storage.get(await key_of(deployment, other.task_id)) is None
    await cancel(deployment, second.task_id)
    await sweep(deployment.db, deployment.storage, history=KEEP)
    assert await deployment.storage.get(key) is not None, "a reference that was in use is kept for another grace period"
    await pass_grace_period(deployment)
    await sweep(deployment.db, deployment.storage, history=KEEP)
    assert await deployment.storage.get(key) is None
    assert await deployment.db.value("select count(*) from stored_references") == 0
    assert await deployment.db.value("select count(*) from forgotten_files") == 0


async def test_a_reference_that_is_used_again_is_not_deleted(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    first = await deployment.submit(image_list=[{"image": image_base64()}])
    await cancel(deployment, first.task_id)
    await pass_grace_period(deployment)
    image = InspectedImage(content_of(image_file()), 400, 300)
    reference = await store(deployment.db, deployment.storage, image)  # accept has run up to this step
    assert await remove_references(deployment.db, deployment.storage) == 0
    assert await deployment.storage.get(reference.key) == image_file()


async def test_after_a_sweeper_died_the_next_sweeper_deletes_only_the_old_file(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    first = await deployment.submit(image_list=[{"image": image_base64()}])
    old = await key_of(deployment, first.task_id)
    await cancel(deployment, first.task_id)
    assert await reference_store.delete_unused_references(deployment.db, NOW, 10) == 1
    assert await reference_store.delete_unused_references(deployment.db, NOW, 10) == 0, (
        "the statement is repeated because its response was lost"
    )
    second = await deployment.submit(image_list=[{"image": image_base64()}])
    new = await key_of(deployment, second.task_id)
    assert old != new
    await remove_references(deployment.db, deployment.storage)
    assert await deployment.storage.get(old) is None
    assert await deployment.storage.get(new) == image_file()


async def test_an_interrupted_upload_is_completed_by_the_next_upload(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    content = content_of(image_file())
    key = await reference_store.use_reference(deployment.db, content.sha256, "references/dead")
    assert (
        key
        == await reference_store.use_reference(deployment.db, content.sha256, "references/other")
        == "references/dead"
    )
    reference = await store(deployment.db, deployment.storage, InspectedImage(content, 400, 300))
    assert reference.key == key
    assert await deployment.storage.get(key) == image_file()


async def test_storing_and_deleting_the_same_content_at_the_same_time_never_loses_it(
    make_deployment: MakeDeployment,
) -> None:
    """Several clients use two contents while sweepers delete unused references.

    The grace period is short, but longer than the time between storing a reference and accepting its task. This is also
    true of the real grace period.
    """
    deployment = await make_deployment(concurrency=1000)
    other = Database(deployment.db.url, size=4, direct_url=deployment.db.direct_url)
    await other.open()
    stop = asyncio.Event()
    removed = checked = 0

    async def remove() -> None:
        nonlocal removed
        while not stop.is_set():
            removed += await remove_references(other, deployment.storage, grace=timedelta(seconds=0.5))
            await asyncio.sleep(0.005)

    async def use(number: int) -> None:
        nonlocal checked
        turn = 0
        while turn < 12 or not (removed and checked):
            began = time.monotonic()
            ticket = await deployment.submit(image_list=[{"image": image_base64(400 + number % 2, 300)}])
            in_time = time.monotonic() - began < 0.5  # otherwise, the grace period may have ended before the accept
            key = await key_of(deployment, ticket.task_id)
            await asyncio.sleep(0.05 * ((turn + number) % 3))
            assert not in_time or await deployment.storage.get(key) is not None
            checked += in_time
            await cancel(deployment, ticket.task_id)
            if turn % 4 == 3:
                await asyncio.sleep(0.6)
            turn += 1

    removing = [asyncio.create_task(remove()) for _ in range(2)]
    await asyncio.gather(*(use(number) for number in range(4)))
    stop.set()
    await asyncio.gather(*removing)
    await other.close()


async def test_a_locked_row_is_not_deleted(make_deployment: MakeDeployment) -> None:
    """Two real connections: a transaction that uses the reference is open while the sweeper checks this reference."""
    deployment = await make_deployment()
    first = await deployment.submit(image_list=[{"image": image_base64()}])
    await cancel(deployment, first.task_id)
    await pass_grace_period(deployment)
    async with deployment.db._connection() as connection:
        using = connection.transaction()
        await using.start()
        await connection.execute("update stored_references set used_at = now()")
        async with asyncio.timeout(60):
            assert await remove_references(deployment.db, deployment.storage) == 0, (
                "the sweeper must not wait for the lock"
            )
        await using.commit()
    assert await remove_references(deployment.db, deployment.storage) == 0


async def test_a_damaged_reference_fails_only_its_own_task_and_is_named(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    good = [{"image": image_base64()}]
    damaged = image_base64(900, 700)[:-80]
    bad = await deployment.submit(image_list=[*good, {"image": damaged}])
    undamaged = await deployment.submit(image_list=good)
    deployment.start_worker(concurrency=4)
    task = await wait_for_task(deployment, bad.task_id)
    assert task.status == "failed"
    assert task.status_message.startswith("image_list[1].image is damaged: ")
    assert (await wait_for_task(deployment, undamaged.task_id)).status == "succeed"


async def test_the_same_content_is_decoded_once(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    first = await deployment.submit(image_list=[{"image": image_base64()}], n=2)
    worker = deployment.start_worker(concurrency=1)
    assert (await wait_for_task(deployment, first.task_id)).status == "succeed"
    assert len(worker.checker._idle) == 1
    worker.stop()
    second = await deployment.submit(image_list=[{"image": image_base64()}])
    second_worker = deployment.start_worker()
    assert (await wait_for_task(deployment, second.task_id)).status == "succeed"
    assert second_worker.checker._idle == [], "no process was started"


async def test_references_by_url_have_the_same_checks(make_deployment: MakeDeployment) -> None:
    files = {
        "/good.png": image_file(900, 600),
        "/damaged.png": image_file(900, 600)[:-80],
        "/small.png": image_file(200, 600),
        "/page.html": b"<html>",
    }
    deployment = await make_deployment()
    deployment.rules = replace(RULES, allow_private_addresses=True)
    deployment.start_worker(concurrency=4)
    async with server(lambda path: http("200 OK", files[path])) as url:
        tickets = {
            path: await deployment.submit(
                image_list=[{"image": f"{url}/good.png"}, {"image": url + path}], aspect_ratio="auto"
            )
            for path in files
        }
        messages = {
            path: (await wait_for_task(deployment, ticket.task_id)).status_message for path, ticket in tickets.items()
        }
    assert messages["/good.png"] == ""
    assert messages["/damaged.png"].startswith("image_list[1].image is damaged")
    assert messages["/small.png"] == "image_list[1].image is 200x600 px; both sides must be at least 300 px"
    assert messages["/page.html"] == "image_list[1].image is an HTML page; accepted types: jpg, png, webp, avif, heic"
    key = await key_of(deployment, tickets["/good.png"].task_id)
    assert await deployment.storage.get(key) == files["/good.png"]


@asynccontextmanager
async def hung_server() -> AsyncIterator[str]:
    """The URL of an image on a server that accepts every connection and never answers."""
    connections: list[asyncio.StreamWriter] = []

    async def wait_until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await reader.read()

    listening = await asyncio.start_server(wait_until_closed, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/never.png"
        for writer in connections:
            writer.close()


async def test_references_that_never_arrive_do_not_delay_other_tasks(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("IDLE_TIMEOUT_S", "TOTAL_TIMEOUT_S"):
        monkeypatch.setattr(f"framehouse.adapters.fetch.{name}", 300.0)
    deployment = await make_deployment()
    deployment.rules = replace(RULES, allow_private_addresses=True)
    worker = deployment.start_worker(concurrency=2, stop_s=0)
    async with hung_server() as url:
        slow = [await deployment.submit(image_list=[{"image": f"{url}?{n}"}]) for n in range(20)]

        async def loading() -> bool:
            return len(worker.held) >= 8

        await eventually(loading)
        for _ in range(3):
            other = await deployment.submit("a fox")
            assert (await wait_for_task(deployment, other.task_id)).status == "succeed"
        assert len(worker.held) <= 10, "the number of batches of one account that wait for references is limited"
        for ticket in slow:
            await cancel(deployment, ticket.task_id)


async def test_a_reference_has_the_same_role_if_it_is_fetched_from_a_url(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment({"engine": "previz"})
    deployment.rules = replace(RULES, allow_private_addresses=True)
    files = []
    async with server(lambda _: http("200 OK", image_file())) as url:
        for scene in (f"{url}/scene.png", image_base64()):
            ticket = await deployment.submit(
                "a fox",
                kind="multi-image2image",
                model_name="kling-v3-omni",
                subject_image_list=[{"subject_image": image_base64(301, 300)}],
                scene_image=scene,
                seed=5,
                aspect_ratio="1:1",
            )
            if not deployment.workers:
                deployment.start_worker()
            task = await wait_for_task(deployment, ticket.task_id)
            content = await deployment.storage.get(task.images[0].key)
            assert content
            with Image.open(io.BytesIO(content)) as image:
                files.append(image.convert("RGB").tobytes())
    assert files[0] == files[1]
