"""Responses of resellers that differ from Kling's documentation, and the errors that both clients raise."""

from typing import Any

import pytest

from framehouse_client import (
    AuthenticationError,
    ContentRefused,
    FramehouseError,
    InvalidRequest,
    NotFound,
    QuotaExceeded,
    RateLimited,
    ServerError,
    TaskFailed,
)
from framehouse_client.answers import parse_answer
from framehouse_client.connection import base_url
from framehouse_client.effects import Response
from framehouse_client.task_data import images_of, parse_task
from tests.support.kling_upstream import upstream
from tests.support.python_clients import ClientKind, open_client

URL = "https://cdn.example/a.png"


def string_codes(body: Any) -> Any:
    return body | {"code": "0"}


def words(body: Any) -> Any:
    states = {"succeed": "SUCCEEDED", "submitted": "NOT_START", "failed": "FAILURE"}
    state = states.get(body["data"]["task_status"], "IN_PROGRESS")
    return body | {"code": "success", "data": body["data"] | {"task_status": state}}


def nested_data(body: Any) -> Any:
    return {"code": 200, "data": {"code": 0, "data": [body["data"]]}}


def numbers_as_ids(body: Any) -> Any:
    return body | {"data": body["data"] | {"task_id": 842250903629086785}}


def other_names(body: Any) -> Any:
    data = dict(body["data"])
    renamed = {"id": data.pop("task_id"), "status": data.pop("task_status"), "progress": "40%"}
    return {"success": True, "data": data | renamed}


def no_envelope(body: Any) -> Any:
    return body["data"]


@pytest.mark.parametrize("change", [string_codes, words, nested_data, numbers_as_ids, other_names, no_envelope])
async def test_a_task_succeeds_whatever_the_form_of_the_responses(kind: ClientKind, change: Any) -> None:
    def rewrite(_method: str, _path: str, status: int, body: Any) -> tuple[int, Any]:
        return status, change(body) if body["code"] == 0 else body

    new_id = (lambda: "842250903629086785") if change is numbers_as_ids else None
    options = {"new_id": new_id} if new_id else {}
    async with (
        upstream(rewrite=rewrite, seconds=0.3, **options) as server,
        open_client(kind, server.url, "key") as client,
    ):
        task = await client.create("a fox", n=2)
        await task.wait()
        assert [image.index for image in task.images] == [0, 1]
        assert (await task.images[1].bytes()).startswith(b"\x89PNG")
        failed = await client.create("fail")
        with pytest.raises(TaskFailed, match="it did not work out"):
            await failed.wait()


