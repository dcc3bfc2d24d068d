"""Both clients against a real server."""

import asyncio
import inspect
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

import framehouse_client
from framehouse.adapters.postgres import account_store
from framehouse_client import (
    AsyncClient,
    AsyncTask,
    AuthenticationError,
    InvalidRequest,
    NotFound,
    QuotaExceeded,
    RateLimited,
    TaskFailed,
    TimedOut,
    async_client,
    sync_client,
)
from tests.support.api_server import Api, serving
from tests.support.image_files import image_file
from tests.support.in_process_deployment import MakeDeployment
from tests.support.python_clients import ClientKind, key_of, open_client


async def test_a_series_from_a_file_is_saved(api: Api, client: AsyncClient, tmp_path: Path) -> None:
    api.deployment.start_worker()
    (tmp_path / "bag.png").write_bytes(image_file(600, 400))
    task = await client.create("like <<<image_1>>>", images=[tmp_path / "bag.png"], series=3, resolution="2k")
    assert (task.kind, task.status, task.ended, task.images) == ("omni-image", "submitted", False, [])
    await task.wait()
    assert (task.status, task.progress, task.error, task.units) == ("succeed", 1.0, None, Decimal(24))
    paths = await task.save(tmp_path / "out")
    assert [path.name for path in paths] == [f"{task.id[-12:]}-{n}.png" for n in (1, 2, 3)]
    assert sorted(paths) == sorted((tmp_path / "out").iterdir())
    assert [path.read_bytes() for path in paths] == [await image.bytes() for image in task.images]
    single = await task.images[1].save(tmp_path / "new folder" / "second.png")
    assert single.read_bytes() == paths[1].read_bytes()


async def test_options_reach_the_server(api: Api, client: AsyncClient) -> None:
    task = await client.create(
        "a fox", n=2, aspect_ratio="3:2", resolution="2k", seed=7, watermark=True, model="kling-image-o1",
        external_task_id="mine/1", callback_url="https://example.com/hook", extra={"n": 3},
    )  # fmt: skip
    found = (await api.alice.get("/v1/tasks/mine/1?include=request")).json()["data"]
    assert found["task_id"] == task.id
    assert found["request"] == {
        "model_name": "kling-image-o1", "prompt": "a fox", "result_type": "single", "n": 3, "resolution": "2k",
        "aspect_ratio": "3:2", "watermark_info": {"enabled": True},
    }  # fmt: skip
    assert (await client.get("mine/1")).id == task.id


async def test_each_method_uses_its_endpoint(make_deployment: MakeDeployment, kind: ClientKind) -> None:
    deployment = await make_deployment({"engine": "previz"})
    async with serving(deployment) as api, open_client(kind, api.url, key_of(api)) as client:
        await _use_each_endpoint(api, client)


async def _use_each_endpoint(api: Api, client: AsyncClient) -> None:
    image = image_file(900, 600)
    created = [
        await client.create("a street", negative_prompt="cars", images=[image], model="kling-v3-omni"),
        await client.combine([image, image], scene=image, aspect_ratio="1:1", model="kling-v3-omni"),
        await client.expand(image, left=0.5, up=0.25, model="kling-v3-omni"),
        await client.try_on(image, image, model="kling-v3-omni"),
    ]
    tasks = (await api.alice.get("/v1/tasks")).json()["data"][::-1]
    assert [(task["kind"], task["task_id"]) for task in tasks] == [(task.kind, task.id) for task in created]
    assert [task.kind for task in created] == ["generations", "multi-image2image", "expand", "try-on"]
    for task in created:
        assert (await client.get(task.id)).kind == task.kind
        assert (await task.refresh()).status == "submitted"


@pytest.mark.parametrize(
    "arguments",
    [{"series": 3, "n": 2}, {"series": True, "negative_prompt": "x"}, {"images": "a.png"}, {"images": b"x"}],
)
async def test_contradictory_arguments_are_refused_before_anything_is_sent(
    api: Api, client: AsyncClient, arguments: Any
) -> None:
    with pytest.raises((ValueError, TypeError)):
        await client.create("x", **arguments)
    with pytest.raises(TypeError, match="aspect"):
        await client.create("x", aspect="1:1")  # type: ignore[call-arg]
    with pytest.raises(FileNotFoundError):
        await client.create("x", images=["no-such-file.png"])
    assert (await api.alice.get("/v1/tasks")).json()["data"] == []


async def test_a_repeated_idempotency_key_returns_the_first_task(api: Api, key: str, kind: ClientKind) -> None:
    ids = []
    for _ in range(2):  # two clients, like two runs of the same program
        async with open_client(kind, api.url, key) as client:
            ids.append((await client.create("a fox", idempotency_key="order 17")).id)
            with pytest.raises(InvalidRequest, match="Idempotency-Key"):
                await client.create("a hare", idempotency_key="order 17")
    assert ids[0] == ids[1]
    assert len((await api.alice.get("/v1/tasks")).json()["data"]) == 1


