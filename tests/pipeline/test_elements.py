"""From an accepted element to its place in the library: fetching, dying and late workers, and races with deletion."""

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
from tests.support.callbacks import LINKS, wait_for_callbacks, list_messages, running_callback_worker, statuses
from tests.support.eventually import eventually
from tests.support.http_answers import http, server
from tests.support.image_files import image_file
from tests.support.in_process_deployment import Deployment, MakeDeployment
from tests.support.receivers import receiving
from tests.support.tasks import wait_for_task as finished

LEASE = timedelta(seconds=30)
GOOD = http("200 OK", image_file())


async def submit(deployment: Deployment, **fields: Any) -> UUID:
    request, problems = read_element(element_body(**fields))
    assert not problems
    ticket = await create_element(
        request, account_id=deployment.caller.account_id, db=deployment.db, storage=deployment.storage
    )
    return ticket.task_id


async def by_urls(deployment: Deployment, *urls: str, **fields: Any) -> UUID:
    first, *others = urls
    images = {"frontal_image": first, "refer_images": [{"image_url": url} for url in others]}
    return await submit(deployment, element_image_list=images, **fields)


async def task_of(deployment: Deployment, id: UUID) -> ElementTask:
    found = await library.find_element(deployment.db, deployment.caller.account_id, str(id), 0)
    assert found is not None
    return found


async def wait_for_task(deployment: Deployment, id: UUID) -> ElementTask:
    async def look() -> ElementTask | None:
        task = await task_of(deployment, id)
        return task if task.ended else None

    task: ElementTask = await eventually(look)
    return task


async def claim(deployment: Deployment) -> list[ClaimedElement]:
    return await library.claim_elements(deployment.db, limit=1, lease=LEASE)


async def lose_lease(deployment: Deployment) -> None:
    await deployment.db.row("update elements set lease_until = now() - interval '1 second', run_at = now()")


async def test_pictures_behind_urls_are_fetched_and_kept(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    async with server(lambda path: http("200 OK", image_file(int(path[1:])))) as url:
        id = await by_urls(deployment, f"{url}/310", f"{url}/320", f"{url}/330", f"{url}/340")
        deployment.start_element_worker()
        task = await wait_for_task(deployment, id)
    assert task.status == "succeed"
    assert [image.width for image in task.element.images] == [310, 320, 330, 340]
    for image in task.element.images:
        assert await deployment.storage.get(image.key) == image_file(image.width)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (http("404 Not Found"), "answered HTTP 404"),
        (http("200 OK", b"no picture"), "cannot be read as a jpg or png image"),
        (http("200 OK", image_file(100, 100)), "both sides must be at least 300 px"),
    ],
)
async def test_a_picture_that_cannot_be_had_is_named(make_deployment: MakeDeployment, answer: bytes, said: str) -> None:
    deployment = await make_deployment()
    answers = {"/good": GOOD, "/bad": answer}
    async with server(lambda path: answers[path]) as url:
        newer = await by_urls(deployment, f"{url}/good", f"{url}/good", f"{url}/bad")
        flat = {"element_frontal_image": f"{url}/bad", "element_refer_list": [{"image_url": f"{url}/bad"}]}
        older = await submit(deployment, element_image_list=None, **flat)
        deployment.start_element_worker()
        task = await wait_for_task(deployment, newer)
        assert task.status == "failed"
        assert task.status_message.startswith("element_image_list.refer_images[1].image_url ")
        assert said in task.status_message
        message = (await wait_for_task(deployment, older)).status_message
        assert "element_frontal_image " in message
        assert "element_refer_list[0].image_url " in message


