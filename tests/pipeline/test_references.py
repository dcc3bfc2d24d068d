"""A reference's life in storage: stored once, checked once, there for as long as it is needed, then gone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

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


async def later(deployment: Deployment) -> None:
    """An hour goes by."""
    await deployment.db.row("update stored_references set used_at = used_at - $1::interval", REFERENCE_GRACE)


async def end(deployment: Deployment, task_id: UUID) -> None:
    await task_store.cancel_task(deployment.db, deployment.caller.account_id, task_id, KEEP)


async def test_a_reference_is_kept_while_a_task_needs_it_and_then_removed(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    first = await deployment.submit(image_list=[{"image": image_base64()}])
    second = await deployment.submit(image_list=[{"image": image_base64()}])
    other = await deployment.submit(image_list=[{"image": image_base64(500, 500)}])
    key = await key_of(deployment, first.task_id)
    assert key == await key_of(deployment, second.task_id)
    await end(deployment, first.task_id)
    await end(deployment, other.task_id)
    await later(deployment)
    await sweep(deployment.db, deployment.storage, history=KEEP)
    assert await deployment.storage.get(key) == image_file()
    assert await deployment.storage.get(await key_of(deployment, other.task_id)) is None
    await end(deployment, second.task_id)
    await sweep(deployment.db, deployment.storage, history=KEEP)
    assert await deployment.storage.get(key) is not None, "what was needed is looked at again after another grace"
    await later(deployment)
    await sweep(deployment.db, deployment.storage, history=KEEP)
    assert await deployment.storage.get(key) is None
    assert await deployment.db.value("select count(*) from stored_references") == 0
    assert await deployment.db.value("select count(*) from forgotten_files") == 0


async def test_used_again_it_stays(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    first = await deployment.submit(image_list=[{"image": image_base64()}])
    await end(deployment, first.task_id)
    await later(deployment)
    image = InspectedImage(content_of(image_file()), 400, 300)
    reference = await store(deployment.db, deployment.storage, image)  # accept has got as far as this
    assert await remove_references(deployment.db, deployment.storage) == 0
    assert await deployment.storage.get(reference.key) == image_file()


async def test_a_sweeper_that_dies_half_way_cannot_take_the_next_ones_file(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    first = await deployment.submit(image_list=[{"image": image_base64()}])
    old = await key_of(deployment, first.task_id)
    await end(deployment, first.task_id)
    assert await reference_store.delete_unused_references(deployment.db, NOW, 10) == 1
    assert await reference_store.delete_unused_references(deployment.db, NOW, 10) == 0, (
        "its answer was lost: twice is once"
    )
    second = await deployment.submit(image_list=[{"image": image_base64()}])
    new = await key_of(deployment, second.task_id)
    assert old != new
    await remove_references(deployment.db, deployment.storage)
    assert await deployment.storage.get(old) is None
    assert await deployment.storage.get(new) == image_file()


async def test_an_upload_that_died_half_way_is_mended_by_the_next(make_deployment: MakeDeployment) -> None:
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


async def test_storing_and_removing_the_same_content_at_once_never_loses_it(make_deployment: MakeDeployment) -> None:
    """With a grace that is short but longer than the way from storing to the task's row, as the real one is."""
    deployment = await make_deployment(concurrency=1000)
    other = Database(deployment.db.url, size=4, direct_url=deployment.db.direct_url)
    await other.open()
    stop = asyncio.Event()
    removed = 0

    async def remove() -> None:
        nonlocal removed
        while not stop.is_set():
            removed += await remove_references(other, deployment.storage, grace=timedelta(seconds=0.5))
            await asyncio.sleep(0.005)

    async def use(number: int) -> None:
        for turn in range(12):
            ticket = await deployment.submit(image_list=[{"image": image_base64(400 + number % 2, 300)}])
            key = await key_of(deployment, ticket.task_id)
            await asyncio.sleep(0.05 * ((turn + number) % 3))
            assert await deployment.storage.get(key) is not None
            await end(deployment, ticket.task_id)
            if turn % 4 == 3:
                await asyncio.sleep(0.6)

    removing = [asyncio.create_task(remove()) for _ in range(2)]
    await asyncio.gather(*(use(number) for number in range(4)))
    stop.set()
    await asyncio.gather(*removing)
    await other.close()
    assert removed, "the race was run"


