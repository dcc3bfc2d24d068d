"""Images that are uploaded before they are used as references."""

import asyncio
import re
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import httpx
import pytest

from framehouse.domain.upload import upload_id
from framehouse.entrypoints.sweeper import sweep
from framehouse.pipeline import uploads
from framehouse.pipeline.expire import remove_references
from tests.support.api_answers import error
from tests.support.api_server import PATH, Api, element_body, serving
from tests.support.database import execute
from tests.support.image_files import image_file
from tests.support.in_process_deployment import MakeDeployment
from tests.support.raw_connections import connected


async def new_upload(api: Api, client: httpx.AsyncClient | None = None) -> dict[str, Any]:
    answer = await (client or api.alice).post("/v1/uploads", json={"file_name": "a.png", "content_type": "image/png"})
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


async def uploaded(api: Api, content: bytes = b"") -> str:
    """Upload an image, and return its download URL."""
    urls = await new_upload(api)
    answer = await api.anonymous.put(urls["upload_url"], content=content or image_file(600, 400))
    assert answer.status_code == 200, answer.text
    return str(urls["download_url"])


async def test_the_flow_of_the_api_nodes_of_comfyui(api: Api) -> None:
    headers = {"X-API-KEY": api.alice.headers["Authorization"].removeprefix("Bearer ")}
    body = {"file_name": "image.png", "content_type": "image/png"}
    created = await api.anonymous.post("/customers/storage", json=body, headers=headers)
    urls = created.json()
    assert (created.status_code, set(urls)) == (200, {"upload_url", "download_url"})
    put = await api.anonymous.put(
        urls["upload_url"], content=image_file(600, 400), headers={"Content-Type": "image/png"}
    )
    assert put.status_code == 200
    request = {
        "model_name": "kling-v3-omni",
        "prompt": "like <<<image_1>>>",
        "image_list": [{"image": urls["download_url"]}],
    }
    task = await api.anonymous.post("/proxy/kling/v1/images/omni-image", json=request, headers=headers)
    assert task.json()["code"] == 0, task.text
    api.deployment.start_worker()
    done = await api.wait_for_task(task.json()["data"]["task_id"])
    assert done["task_status"] == "succeed"
    fetched = await api.anonymous.get(urls["download_url"], follow_redirects=True)
    assert fetched.content == image_file(600, 400)


@pytest.mark.parametrize("path", ["/v1/uploads", "/kling/v1/uploads", "/kling/customers/storage", "/customers/storage"])
async def test_a_key_is_needed_to_create_an_upload(api: Api, path: str) -> None:
    error(await api.anonymous.post(path, json={}), 401, 1001)
    assert (await api.alice.post(path, json={})).status_code == 200
    error(await api.alice.post(path, json=[]), 400, 1201)
    assert "file_name has 1001" in error(await api.alice.post(path, json={"file_name": "x" * 1001}), 400, 1201)


async def test_an_upload_is_used_by_elements_and_survives_a_changed_host(api: Api) -> None:
    url = (await uploaded(api)).replace(api.url, "https://proxy.example/images-of/framehouse")
    api.deployment.start_element_worker()
    body = element_body(element_image_list={"frontal_image": url})
    task = (await api.alice.post("/kling/v1/general/advanced-custom-elements", json=body)).json()["data"]
    assert (await api.wait_for_element(task["task_id"]))["task_status"] == "succeed"


async def test_a_second_upload_to_the_same_url_replaces_the_file(api: Api) -> None:
    urls = await new_upload(api)
    for content in (image_file(600, 400), image_file(600, 400), image_file(700, 400)):
        assert (await api.anonymous.put(urls["upload_url"], content=content)).status_code == 200
        fetched = await api.anonymous.get(urls["download_url"], follow_redirects=True)
        assert fetched.content == content


async def test_a_disabled_account_cannot_upload(api: Api) -> None:
    urls = await new_upload(api)
    await execute(api.deployment.db.url, "update accounts set disabled = true where name = 'alice'")
    error(await api.anonymous.put(urls["upload_url"], content=image_file(600, 400)), 429, 1302)


async def test_stalled_uploads_of_small_files_do_not_delay_other_accounts(api: Api) -> None:
    async with AsyncExitStack() as stack:
        for client in (api.alice, api.bob):
            for _ in range(4):
                url = httpx.URL((await new_upload(api, client))["upload_url"])
                _, writer = await stack.enter_async_context(connected(api))
                head = f"PUT {url.raw_path.decode()} HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n"
                writer.write(head.encode() + b"x")
        await asyncio.sleep(0.2)
        async with asyncio.timeout(25):  # a stalled upload ends after 30 s
            await uploaded(api)


async def test_comfyui_uploads_although_all_paths_have_a_prefix(make_deployment: MakeDeployment) -> None:
    async with serving(await make_deployment(), path_prefixes=["/proxy/kling"]) as api:
        urls = (await api.alice.post("/customers/storage", json={"file_name": "a.png"})).json()
        assert (await api.anonymous.put(urls["upload_url"], content=image_file(600, 400))).status_code == 200
        assert (await api.anonymous.head(urls["download_url"])).status_code == 307
        error(await api.alice.post("/v1/uploads", json={}), 404, 1202)


