"""Serving images: headers, ranges, signed URLs and expiry."""

import io
from base64 import b64decode
from datetime import timedelta

import pytest
from PIL import Image

from framehouse.pipeline.expire import expire_images
from tests.support.api_server import PATH, Api


@pytest.fixture
async def url(api: Api) -> str:
    api.deployment.start_worker()
    task = await api.create()
    return str((await api.wait_for_task(task["task_id"]))["task_result"]["images"][0]["url"])


async def test_headers_of_an_image(api: Api, url: str) -> None:
    answer = await api.anonymous.get(url)
    assert answer.headers["cache-control"].startswith("private, max-age=")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["accept-ranges"] == "bytes"
    head = await api.anonymous.head(url)
    assert head.headers["content-length"] == str(len(answer.content))
    assert head.content == b""
    unchanged = await api.anonymous.get(url, headers={"If-None-Match": answer.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


@pytest.mark.parametrize(
    ("range", "status", "part"),
    [
        ("bytes=0-7", 206, slice(0, 8)),
        ("bytes=5-", 206, slice(5, None)),
        ("bytes=-6", 206, slice(-6, None)),
        ("bytes=3-99999999", 206, slice(3, None)),
        ("bytes=9-3", 200, slice(None)),
        ("bytes=0-1,4-5", 200, slice(None)),
        ("bytes=-", 200, slice(None)),
        ("lines=0-1", 200, slice(None)),
        ("bytes=99999999-", 416, None),
        ("bytes=-0", 416, None),
    ],
)
async def test_range_requests(api: Api, url: str, range: str, status: int, part: slice | None) -> None:
    whole = (await api.anonymous.get(url)).content
    answer = await api.anonymous.get(url, headers={"Range": range})
    assert answer.status_code == status
    assert answer.content == (whole[part] if part else b"")
    if status == 206:
        assert answer.headers["content-range"].endswith(f"/{len(whole)}")
    changed = await api.anonymous.get(url, headers={"Range": "bytes=0-1", "If-Range": '"other"'})
    assert changed.content == whole


async def test_previews_are_sent_on_request_and_expire_with_their_images(api: Api) -> None:
    api.deployment.start_worker()
    task = await api.create(n=2, watermark_info={"enabled": True})
    await api.wait_for_task(task["task_id"])
    path = f"{PATH}/{task['task_id']}"
    plain = (await api.alice.get(path)).json()["data"]
    data = (await api.alice.get(f"{path}?include=previews")).json()["data"]
    (listed,) = (await api.alice.get(f"{PATH}?include=request,previews")).json()["data"]
    images = data["task_result"]["images"]
    assert [image["preview_url"] for image in listed["task_result"]["images"]] == [i["preview_url"] for i in images]
    for image, without in zip(images, plain["task_result"]["images"], strict=True):
        assert image == without | {name: image[name] for name in ("preview_url", "thumb_hash")}
        assert 5 < len(b64decode(image["thumb_hash"])) <= 25
        served = await api.anonymous.get(image["preview_url"])
        assert (served.status_code, served.headers["content-type"]) == (200, "image/webp")
        with Image.open(io.BytesIO(served.content)) as preview:
            assert max(preview.size) == 512
    await api.deployment.db.row("update tasks set expires_at = now() - interval '1 second'")
    assert await expire_images(api.deployment.db, api.deployment.storage) == 1
    assert (await api.anonymous.get(images[0]["preview_url"])).status_code == 404


async def test_an_image_without_a_preview_has_no_preview_fields(api: Api) -> None:
    """Images that an older version generated have no preview."""
    api.deployment.start_worker()
    task = await api.create()
    await api.wait_for_task(task["task_id"])
    await api.deployment.db.row("update shots set thumb_hash = null")
    data = (await api.alice.get(f"{PATH}/{task['task_id']}?include=previews")).json()["data"]
    assert set(data["task_result"]["images"][0]) == {"index", "url"}


async def test_modified_urls_are_refused(api: Api, url: str) -> None:
    base, _, query = url.partition("?")
    fields = dict(pair.split("=") for pair in query.split("&"))
    later = str(int(fields["expires"]) + 1)
    for bad in (
        base,
        url[:-1] + ("0" if url[-1] != "0" else "1"),
        f"{base}?expires={later}&signature={fields['signature']}",
        f"{base}?expires=²&signature={fields['signature']}",
        f"{base}?expires={fields['expires']}&signature=ä",
        url.replace("/images/", "/images/../files/"),
    ):
        answer = await api.anonymous.get(bad)
        assert (answer.status_code, answer.json()["code"]) in ((404, 1203), (404, 1202)), bad


async def test_expired_images_are_deleted(api: Api, url: str) -> None:
    db = api.deployment.db
    assert await expire_images(db, api.deployment.storage) == 0
    await db.row("update tasks set expires_at = now() - $1::interval", timedelta(seconds=1))
    assert await expire_images(db, api.deployment.storage) == 1
    assert await expire_images(db, api.deployment.storage) == 0
    answer = await api.anonymous.get(url)
    assert (answer.status_code, answer.json()["code"]) == (404, 1203)
    assert await api.deployment.storage.size(url.split("?")[0].split("/", 3)[3]) is None