async def test_a_row_that_is_being_touched_is_left_alone(make_deployment: MakeDeployment) -> None:
    """Two real connections: the storer's transaction is open while the sweeper looks, then commits."""
    deployment = await make_deployment()
    first = await deployment.submit(image_list=[{"image": image_base64()}])
    await end(deployment, first.task_id)
    await later(deployment)
    async with deployment.db._connection() as storer:
        touching = storer.transaction()
        await touching.start()
        await storer.execute("update stored_references set used_at = now()")
        async with asyncio.timeout(5):
            assert await remove_references(deployment.db, deployment.storage) == 0, "and it does not wait"
        await touching.commit()
    assert await remove_references(deployment.db, deployment.storage) == 0


async def test_a_damaged_reference_fails_its_own_task_and_names_itself(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    good = [{"image": image_base64()}]
    damaged = image_base64(900, 700)[:-80]
    bad = await deployment.submit(image_list=[*good, {"image": damaged}])
    fine = await deployment.submit(image_list=good)
    deployment.start_worker(concurrency=4)
    task = await wait_for_task(deployment, bad.task_id)
    assert task.status == "failed"
    assert task.status_message.startswith("image_list[1].image is damaged: ")
    assert (await wait_for_task(deployment, fine.task_id)).status == "succeed"


async def test_the_same_content_is_decoded_once(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    first = await deployment.submit(image_list=[{"image": image_base64()}], n=2)
    worker = deployment.start_worker(concurrency=1)
    assert (await wait_for_task(deployment, first.task_id)).status == "succeed"
    assert len(worker.checker._idle) == 1
    worker.stop()
    second = await deployment.submit(image_list=[{"image": image_base64()}])
    another = deployment.start_worker()
    assert (await wait_for_task(deployment, second.task_id)).status == "succeed"
    assert another.checker._idle == [], "no process was needed"


async def test_references_by_url_meet_the_same_checks(make_deployment: MakeDeployment) -> None:
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
        told = {path: (await wait_for_task(deployment, ticket.task_id)).status_message for path, ticket in tickets.items()}
    assert told["/good.png"] == ""
    assert told["/damaged.png"].startswith("image_list[1].image is damaged")
    assert told["/small.png"] == "image_list[1].image is 200x600 px; both sides must be at least 300 px"
    assert told["/page.html"] == "image_list[1].image cannot be read as a jpg or png image"
    key = await key_of(deployment, tickets["/good.png"].task_id)
    assert await deployment.storage.get(key) == files["/good.png"]


@asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """A server that takes every request and never answers one."""
    connections: list[asyncio.StreamWriter] = []

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await reader.read()

    listening = await asyncio.start_server(hold, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/never.png"
        for writer in connections:
            writer.close()


async def test_pictures_that_never_come_hold_up_nobody_else(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    deployment.rules = replace(RULES, allow_private_addresses=True)
    worker = deployment.start_worker(concurrency=2, stop_s=0)
    async with silent() as url:
        slow = [await deployment.submit(image_list=[{"image": f"{url}?{n}"}]) for n in range(20)]

        async def loading() -> bool:
            return len(worker.held) >= 16

        await eventually(loading)
        for _ in range(3):
            ordinary = await deployment.submit("a fox")
            assert (await wait_for_task(deployment, ordinary.task_id)).status == "succeed"
        assert len(worker.held) <= 18, "no more than some are begun with"
        for ticket in slow:
            await end(deployment, ticket.task_id)