async def test_private_addresses_are_not_fetched(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    id = await by_urls(deployment, "http://127.0.0.1:1/a.png", "http://[::1]/b.png")
    deployment.start_element_worker(allow_private=False)
    assert "private or special address" in (await wait_for_task(deployment, id)).status_message


async def test_a_server_that_is_busy_is_asked_again(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    answers = [http("503 Busy"), GOOD, GOOD, GOOD]
    async with server(lambda _: answers.pop(0)) as url:
        id = await by_urls(deployment, f"{url}/a", f"{url}/b")
        deployment.start_element_worker()
        assert (await wait_for_task(deployment, id)).status == "succeed"


async def test_what_never_comes_is_given_up_with_its_reason(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    async with server(lambda path: GOOD if path == "/good" else http("503 Busy")) as url:
        id = await by_urls(deployment, f"{url}/good", f"{url}/busy")
        deployment.start_element_worker(attempts=1)
        task = await wait_for_task(deployment, id)
    why = "element_image_list.refer_images[0].image_url answered HTTP 503"
    assert (task.status, task.status_message) == ("failed", f"given up after 1 attempts: {why}")


async def test_an_element_whose_librarian_died_is_made_by_another(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    async with server(lambda _: GOOD) as url:
        id = await by_urls(deployment, f"{url}/a", f"{url}/b")
        (early,) = await claim(deployment)
        assert (await task_of(deployment, id)).status == "processing"
        assert await claim(deployment) == [], "the lease holds"
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
    assert (await task_of(deployment, id)).status == "processing", "a late twin changes nothing"
    for _ in range(2):
        await library.finish_element(deployment.db, late, images)
    await library.finish_element(deployment.db, early, wrong)
    task = await task_of(deployment, id)
    assert (task.status, task.element.images) == ("succeed", images)
    await lose_lease(deployment)
    assert await claim(deployment) == [], "what has ended is not claimed again"


async def test_what_kills_every_librarian_is_given_up(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    id = await submit(deployment)
    for _ in range(5):
        assert len(await claim(deployment)) == 1
        await lose_lease(deployment)
    deployment.start_element_worker()
    assert (await wait_for_task(deployment, id)).status_message == "given up after 5 attempts: no reason known"


async def test_two_librarians_never_get_the_same(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    ids = [await submit(deployment) for _ in range(12)]
    got = await asyncio.gather(*(library.claim_elements(deployment.db, limit=2, lease=LEASE) for _ in range(12)))
    claimed = [one.task.id for some in got for one in some]
    assert len(claimed) == len(set(claimed))
    assert set(claimed) <= set(ids)


async def test_a_stopped_librarian_hands_back_what_is_under_way(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    async with receiving(hung=True) as dead:
        await by_urls(deployment, dead.url, dead.url)
        running = asyncio.create_task(ElementWorker(deployment.db, deployment.storage, allow_private=True).run())

        async def fetching() -> bool:
            return dead.connections > 0

        await eventually(fetching)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    (again,) = await claim(deployment)
    assert again.attempt == 1, "handing back is nobody's fault"


async def test_offering_the_same_element_twice_accepts_it_once(make_deployment: MakeDeployment) -> None:
    """What happens when the answer is lost and it is sent again."""
    deployment = await make_deployment()
    element = NewElement(
        uuid4(), 2**41, deployment.caller.account_id, "x", "y", (), external_task_id="mine",
        images=tuple(("f", Reference(key="references/x", width=300, height=300)) for _ in range(2)),
    )  # fmt: skip
    assert await library.create_element(deployment.db, element) == await library.create_element(deployment.db, element)
    (claimed,) = await claim(deployment)
    await library.finish_element(deployment.db, claimed, claimed.task.element.images)
    at = datetime.now(UTC)
    gone = [await library.delete_element(deployment.db, deployment.caller.account_id, 2**41, at) for _ in range(2)]
    assert gone == [claimed.task.id] * 2, "so does deleting"


@pytest.mark.parametrize("end", ["succeed", "failed"])
async def test_callbacks_of_elements_are_signed_in_order_and_what_get_answers(
    make_deployment: MakeDeployment, end: str
) -> None:
    deployment = await make_deployment()
    async with serving(deployment, links=LINKS) as api, receiving("500 Oops") as receiver, running_callback_worker(deployment):
        answer = GOOD if end == "succeed" else http("404 Not Found")
        async with server(lambda _: answer) as url:
            id = await by_urls(deployment, f"{url}/a", f"{url}/b", callback_url=receiver.url, external_task_id="mine")
            deployment.start_element_worker()
            await wait_for_callbacks(receiver, 3)
        assert statuses(receiver) == ["processing", "processing", end]
        secret = (await deployment.account())["callback_secret"]
        for got in receiver.received:
            got.verify(secret)
        assert len({got.headers["webhook-id"] for got in receiver.received}) == 2
        assert receiver.received[0].body == receiver.received[1].body
        assert "task_result" not in receiver.received[0].data
        assert receiver.received[-1].data == (await api.alice.get(f"{ELEMENTS}/{id}")).json()["data"]
    for either_id in (str(id), "mine"):
        listed = await list_messages(deployment, either_id=either_id)
        assert [(m.task_id, m.status) for m in listed] == [(id, end), (id, "processing")]


async def test_callbacks_of_both_kinds_share_one_queue(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    async with receiving() as receiver, running_callback_worker(deployment):
        await submit(deployment, callback_url=receiver.url)
        await deployment.submit(callback_url=receiver.url)
        deployment.start_element_worker()
        deployment.start_worker()
        await wait_for_callbacks(receiver, 4)
        kinds = sorted("progress" in got.data or "watermark_info" in got.data for got in receiver.received)
        assert kinds == [False, False, True, True]
    message = (await list_messages(deployment))[0]
    assert {m.state for m in await list_messages(deployment)} <= {"delivered", "waiting"}
    assert message.callback_url == receiver.url


async def made(deployment: Deployment) -> int:
    await submit(deployment)
    (claimed,) = await claim(deployment)
    await library.finish_element(deployment.db, claimed, claimed.task.element.images)
    return claimed.task.element.id


async def test_accept_and_delete_at_the_same_moment(make_deployment: MakeDeployment) -> None:
    """Either the task is refused, or it has all it needs, whichever came first."""
    deployment = await make_deployment(concurrency=10_000)
    outcomes = set()
    for _ in range(25):
        id = await made(deployment)
        wanted = [{"element_id": 101}, {"element_id": id}]
        account = deployment.caller.account_id
        answer, _ = await asyncio.gather(
            deployment.submit(element_list=wanted), delete_element(deployment.db, account, id), return_exceptions=True
        )
        if isinstance(answer, Refused):
            assert answer.message == f"element_list[1].element_id {id} does not exist"
        else:
            assert not isinstance(answer, BaseException)
            kept = await deployment.db.rows(
                "select e.name, count(*) as pictures from task_elements e "
                "join task_references r on r.task_id = e.task_id and r.element = e.index and r.key is not null "
                "where e.task_id = $1 group by e.index, e.name order by e.index",
                answer.task_id,
            )
            assert [(row["name"], row["pictures"]) for row in kept] == [("Robot", 2), ("Red bag", 2)]
        outcomes.add(type(answer).__name__)
    assert outcomes <= {"Ticket", "Refused"}


class Interrupted(AcceptQueue):
    """Something happens when a task was checked and is not yet accepted."""

    def __init__(self, deployment: Deployment, what: Callable[[NewTask], Awaitable[Any]]) -> None:
        super().__init__(deployment.db)
        self._what = what

    async def submit(self, task: NewTask) -> AcceptResult:
        await self._what(task)
        return await super().submit(task)


async def test_an_element_deleted_between_check_and_accept_is_refused_by_name(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    id = await made(deployment)
    deployment.accept_queue = Interrupted(
        deployment, lambda _: delete_element(deployment.db, deployment.caller.account_id, id)
    )
    with pytest.raises(Refused) as refused:
        await deployment.submit(element_list=[{"element_id": 102}, {"element_id": id}])
    assert refused.value.message == f"element_list[1].element_id {id} does not exist"
    assert await deployment.db.value("select count(*) from tasks") == 0
    assert (await deployment.account())["images_in_flight"] == 0


async def test_a_delete_waits_for_an_accept_that_has_begun(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    id = await made(deployment)

    async def accept_slowly(task: NewTask) -> None:
        async with deployment.db._connection() as connection, connection.transaction():
            await connection.execute("select accept_tasks($1::text::jsonb)", accept_rows([task]))
            deleting = asyncio.create_task(delete_element(deployment.db, deployment.caller.account_id, id))
            await asyncio.sleep(0.2)
            assert not deleting.done()
        await deleting

    deployment.accept_queue = Interrupted(deployment, accept_slowly)
    await deployment.submit(element_list=[{"element_id": id}])
    assert await deployment.db.value("select count(*) from task_references where key is not null") == 2


async def test_a_picture_that_is_lost_fails_the_task_with_the_elements_name(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    ticket = await deployment.submit(element_list=[{"element_id": 105}])
    key = await deployment.db.value("select key from task_references where task_id = $1 limit 1", ticket.task_id)
    await deployment.storage.delete([key])
    deployment.start_worker()

    async def look() -> str | None:
        message: str = await deployment.db.value("select status_message from tasks where id = $1", ticket.task_id)
        return message or None

    assert await eventually(look) == "element_list[0].element_id 105: an image no longer exists"


async def test_the_hot_statements_use_their_indexes_on_a_full_table(make_deployment: MakeDeployment) -> None:
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


async def test_a_picture_stays_while_an_element_or_a_task_that_took_it_along_needs_it(
    make_deployment: MakeDeployment,
) -> None:
    deployment = await make_deployment()
    element_id = await made(deployment)
    keys = [row["key"] for row in await deployment.db.rows("select distinct key from element_references")]

    async def sweep_an_hour_later() -> None:
        await deployment.db.row("update stored_references set used_at = used_at - $1::interval", REFERENCE_GRACE)
        await remove_references(deployment.db, deployment.storage)

    async def kept() -> bool:
        found = [await deployment.storage.get(key) is not None for key in keys]
        assert len(set(found)) == 1
        return found[0]

    await sweep_an_hour_later()
    assert await kept(), "the element needs them"
    ticket = await deployment.submit("<<<element_1>>>", element_list=[{"element_id": element_id}])
    await delete_element(deployment.db, deployment.caller.account_id, element_id)
    await sweep_an_hour_later()
    assert await kept(), "the task took them along"
    deployment.start_worker()
    assert (await finished(deployment, ticket.task_id)).status == "succeed"
    await sweep_an_hour_later()
    assert not await kept(), "nobody needs them"


async def test_a_damaged_picture_fails_the_element_and_is_not_kept(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    whole = image_file(600, 600)
    broken = b64encode(whole[: len(whole) // 2]).decode()
    id = await submit(deployment, element_image_list={"frontal_image": broken, "refer_images": [{"image_url": broken}]})
    deployment.start_element_worker()
    task = await wait_for_task(deployment, id)
    assert task.status == "failed"
    assert "element_image_list.frontal_image is damaged" in task.status_message
    await deployment.db.row("update stored_references set used_at = used_at - $1::interval", REFERENCE_GRACE)
    await remove_references(deployment.db, deployment.storage)
    assert await deployment.db.value("select count(*) from stored_references") == 0