async def test_an_external_id_can_be_used_once(client: AsyncClient) -> None:
    await client.create("a fox", external_task_id="mine")
    with pytest.raises(InvalidRequest, match="already exists"):
        await client.create("a fox", external_task_id="mine")


async def test_progress_is_reported(api: Api, client: AsyncClient, kind: ClientKind) -> None:
    api.deployment.start_worker()
    reports: list[tuple[str, float]] = []

    async def report_later(task: AsyncTask) -> None:
        await asyncio.sleep(0)
        reports.append((task.status, task.progress))

    def report(task: AsyncTask) -> None:
        reports.append((task.status, task.progress))

    task = await client.create("slow 3")
    await task.wait(on_progress=report_later if kind == "async" else report)
    assert reports[-1] == ("succeed", 1.0)
    assert any(status == "processing" and 0 < progress < 1 for status, progress in reports)
    assert reports == sorted(reports, key=lambda entry: entry[1])


async def test_images_are_streamed_while_the_task_is_processing(api: Api, client: AsyncClient) -> None:
    api.deployment.start_worker(concurrency=1)
    task = await client.create("slow 1", n=3)
    seen = []
    async for image in task.stream():
        seen.append((image.index, task.ended))
        assert (await image.bytes()).startswith(b"\x89PNG")
    assert sorted(index for index, _ in seen) == [0, 1, 2]
    assert seen[0][1] is False, "the first image was only delivered at the end"


async def test_a_failed_task_raises_its_reason(api: Api, client: AsyncClient, tmp_path: Path) -> None:
    api.deployment.start_worker()
    task = await client.create("decline")
    with pytest.raises(TaskFailed, match="the engine refuses to generate this") as caught:
        await task.wait()
    assert caught.value.task_id == task.id
    assert (task.error, task.images) == ("the engine refuses to generate this", [])
    for attempt in (task.wait, lambda: task.save(tmp_path), lambda: anext(aiter(task.stream()))):
        with pytest.raises(TaskFailed):
            await attempt()


async def test_a_wait_has_a_timeout(client: AsyncClient) -> None:
    task = await client.create("a fox")  # no worker is running
    with pytest.raises(TimedOut, match=r"did not end within 1\.5 s") as caught:
        await task.wait(timeout=1.5)
    assert caught.value.task_id == task.id
    assert task.status == "submitted"


async def test_save_waits_for_the_images(api: Api, client: AsyncClient, tmp_path: Path) -> None:
    api.deployment.start_worker()
    assert len(await (await client.create("a fox", n=2, watermark=True)).save(tmp_path)) == 4


async def test_a_task_is_cancelled(api: Api, client: AsyncClient) -> None:
    task = await client.create("a fox")
    assert (await task.cancel()).error == "Canceled"
    assert (await task.cancel()).status == "failed"