async def test_an_account_has_at_most_a_maximum_of_uploads(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_UPLOADS", 2)
    await uploaded(api)
    second, third = await new_upload(api), await new_upload(api)
    assert (await api.anonymous.put(second["upload_url"], content=image_file(600, 400))).status_code == 200
    refused = await api.anonymous.put(third["upload_url"], content=image_file(600, 400))
    assert error(refused, 429, 1302) == "the account is disabled or has 2 uploads; an upload is deleted after 24 hours"
    assert refused.headers["Retry-After"] == "3600"
    repeated = await api.anonymous.put(second["upload_url"], content=image_file(600, 400))
    assert repeated.status_code == 200, "an upload that already exists can be repeated"
    others = await new_upload(api, api.bob)
    assert (await api.anonymous.put(others["upload_url"], content=image_file(600, 400))).status_code == 200


async def test_files_are_checked_as_references_are(api: Api) -> None:
    url = (await new_upload(api))["upload_url"]
    for content, problem in (
        (b"", "the file"),
        (b"GIF89a" + bytes(100), "the file"),
        (image_file(200, 600), "the file is 200x600 px; both sides must be at least 300 px"),
        (image_file(600, 400)[:40], "the file"),
    ):
        assert problem in error(await api.anonymous.put(url, content=content), 400, 1201)
    too_large = image_file(600, 400) + bytes(10_000_001)
    assert "too large" in error(await api.anonymous.put(url, content=too_large), 413, 1200)
    assert (await api.anonymous.put(url, content=image_file(600, 400))).status_code == 200, "the URL is still usable"


async def test_signatures_and_expiry_are_checked(api: Api) -> None:
    urls = await new_upload(api)
    put, get = urls["upload_url"], urls["download_url"]
    error(await api.anonymous.get(get), 404, 1203)
    await api.anonymous.put(put, content=image_file(600, 400))
    assert (await api.anonymous.get(get)).status_code == 307
    for url in (
        re.sub("signature=.", "signature=x", put),
        re.sub("expires=[0-9]+", "expires=1", put),
        put.split("?")[0],
        get,
        f"{api.url}/uploads/put/x/y?expires=1&signature=1",
    ):
        error(await api.anonymous.put(url, content=image_file(600, 400)), 404, 1203)
    for url in (re.sub("signature=.", "signature=x", get), put, f"{api.url}/uploads/"):
        error(await api.anonymous.get(url), 404, 1203)
    refused = await api.anonymous.post(put, content=b"")
    error(refused, 405, 1202)
    assert refused.headers["Allow"] == "GET, HEAD, PUT"


async def test_uploads_that_are_missing_or_belong_to_another_account_are_refused(api: Api) -> None:
    url, unfilled = await uploaded(api), (await new_upload(api))["download_url"]
    body = {"model_name": "kling-v3-omni", "prompt": "a fox"}
    for client, reference in ((api.bob, url), (api.alice, unfilled)):
        answer = await client.post(PATH, json=body | {"image_list": [{"image": reference}]})
        assert error(answer, 400, 1201) == "image_list[0].image refers to an upload that does not exist or has expired"
    assert (await api.alice.post(PATH, json=body | {"image": url})).json()["code"] == 0


async def test_unused_uploads_are_deleted_after_a_day(api: Api) -> None:
    deployment = api.deployment
    used, unused = await uploaded(api), await uploaded(api, image_file(700, 400))
    await api.create(image_list=[used])
    await remove_references(deployment.db, deployment.storage, grace=timedelta(0))
    for url in (used, unused):
        assert (await api.anonymous.get(url, follow_redirects=True)).status_code == 200, "needed for a day"
    await execute(deployment.db.url, "update uploads set created_at = now() - interval '25 hours'")
    await sweep(deployment.db, deployment.storage, history=timedelta(days=1))
    await remove_references(deployment.db, deployment.storage, grace=timedelta(0))
    stored = await deployment.db.rows("select key from stored_references")
    needed = await deployment.db.rows("select key from task_references")
    assert [row["key"] for row in stored] == [row["key"] for row in needed]
    for url in (used, unused):
        error(await api.anonymous.get(url), 404, 1203)


def test_only_the_form_of_a_download_url_is_an_upload() -> None:
    id = "0190a8f0-1111-4222-8333-444455556666"
    query = f"expires=1795392000&signature={'a' * 40}"
    assert str(upload_id(f"http://a/uploads/1/{id}?{query}")) == id
    assert str(upload_id(f"https://a:8/b/c/uploads/1/{id}?{query}")) == id
    for url in (
        f"http://a/uploads/1/{id}",
        f"http://a/uploads/put/1/{id}?{query}",
        f"http://a/uploads/1/{id}?{query}&x=1",
        f"http://a/uploads/x/{id}?{query}",
        f"http://a/uploads/1/{id[:-1]}?{query}",
        f"ftp://a/uploads/1/{id}?{query}",
        "x" * 100_000,
    ):
        assert upload_id(url) is None
