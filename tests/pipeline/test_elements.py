"""The library of elements: fetched images, dead and late workers, callbacks, and races with deletion."""

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from framehouse.adapters.images.checker import ImageChecker
from framehouse.adapters.postgres import element_store as library
from framehouse.adapters.postgres.element_store import ClaimedElement, NewElement
from framehouse.adapters.postgres.new_task import NewTask, accept_rows
from framehouse.adapters.postgres.task_store import AcceptResult
from framehouse.domain.element import ElementTask, read_element
from framehouse.domain.errors import Refused
from framehouse.domain.reference import Reference
from framehouse.entrypoints.element_worker import ElementWorker
from framehouse.pipeline.accept import AcceptQueue
from framehouse.pipeline.expire import REFERENCE_GRACE, remove_references
from framehouse.pipeline.saved_elements import create_element, delete_element, gather_images
from tests.support.api_server import ELEMENTS, element_body, serving
from tests.support.callbacks import LINKS, list_messages, running_callback_worker, statuses, wait_for_callbacks
from tests.support.eventually import eventually
from tests.support.http_answers import http, server
from tests.support.image_files import image_file
from tests.support.in_process_deployment import Deployment, MakeDeployment
from tests.support.receivers import receiving
from tests.support.tasks import wait_for_task

LEASE = timedelta(seconds=30)
GOOD = http("200 OK", image_file())


async def submit(deployment: Deployment, **fields: Any) -> UUID:
    request, problems = read_element(element_body(**fields))
    assert not problems
    ticket = await create_element(
        request, account_id=deployment.caller.account_id, db=deployment.db, storage=deployment.storage
    )
    return ticket.task_id


async def submit_urls(deployment: Deployment, *urls: str, **fields: Any) -> UUID:
    first, *others = urls
    images = {"frontal_image": first, "refer_images": [{"image_url": url} for url in others]}
    return await submit(deployment, element_image_list=images, **fields)


async def get_element_task(deployment: Deployment, id: UUID) -> ElementTask:
    task = await library.find_element(deployment.db, deployment.caller.account_id, str(id), 0)
    assert task is not None
    return task


async def wait_for_element_task(deployment: Deployment, id: UUID) -> ElementTask:
    async def ended_task() -> ElementTask | None:
        task = await get_element_task(deployment, id)
        return task if task.ended else None

    task: ElementTask = await eventually(ended_task)
    return task


async def claim(deployment: Deployment) -> list[ClaimedElement]:
    return await library.claim_elements(deployment.db, limit=1, lease=LEASE)


async def lose_lease(deployment: Deployment) -> None:
    await deployment.db.row("update elements set lease_until = now() - interval '1 second', run_at = now()")


async def test_images_at_urls_are_fetched_and_stored(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    async with server(lambda path: http("200 OK", image_file(int(path[1:])))) as url:
        id = await submit_urls(deployment, f"{url}/310", f"{url}/320", f"{url}/330", f"{url}/340")
        deployment.start_element_worker()
        task = await wait_for_element_task(deployment, id)
    assert task.status == "succeed"
    assert [image.width for image in task.element.images] == [310, 320, 330, 340]
    for image in task.element.images:
        assert await deployment.storage.get(image.key) == image_file(image.width)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (http("404 Not Found"), "returned HTTP 404"),
        (http("200 OK", b"not an image"), "is a text; accepted types: jpg, png, webp, avif, heic"),
        (http("200 OK", image_file(100, 100)), "both sides must be at least 300 px"),
    ],
)
async def test_an_image_that_cannot_be_used_fails_the_element_and_is_named(
    make_deployment: MakeDeployment, answer: bytes, problem: str
) -> None:
    deployment = await make_deployment()
    answers = {"/good": GOOD, "/bad": answer}
    async with server(lambda path: answers[path]) as url:
        nested = await submit_urls(deployment, f"{url}/good", f"{url}/good", f"{url}/bad")
        flat_fields = {"element_frontal_image": f"{url}/bad", "element_refer_list": [{"image_url": f"{url}/bad"}]}
        flat = await submit(deployment, element_image_list=None, **flat_fields)
        deployment.start_element_worker()
        task = await wait_for_element_task(deployment, nested)
        assert task.status == "failed"
        assert task.status_message.startswith("element_image_list.refer_images[1].image_url ")
        assert problem in task.status_message
        message = (await wait_for_element_task(deployment, flat)).status_message
        assert "element_frontal_image " in message
        assert "element_refer_list[0].image_url " in message