async def test_tasks_are_listed_over_all_pages(api: Api, client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framehouse_client.watching.PAGE_SIZE", 2)
    image = image_file(600, 400)
    created = [(await client.create(f"fox {n}")).id for n in range(4)]
    created.append((await client.try_on(image, image, model="kling-v3-omni")).id)
    assert [task.id async for task in client.tasks()] == created[::-1]
    assert [task.id async for task in client.tasks(limit=3)] == created[:1:-1]
    assert [task.id async for task in client.tasks(kind="omni-image")] == created[3::-1]
    assert [task.kind async for task in client.tasks(limit=2)] == ["try-on", "omni-image"]
    assert [task.id async for task in client.tasks(limit=0)] == []
    seen = []
    async for task in client.tasks(limit=5):  # a task that is created meanwhile moves the others to later pages
        seen.append(task.id)
        if len(seen) == 2:
            await client.create("a hare")
    assert seen == created[::-1]


async def test_elements(api: Api, client: AsyncClient) -> None:
    api.deployment.start_element_worker()
    element = await client.elements.create(
        "Red bag", "A red leather bag", [image_file(600, 400), image_file(400, 400)], tags=["o_104"]
    )
    assert (element.name, element.description, element.tags) == ("Red bag", "A red leather bag", ("o_104",))
    assert len(element.image_urls) == 2
    assert await client.elements.get(element.id) == element
    assert [found async for found in client.elements.list()] == [element]
    presets = [found async for found in client.elements.presets()]
    assert (presets[0].id, presets[0].name, presets[0].owned_by) == (101, "Robot", "framehouse")
    await client.create("<<<element_1>>> and <<<element_2>>>", elements=[element, 101])
    await client.elements.delete(element)
    for attempt in (client.elements.get, client.elements.delete):
        with pytest.raises(NotFound):
            await attempt(element.id)
    with pytest.raises(InvalidRequest, match="element_name"):
        await client.elements.create("", "x", [image_file(600, 400)])
    with pytest.raises(ValueError, match="at least one image"):
        await client.elements.create("x", "x", [])


async def test_an_element_that_cannot_be_saved_raises_the_reason(api: Api, client: AsyncClient) -> None:
    api.deployment.start_element_worker(allow_private=False)
    with pytest.raises(TaskFailed, match="private"):
        await client.elements.create("Bag", "A bag", ["http://127.0.0.1:9/bag.png"])


async def test_an_upload_can_be_used_in_a_request(api: Api, client: AsyncClient, tmp_path: Path) -> None:
    api.deployment.start_worker()
    (tmp_path / "bag.png").write_bytes(image_file(600, 400))
    url = await client.upload(tmp_path / "bag.png")
    async with httpx.AsyncClient(follow_redirects=True) as http:
        assert (await http.get(url)).content == image_file(600, 400)
    task = await client.create("like <<<image_1>>>", images=[url])
    assert (await task.wait()).status == "succeed"
    with pytest.raises(InvalidRequest, match="the file is a text"):
        await client.upload(b"not an image")


async def test_the_account_and_the_origin_of_an_image(api: Api, client: AsyncClient) -> None:
    api.deployment.start_worker()
    task = await client.create("a fox")
    await task.wait()
    account = await client.account()
    assert (account.name, account.concurrency, account.units_used, account.units_limit) == ("alice", 100, 8, None)
    found = await client.verify(await task.images[0].bytes())
    assert found.task_id == task.id
    assert found.sentences
    assert (await client.verify(image_file(600, 400))).verdict == "unknown"


async def test_errors_have_a_class_a_code_and_a_request_id(api: Api, client: AsyncClient, kind: ClientKind) -> None:
    async with open_client(kind, api.url, "fh_wrong") as wrong:
        with pytest.raises(AuthenticationError) as caught:
            await wrong.create("a fox")
    assert (caught.value.code, caught.value.status) == (1002, 401)
    assert len(caught.value.request_id) == 32
    assert caught.value.request_id in str(caught.value)
    with pytest.raises(NotFound) as not_found:
        await client.create("a fox", model="none")
    assert not_found.value.code == 1203
    with pytest.raises(NotFound) as not_found:
        await client.get("no such task")
    assert (not_found.value.code, not_found.value.status) == (1201, 400)
    with pytest.raises(InvalidRequest, match="aspect_ratio must be one of"):
        await client.create("a fox", aspect_ratio="5:4")


async def test_a_full_account_is_retried_within_the_limit(api: Api, key: str, kind: ClientKind) -> None:
    await set_account(api, concurrency=1)
    async with open_client(kind, api.url, key, retry_s=0) as hasty:
        first = await hasty.create("a fox")
        with pytest.raises(RateLimited) as limited:
            await hasty.create("a hare")
        assert limited.value.code == 1303
        assert limited.value.retry_after_s
    async with open_client(kind, api.url, key) as client:
        waiting = asyncio.create_task(_create(client))
        done, _ = await asyncio.wait([waiting], timeout=0.5)
        assert not done
        await (await client.get(first.id)).cancel()
        assert (await waiting).status == "submitted"
        await set_account(api, disabled=True)
        with pytest.raises(QuotaExceeded):
            await client.create("a fox")


async def set_account(api: Api, *, concurrency: int | None = None, disabled: bool | None = None) -> None:
    await account_store.set_account(
        api.deployment.db, "alice", concurrency=concurrency, units_limit=None, no_limit=False, disabled=disabled
    )


async def _create(client: AsyncClient) -> AsyncTask:
    return await client.create("a hare")


async def test_jwt(api: Api, kind: ClientKind) -> None:
    account = await account_store.find_account(api.deployment.db, "alice")
    assert account is not None
    access_key, secret_key = await account_store.create_jwt_key(api.deployment.db, account.id)
    async with open_client(kind, api.url, None, access_key=access_key, secret_key=secret_key) as client:
        assert (await client.account()).name == "alice"


@pytest.mark.parametrize("name", ["Client", "Task", "Image", "Elements"])
def test_both_clients_have_the_same_methods(name: str) -> None:
    sync_class, async_class = getattr(sync_client, name), getattr(async_client, f"Async{name}")
    public = [n for n in vars(sync_class) if not n.startswith("_")]
    assert public == [n for n in vars(async_class) if not n.startswith("_")]
    for n in public:
        one, other = vars(sync_class)[n], vars(async_class)[n]
        if inspect.isfunction(one):
            assert list(inspect.signature(one).parameters) == list(inspect.signature(other).parameters)
            assert one.__doc__
            assert other.__doc__


def test_every_public_name_is_exported() -> None:
    assert sorted(framehouse_client.__all__) == framehouse_client.__all__
    for name in framehouse_client.__all__:
        assert getattr(framehouse_client, name).__doc__