async def test_kling_with_a_jwt_and_another_prefix(kind: ClientKind) -> None:
    secret = "secret of key".ljust(32)
    async with upstream() as server:
        url = f"{server.url}/kling/v1/"
        async with open_client(kind, url, None, access_key="key", secret_key=secret) as client:
            task = await client.create("a fox", series=2)
            await task.wait()
            assert [found.id async for found in client.tasks()] == [task.id]
            assert (await client.get(task.id)).status == "succeed"
            with pytest.raises(NotFound):
                await client.get("no such task")


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/kling"),
        (" http://127.0.0.1:8000/ ", "http://127.0.0.1:8000/kling"),
        ("https://example.com/kling/", "https://example.com/kling"),
        ("https://example.com/proxy/kling", "https://example.com/proxy/kling"),
        ("https://example.com/kling/v1", "https://example.com/kling"),
        ("https://example.com/v1", "https://example.com"),
        ("https://example.com/api", "https://example.com/api"),
        ("https://api-singapore.klingai.com", "https://api-singapore.klingai.com"),
        ("https://api.klingai.com/v1/", "https://api.klingai.com"),
        ("https://notklingai.com", "https://notklingai.com/kling"),
    ],
)
def test_base_urls(url: str, base: str) -> None:
    assert base_url(url) == base


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://a.b", "http://", "http://a:b", "http://a.b/?x=1"])
def test_invalid_urls(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        base_url(url)


NEW_API = '{"code":"fail_to_fetch_task","message":"{\\"code\\":1301,\\"message\\":\\"risk control\\"}","data":null}'


@pytest.mark.parametrize(
    ("status", "body", "error", "code", "message"),
    [
        (401, '{"code": 1002, "message": "wrong key", "request_id": "r1"}', AuthenticationError, 1002, "wrong key"),
        (200, '{"code": "1002", "message": "wrong key"}', AuthenticationError, 1002, "wrong key"),
        (401, '{"error": {"message": "Invalid token", "type": "new_api_error"}}', AuthenticationError, None, "Invalid"),
        (403, "<html>Forbidden</html>", AuthenticationError, None, "Forbidden"),
        (403, '{"code": 1103, "message": "no right"}', AuthenticationError, 1103, "no right"),
        (400, '{"code": 1201, "message": "n must be from 1 to 9"}', InvalidRequest, 1201, "n must be from 1 to 9"),
        (400, '{"code": 1201, "message": "Task not found by id/external id: x"}', NotFound, 1201, "Task not found"),
        (422, '{"detail": "prompt is required"}', InvalidRequest, None, "prompt is required"),
        (404, "<html>Not Found</html>", NotFound, None, "check the URL"),
        (404, '{"code": 1203, "message": "no model"}', NotFound, 1203, "no model"),
        (429, '{"code": 1303, "message": "limit"}', RateLimited, 1303, "limit"),
        (429, "Too Many Requests", RateLimited, None, "Too Many Requests"),
        (200, '{"code": 429, "msg": "slow down"}', RateLimited, None, "slow down"),
        (429, '{"code": 1102, "message": "balance not enough"}', QuotaExceeded, 1102, "balance"),
        (403, '{"error": {"code": "insufficient_user_quota", "message": "no quota"}}', QuotaExceeded, None, "no quota"),
        (400, '{"code": 1301, "message": "refused"}', ContentRefused, 1301, "refused"),
        (500, NEW_API, ContentRefused, 1301, "risk control"),
        (400, '{"error": {"code": "content_policy_violation", "message": "no"}}', ContentRefused, None, "no"),
        (500, '{"code": 5000, "message": "internal error"}', ServerError, 5000, "internal error"),
        (502, "<html>Bad Gateway</html>", ServerError, None, "Bad Gateway"),
        (200, "<html>Welcome</html>", ServerError, None, "does not implement the Kling API at this URL"),
        (200, '{"error": "something is wrong"}', ServerError, None, "something is wrong"),
        (200, "[]", ServerError, None, "does not implement"),
        (200, "", ServerError, None, "does not implement"),
    ],
)
def test_errors(status: int, body: str, error: type[FramehouseError], code: int | None, message: str) -> None:
    answer = parse_answer(Response(status, {"x-request-id": "from header"}, body.encode()))
    assert not answer.success
    found = answer.error()
    assert type(found) is error
    assert found.code == code
    assert message in found.message
    assert found.request_id == ("r1" if "r1" in body else "from header")
    assert "<" not in found.message


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), ("1.5", 1.5), ("Fri, 01 Jan 2021 00:00:00 GMT", 0.0), ("soon", None), ("", None)]
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert parse_answer(Response(429, {"retry-after": value}, b"{}")).retry_after_s == seconds


@pytest.mark.parametrize(
    ("result", "urls"),
    [
        ({"images": [{"index": 1, "url": "b"}, {"index": 0, "url": "a"}], "series_images": []}, ["a", "b"]),
        ({"images": [], "series_images": [{"index": 0, "url": "a"}]}, ["a"]),
        ({"images": ["a", "b"]}, ["a", "b"]),
        ({"image": "a"}, ["a"]),
        ({"image": {"url": "a"}}, ["a"]),
        ({"image_urls": ["a", "a", "b"]}, ["a", "b"]),
        ({"images": [{"index": 0, "url": "a"}, {"index": 0, "url": "b"}]}, ["a", "b"]),
        ('{"images": [{"url": {"url": "a"}}]}', ["a"]),
        ([{"resource": "a"}], ["a"]),
        ({"images": [{"b64_json": "AAAA"}]}, ["data:;base64,AAAA"]),
        ({"data": {"images": [{"image_url": "a"}]}}, ["a"]),
        ({}, []),
        (None, []),
        (7, []),
    ],
)
def test_images_of_results(result: object, urls: list[str]) -> None:
    found = images_of(result)
    assert [image.url for image in found] == urls
    assert [image.index for image in found] == list(range(len(urls)))


@pytest.mark.parametrize("status", ["SUCCEED", "succeeded", "Success", "completed"])
@pytest.mark.parametrize("place", ["task_result", "result", "output"])
def test_words_for_success(status: str, place: str) -> None:
    task = parse_task({"task_id": 7, "task_status": status, place: {"images": [URL]}})
    assert task
    assert (task.id, task.status, task.progress, task.images[0].url) == ("7", "succeed", 1.0, URL)


def test_unusual_tasks() -> None:
    assert parse_task({"status": "success", "message": "ok"}) is None
    assert parse_task({"task_status": "succeed"}) is None
    with pytest.raises(ServerError, match="unknown status"):
        parse_task({"task_id": "a", "task_status": "resting"})
    task = parse_task(
        {"task_id": "a", "task_status": "failed", "fail_reason": "no luck", "final_unit_deduction": "0.5"}
    )
    assert task
    assert (task.message, str(task.units), task.ended) == ("no luck", "0.5", True)
    odd = {"task_id": "a", "status": "running", "progress": "40%", "created_at": 10**20, "final_unit_deduction": "NaN"}
    task = parse_task(odd)
    assert task
    assert (task.progress, task.created_at, str(task.units)) == (0.4, None, "0")