async def test_private_addresses_are_not_fetched(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    id = await submit_urls(deployment, "http://127.0.0.1:1/a.png", "http://[::1]/b.png")
    deployment.start_element_worker(allow_private=False)
    assert "private or special address" in (await wait_for_element_task(deployment, id)).status_message


async def test_a_fetch_from_a_busy_server_is_repeated(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    answers = [http("503 Busy"), GOOD, GOOD, GOOD]
    async with server(lambda _: answers.pop(0)) as url:
        id = await submit_urls(deployment, f"{url}/a", f"{url}/b")
        deployment.start_element_worker()
        assert (await wait_for_element_task(deployment, id)).status == "succeed"


async def test_an_element_is_given_up_with_its_last_error(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    async with server(lambda path: GOOD if path == "/good" else http("503 Busy")) as url:
        id = await submit_urls(deployment, f"{url}/good", f"{url}/busy")
        deployment.start_element_worker(attempts=1)
        task = await wait_for_element_task(deployment, id)
    reason = "element_image_list.refer_images[0].image_url returned HTTP 503"
    assert (task.status, task.status_message) == ("failed", f"given up after 1 attempts: {reason}")


async def test_an_element_of_a_dead_worker_is_saved_by_another_worker(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    async with server(lambda _: GOOD) as url:
        id = await submit_urls(deployment, f"{url}/a", f"{url}/b")
        (early,) = await claim(deployment)
        assert (await get_element_task(deployment, id)).status == "processing"
        assert await claim(deployment) == [], "the lease has not expired"
        await lose_lease(deployment)
        (late,) = await claim(deployment)
        assert (late.attempt, late.claim != early.claim) == (2, True)
        checker = ImageChecker()
        images = await gather_images(late, deployment.db, deployment.storage, checker, allow_private=True)
        await checker.close()
    wrong = [Reference(key="references/late", width=1, height=1)] * 2
    await library.finish_element(deployment.db, early, wrong)
    await library.fail_element(deployment.db, early, "late")
    await library.release_element(deployment.db, early, after=timedelta(0), error="late")
    assert (await get_element_task(deployment, id)).status == "processing", "a late worker changes nothing"
    for _ in range(2):
        await library.finish_element(deployment.db, late, images)
    await library.finish_element(deployment.db, early, wrong)
    task = await get_element_task(deployment, id)
    assert (task.status, task.element.images) == ("succeed", images)
    await lose_lease(deployment)
    assert await claim(deployment) == [], "an ended element is not claimed again"


async def test_an_element_whose_workers_all_die_is_given_up(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    id = await submit(deployment)
    for _ in range(5):
        assert len(await claim(deployment)) == 1
        await lose_lease(deployment)
    deployment.start_element_worker()
    assert (await wait_for_element_task(deployment, id)).status_message == "given up after 5 attempts: no reason known"


async def test_two_workers_never_claim_the_same_element(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    ids = [await submit(deployment) for _ in range(12)]
    claims = await asyncio.gather(*(library.claim_elements(deployment.db, limit=2, lease=LEASE) for _ in range(12)))
    claimed = [element.task.id for elements in claims for element in elements]
    assert len(claimed) == len(set(claimed))
    assert set(claimed) <= set(ids)


async def test_a_stopped_worker_releases_its_elements(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    async with receiving(hung=True) as dead:
        await submit_urls(deployment, dead.url, dead.url)
        running = asyncio.create_task(ElementWorker(deployment.db, deployment.storage, allow_private=True).run())

        async def fetching() -> bool:
            return dead.connections > 0

        await eventually(fetching)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    (again,) = await claim(deployment)
    assert again.attempt == 1, "a release by a stopped worker does not count as an attempt"


async def test_creating_the_same_element_twice_creates_it_once(make_deployment: MakeDeployment) -> None:
    """The statement is sent again if its response is lost."""
    deployment = await make_deployment()
    element = NewElement(
        uuid4(), 2**41, deployment.caller.account_id, "x", "y", (), external_task_id="mine",
        images=tuple(("f", Reference(key="references/x", width=300, height=300)) for _ in range(2)),
    )  # fmt: skip
    assert await library.create_element(deployment.db, element) == await library.create_element(deployment.db, element)
    (claimed,) = await claim(deployment)
    await library.finish_element(deployment.db, claimed, claimed.task.element.images)
    at = datetime.now(UTC)
    deleted = [await library.delete_element(deployment.db, deployment.caller.account_id, 2**41, at) for _ in range(2)]
    assert deleted == [claimed.task.id] * 2, "a repeated delete has the same result"


@pytest.mark.parametrize("end", ["succeed", "failed"])
async def test_callbacks_of_elements_are_signed_ordered_and_equal_to_the_response_of_get(
    make_deployment: MakeDeployment, end: str
) -> None:
    deployment = await make_deployment()
    async with (
        serving(deployment, links=LINKS) as api,
        receiving("500 Oops") as receiver,
        running_callback_worker(deployment),
    ):
        answer = GOOD if end == "succeed" else http("404 Not Found")
        async with server(lambda _: answer) as url:
            id = await submit_urls(
                deployment, f"{url}/a", f"{url}/b", callback_url=receiver.url, external_task_id="mine"
            )
            deployment.start_element_worker()
            await wait_for_callbacks(receiver, 3)
        assert statuses(receiver) == ["processing", "processing", end]
        secret = (await deployment.account())["callback_secret"]
        for callback in receiver.received:
            callback.verify(secret)
        assert len({callback.headers["webhook-id"] for callback in receiver.received}) == 2
        assert receiver.received[0].body == receiver.received[1].body
        assert "task_result" not in receiver.received[0].data
        assert receiver.received[-1].data == (await api.alice.get(f"{ELEMENTS}/{id}")).json()["data"]
    for either_id in (str(id), "mine"):
        listed = await list_messages(deployment, either_id=either_id)
        assert [(m.task_id, m.status) for m in listed] == [(id, end), (id, "processing")]


async def test_callbacks_of_tasks_and_elements_share_one_queue(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    async with receiving() as receiver, running_callback_worker(deployment):
        await submit(deployment, callback_url=receiver.url)
        await deployment.submit(callback_url=receiver.url)
        deployment.start_element_worker()
        deployment.start_worker()
        await wait_for_callbacks(receiver, 4)
        kinds = sorted(
            "progress" in callback.data or "watermark_info" in callback.data for callback in receiver.received
        )
        assert kinds == [False, False, True, True]
    message = (await list_messages(deployment))[0]
    assert {m.state for m in await list_messages(deployment)} <= {"delivered", "waiting"}
    assert message.callback_url == receiver.url


async def save_element(deployment: Deployment) -> int:
    """Create and save an element without a worker. Returns its id."""
    await submit(deployment)
    (claimed,) = await claim(deployment)
    await library.finish_element(deployment.db, claimed, claimed.task.element.images)
    return claimed.task.element.id


async def test_a_task_is_refused_or_complete_if_its_element_is_deleted_meanwhile(
    make_deployment: MakeDeployment,
) -> None:
    """If the delete comes first, the task is refused. Otherwise the task has all images of the element."""
    deployment = await make_deployment(concurrency=10_000)
    outcomes = set()
    for _ in range(25):
        id = await save_element(deployment)
        elements = [{"element_id": 101}, {"element_id": id}]
        account = deployment.caller.account_id
        answer, _ = await asyncio.gather(
            deployment.submit(element_list=elements), delete_element(deployment.db, account, id), return_exceptions=True
        )
        if isinstance(answer, Refused):
            assert answer.message == f"element_list[1].element_id {id} does not exist"
        else:
            assert not isinstance(answer, BaseException)
            stored = await deployment.db.rows(
                "select e.name, count(*) as images from task_elements e "
                "join task_references r on r.task_id = e.task_id and r.element = e.index and r.key is not null "
                "where e.task_id = $1 group by e.index, e.name order by e.index",
                answer.task_id,
            )
            assert [(row["name"], row["images"]) for row in stored] == [("Robot", 2), ("Red bag", 2)]
        outcomes.add(type(answer).__name__)
    assert outcomes <= {"Ticket", "Refused"}


class InterruptedAcceptQueue(AcceptQueue):
    """Calls `interruption` after a task was checked and before it is accepted."""

    def __init__(self, deployment: Deployment, interruption: Callable[[NewTask], Awaitable[Any]]) -> None:
        super().__init__(deployment.db)
        self._interruption = interruption

    async def submit(self, task: NewTask) -> AcceptResult:
        await self._interruption(task)
        return await super().submit(task)


async def test_an_element_deleted_between_check_and_accept_is_named_in_the_refusal(
    make_deployment: MakeDeployment,
) -> None:
    deployment = await make_deployment()
    id = await save_element(deployment)
    deployment.accept_queue = InterruptedAcceptQueue(
        deployment, lambda _: delete_element(deployment.db, deployment.caller.account_id, id)
    )
    with pytest.raises(Refused) as refused:
        await deployment.submit(element_list=[{"element_id": 102}, {"element_id": id}])
    assert refused.value.message == f"element_list[1].element_id {id} does not exist"
    assert await deployment.db.value("select count(*) from tasks") == 0
    assert (await deployment.account())["images_in_flight"] == 0


async def test_a_delete_waits_for_an_accept_in_progress(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    id = await save_element(deployment)

    async def accept_slowly(task: NewTask) -> None:
        async with deployment.db._connection() as connection, connection.transaction():
            await connection.execute("select accept_tasks($1::text::jsonb)", accept_rows([task]))
            deleting = asyncio.create_task(delete_element(deployment.db, deployment.caller.account_id, id))
            await asyncio.sleep(0.2)
            assert not deleting.done()
        await deleting

    deployment.accept_queue = InterruptedAcceptQueue(deployment, accept_slowly)
    await deployment.submit(element_list=[{"element_id": id}])
    assert await deployment.db.value("select count(*) from task_references where key is not null") == 2


async def test_a_missing_image_of_an_element_fails_the_task_and_names_the_element(
    make_deployment: MakeDeployment,
) -> None:
    deployment = await make_deployment()
    ticket = await deployment.submit(element_list=[{"element_id": 105}])
    key = await deployment.db.value("select key from task_references where task_id = $1 limit 1", ticket.task_id)
    await deployment.storage.delete([key])
    deployment.start_worker()

    async def status_message() -> str | None:
        message: str = await deployment.db.value("select status_message from tasks where id = $1", ticket.task_id)
        return message or None

    assert await eventually(status_message) == "element_list[0].element_id 105: an image no longer exists"


async def test_frequent_statements_use_their_indexes_on_a_full_elements_table(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    await submit(deployment)
    await deployment.db.row(
        "insert into elements (id, element_id, account_id, status, name, description, tags) "
        "select gen_random_uuid(), 5000000000000 + n, account_id, 'succeed', name, description, tags "
        "from elements, generate_series(1, 20000) n"
    )
    await deployment.db.row("analyze elements")
    listed = await deployment.db.rows(
        "explain select * from element_answers where account_id = $1 and deleted_at is null "
        "order by created_at desc, id desc limit 30",
        deployment.caller.account_id,
    )
    assert "elements_by_account" in "\n".join(row[0] for row in listed)
    due = await deployment.db.rows(
        "explain select id from elements where status in ('submitted', 'processing') and run_at <= now() "
        "order by run_at, id for update skip locked limit 4"
    )
    assert "elements_due" in "\n".join(row[0] for row in due)


async def test_an_image_stays_stored_while_an_element_or_task_needs_it(
    make_deployment: MakeDeployment,
) -> None:
    deployment = await make_deployment()
    element_id = await save_element(deployment)
    keys = [row["key"] for row in await deployment.db.rows("select distinct key from element_references")]

    async def sweep_an_hour_later() -> None:
        await deployment.db.row("update stored_references set used_at = used_at - $1::interval", REFERENCE_GRACE)
        await remove_references(deployment.db, deployment.storage)

    async def stored() -> bool:
        exist = [await deployment.storage.get(key) is not None for key in keys]
        assert len(set(exist)) == 1
        return exist[0]

    await sweep_an_hour_later()
    assert await stored(), "the element needs the images"
    ticket = await deployment.submit("<<<element_1>>>", element_list=[{"element_id": element_id}])
    await delete_element(deployment.db, deployment.caller.account_id, element_id)
    await sweep_an_hour_later()
    assert await stored(), "the task needs the images"
    deployment.start_worker()
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    await sweep_an_hour_later()
    assert not await stored(), "neither an element nor a task needs the images"


async def test_a_damaged_image_fails_the_element_and_is_deleted(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    whole = image_file(600, 600)
    broken = b64encode(whole[: len(whole) // 2]).decode()
    id = await submit(deployment, element_image_list={"frontal_image": broken, "refer_images": [{"image_url": broken}]})
    deployment.start_element_worker()
    task = await wait_for_element_task(deployment, id)
    assert task.status == "failed"
    assert "element_image_list.frontal_image is damaged" in task.status_message
    await deployment.db.row("update stored_references set used_at = used_at - $1::interval", REFERENCE_GRACE)
    await remove_references(deployment.db, deployment.storage)
    assert await deployment.db.value("select count(*) from stored_references") == 0
