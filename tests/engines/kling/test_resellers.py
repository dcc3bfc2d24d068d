"""The engine `kling` with resellers of Kling whose responses differ from Kling's documentation."""

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from framehouse.domain.errors import Broken, Declined, Unavailable, Unknown
from framehouse.domain.outcome import MAY_BE_PAID
from framehouse.engines.interface import Batch, GeneratedImage, Progress
from framehouse.engines.kling import Kling
from framehouse.engines.kling.upstream_answers import (
    Response,
    TaskNotFound,
    UpstreamTask,
    parse_list_answer,
    parse_task_answer,
)
from framehouse.testing.engine_contract import generate, images
from tests.support.eventually import eventually
from tests.support.in_process_deployment import MakeDeployment
from tests.support.kling_orders import KlingRecord, generate_and_close, kling, task
from tests.support.kling_upstream import PATH, Upstream, upstream
from tests.support.tasks import assert_nothing_left, wait_for_task

HTML = "<html><body>404 Not Found</body></html>"
TWO: tuple[dict[str, object], ...] = ({"api_key": "one", "name": "a"}, {"api_key": "two", "name": "b"})


@pytest.fixture
async def served() -> AsyncIterator[Upstream]:
    async with upstream(accounts={"key": 100, "one": 100, "two": 100}) as running:
        yield running


async def collect(engine: Kling, whole: Batch) -> tuple[list[int], Exception | None]:
    """Return the indexes of the generated images in order, and the error that ended the call."""
    generated: list[GeneratedImage | Progress] = []
    error: Exception | None = None
    try:
        async for event in engine.generate(whole):
            generated.append(event)  # noqa: PERF401 - a comprehension would lose the events before an error
    except Exception as raised:  # noqa: BLE001 - the test checks the error
        error = raised
    await engine.close()
    return [event.index for event in images(generated)], error


def change_tasks(change: Callable[[dict[str, Any]], Any]) -> Callable[[str, str, int, Any], tuple[int, Any]]:
    """Return a function for `Upstream.rewrite` that changes the task in each response to a GET request."""

    def rewrite(method: str, path: str, status: int, body: Any) -> tuple[int, Any]:
        if method == "GET" and path != PATH and isinstance(body.get("data"), dict):
            body = body | {"data": change(body["data"])}
        return status, body

    return rewrite


def change_results(change: Callable[[list[dict[str, Any]]], Any]) -> Callable[[str, str, int, Any], tuple[int, Any]]:
    """Return a function for `Upstream.rewrite` that replaces the `task_result` of tasks that succeeded.

    `change` receives the list of images, sorted by their index.
    """

    def change_task(data: dict[str, Any]) -> dict[str, Any]:
        if "task_result" not in data:
            return data
        listed = data["task_result"].get("images") or data["task_result"].get("series_images")
        return data | {"task_result": change(sorted(listed, key=lambda image: image["index"]))}

    return change_tasks(change_task)


# Cancellation


async def test_an_order_that_succeeded_is_not_cancelled_upstream(served: Upstream) -> None:
    open_order, engine = KlingRecord(), kling(served)
    events = engine.generate(task(shots=2, open_order=open_order))
    async for event in events:
        if isinstance(event, GeneratedImage):
            open_order.wanted = False  # the task has ended, for example because the last image was saved
            break
    await events.aclose()  # type: ignore[attr-defined]
    await engine.close()
    assert served.cancelled == []


async def test_an_order_that_succeeded_since_the_last_poll_is_not_cancelled_upstream(served: Upstream) -> None:
    served.seconds = 60
    open_order, engine = KlingRecord(), kling(served)
    generating = asyncio.create_task(generate(engine, task(open_order=open_order)))

    async def order_accepted() -> bool:
        return bool(open_order.orders and open_order.orders[0]["task_id"])

    await eventually(order_accepted)
    open_order.wanted = False
    for accepted in served.tasks.values():
        accepted.ends_at = 0
    generating.cancel()
    await asyncio.gather(generating, return_exceptions=True)
    await engine.close()
    assert served.cancelled == []


# Lost responses

UNKNOWN_IDS: dict[str, tuple[int, Any]] = {
    "HTML": (404, HTML),
    "empty": (404, ""),
    "gone": (410, HTML),
    "200 with a code": (200, {"code": 1203, "message": "task does not exist"}),
    "200 with a string code": (200, {"code": "1203", "message": "task does not exist"}),
    "another string code": (400, {"code": "task_not_exist", "message": "task_not_exist", "data": None}),
    "404 with an error object": (404, {"error": {"message": "Invalid URL", "type": "invalid_request_error"}}),
    "null": (200, {"code": 0, "message": "SUCCEED", "data": None}),
    "an empty object": (200, {"code": 0, "message": "SUCCEED", "data": {}}),
    "a word": (422, {"code": "invalid_task_id", "message": "check the id"}),
    "an empty list": (200, {"code": 0, "message": "SUCCEED", "data": []}),
    "an internal error": (500, {"code": 5000, "message": "invalid character in the id"}),
    "all tasks": (
        200,
        {
            "code": 0,
            "data": [
                {"task_id": id, "task_info": {"external_task_id": id}, "task_status": "failed"} for id in ("x", "y")
            ],
        },
    ),
    "a message": (500, {"code": 500, "message": "record not found"}),
    "the task of another order": (
        200,
        {"code": 0, "data": {"task_id": "x", "task_info": {"external_task_id": "y"}, "task_status": "submitted"}},
    ),
}


@pytest.mark.parametrize("unknown", UNKNOWN_IDS)
async def test_a_lost_order_whose_external_id_is_unknown_is_found_in_the_list(served: Upstream, unknown: str) -> None:
    def rewrite(method: str, path: str, status: int, body: Any) -> tuple[int, Any]:
        return UNKNOWN_IDS[unknown] if method == "GET" and "/fh-" in path else (status, body)

    served.rewrite = rewrite
    served.fault = lambda method, _: "cut" if method == "POST" else ""
    open_order = KlingRecord()
    assert len(images(await generate_and_close(kling(served), task(open_order=open_order)))) == 1
    assert len(served.posts) == 1
    assert not open_order.given_up


LISTS: dict[str, Callable[[list[Any]], Any]] = {
    "in an object": lambda tasks: {"list": tasks, "total": len(tasks)},
    "items": lambda tasks: {"total": len(tasks), "items": tasks},
    "ids with a prefix": lambda tasks: [
        {**data, "task_info": {"external_task_id": "user7-" + data["task_info"]["external_task_id"]}} for data in tasks
    ],
    "flat ids": lambda tasks: [
        {**data, "task_info": {}, "external_task_id": data["task_info"]["external_task_id"]} for data in tasks
    ],
}


@pytest.mark.parametrize("form", LISTS)
async def test_lists_of_other_forms_are_searched(served: Upstream, form: str) -> None:
    def rewrite(method: str, path: str, status: int, body: Any) -> tuple[int, Any]:
        if method == "GET" and path == PATH:
            body = body | {"code": "0", "data": LISTS[form](body["data"])}
        return status, body

    served.rewrite, served.finds_external = rewrite, False
    served.fault = lambda method, _: "cut" if method == "POST" else ""
    assert len(images(await generate_and_close(kling(served), task(open_order=KlingRecord())))) == 1
    assert len(served.posts) == 1


@pytest.mark.parametrize(
    "listed", [(404, HTML), (200, {"code": 0, "data": [{"task_id": "x", "task_status": "failed"}]})]
)
async def test_an_order_is_not_given_up_if_no_response_states_that_it_is_unknown(
    served: Upstream, listed: tuple[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 404 page can come from a proxy, and a list without external ids proves nothing."""
    monkeypatch.setattr("framehouse.engines.kling.order_steps._MAX_OUTAGE_S", 0.3)
    answers = {True: listed, False: (404, HTML)}
    served.rewrite = lambda method, path, status, body: answers[path == PATH] if method == "GET" else (status, body)
    served.fault = lambda method, _: "cut" if method == "POST" else ""
    open_order, engine = KlingRecord(), kling(served)
    with pytest.raises(Unknown):
        await generate(engine, task(open_order=open_order))
    served.rewrite = lambda _method, _path, status, body: (status, body)
    assert len(images(await generate_and_close(engine, task(open_order=KlingRecord(open_order.data))))) == 1
    assert len(served.posts) == 1


async def test_a_task_id_that_cannot_be_queried_is_found_by_the_external_id_in_the_list(served: Upstream) -> None:
    def rewrite(method: str, path: str, status: int, body: Any) -> tuple[int, Any]:
        return (404, HTML) if method == "GET" and path != PATH else (status, body)

    served.rewrite = rewrite
    assert len(images(await generate_and_close(kling(served), task(open_order=KlingRecord())))) == 1
    assert len(served.posts) == 1


async def test_a_lost_order_is_found_on_a_later_page_of_the_list(served: Upstream) -> None:
    served.finds_external = False
    served.page_size = 3

    def add_tasks(_body: dict[str, Any]) -> None:
        for number in range(7):
            served.add_task("key", f"other-{number}")

    served.fault = lambda method, _: "cut" if method == "POST" else ""
    served.after_post = add_tasks
    assert len(images(await generate_and_close(kling(served), task(open_order=KlingRecord())))) == 1
    assert len(served.posts) == 1


async def test_a_lost_order_is_sent_again_only_through_the_account_that_may_have_it(served: Upstream) -> None:
    """Each account of an upstream has its own external ids, so another account would accept the order again."""
    answers = iter(["before cut", "before 429 1303", "before 401 1002", "before cut", "late"])
    served.fault = lambda method, _: next(answers, "") if method == "POST" else ""
    served.delay_s = 0.3
    open_order, engine = KlingRecord(), kling(served, *TWO, resubmit=True)
    _, error = await collect(engine, task(open_order=open_order))
    assert isinstance(error, Unavailable)
    (order,) = open_order.orders
    engine = kling(served, *TWO, resubmit=True, lost_after_s=0.4)
    generated = images(await generate_and_close(engine, task(open_order=KlingRecord(open_order.data))))
    assert len(generated) == 1
    (accepted,) = served.tasks.values()
    assert accepted.account == {"a": "one", "b": "two"}[order["account"]]


@pytest.mark.parametrize(
    ("answer", "ok"),
    [
        ((404, HTML), False),
        ((404, {"error": {"message": "Invalid URL", "type": "invalid_request_error"}}), True),
        ((200, {"code": 0, "data": None}), True),
        ((200, {"code": "0", "data": {"total": 0}}), True),
        ((200, {"code": "1002", "message": "bad key"}), False),
        ((503, {"code": 5001, "message": "down"}), False),
    ],
)
async def test_an_account_whose_tasks_cannot_be_listed_is_healthy(
    served: Upstream, answer: tuple[int, Any], ok: bool
) -> None:
    served.rewrite = lambda _method, _path, _status, _body: answer
    engine = kling(served)
    (check,) = await engine.check()
    await engine.close()
    assert check.ok is ok


async def test_a_response_that_is_no_task_does_not_end_a_task(served: Upstream) -> None:
    answers: list[Any] = [
        {"status": "error", "message": "try again"},
        {"status": "failed", "id": "request-1"},
        {"code": "success", "data": {"status": "error"}},
        {"status": "success", "data": None},
        {"code": 0, "data": {"task_status": ""}},
    ]

    def rewrite(method: str, path: str, status: int, body: Any) -> tuple[int, Any]:
        return (200, answers.pop()) if answers and method == "GET" and path != PATH else (status, body)

    served.rewrite = rewrite
    assert len(images(await generate_and_close(kling(served), task(open_order=KlingRecord())))) == 1
    assert not answers
    assert len(served.posts) == 1


# Refused orders

NEXT_ACCOUNT: dict[str, tuple[int, Any]] = {
    "model_not_found": (
        503,
        {"error": {"code": "model_not_found", "message": "No channel for m", "type": "api_error"}},
    ),
    "flat model_not_found": (503, {"code": "model_not_found", "message": "No channel for m"}),
    "404 model_not_found": (404, {"error": {"code": "model_not_found", "message": "No channel for m"}}),
    "Kling's 1203": (404, {"code": 1203, "message": "No channel for m"}),
    "internal_error": (500, {"error": {"code": "internal_error", "message": "No channel for m"}}),
    "flat internal_error": (500, {"code": "internal_error", "msg": "No channel for m"}),
    "the error is a word": (500, {"error": "internal_error", "message": "No channel for m"}),
    "only a type": (503, {"error": {"message": "No channel for m", "type": "new_api_error", "code": ""}}),
    "code 500": (200, {"code": 500, "msg": "No channel for m"}),
    "fail_to_fetch_task": (200, {"code": "fail_to_fetch_task", "message": "No channel for m", "data": None}),
    "fail": (200, {"code": "fail_x", "detail": "No channel for m"}),
    "an error without a code": (500, {"error": {"message": "No channel for m"}}),
    "no success": (200, {"success": False, "message": "No channel for m"}),
    "code -1": (200, {"code": -1, "message": "No channel for m"}),
    "no quota": (403, {"error": {"code": "insufficient_user_quota", "message": "No channel for m"}}),
    "payment": (402, {"message": "No channel for m"}),
    "429 without quota": (429, {"error": {"code": "insufficient_quota", "message": "No channel for m"}}),
    "1102 as a string": (200, {"code": "1102", "message": "No channel for m"}),
    "1304": (429, {"code": 1304, "message": "No channel for m: IP not allowed"}),
    "a wrong path": (404, "<html>No channel for m</html>"),
    "a redirect": (308, "<html>No channel for m</html>"),
    "invalid key": (400, {"code": "invalid_api_key", "message": "No channel for m"}),
    "nested": (200, {"code": "fail_to_fetch_task", "message": '{"code": 1102, "message": "No channel for m"}'}),
}


@pytest.mark.parametrize("refusal", NEXT_ACCOUNT)
async def test_the_next_account_receives_an_order_that_an_account_refused(
    served: Upstream, refusal: str, caplog: pytest.LogCaptureFixture
) -> None:
    served.refuse = lambda account: NEXT_ACCOUNT[refusal] if account == "one" else None
    open_order = KlingRecord()
    engine = kling(served, *TWO, lost_after_s=60)
    with caplog.at_level(logging.WARNING):
        async with asyncio.timeout(10):
            assert len(images(await generate_and_close(engine, task(open_order=open_order)))) == 1
    assert [accepted.account for accepted in served.tasks.values()] == ["two"]
    assert len(served.posts) == 2
    assert [order["account"] for order in open_order.orders] == ["b"]
    assert "No channel for m" in caplog.text


@pytest.mark.parametrize("refusal", NEXT_ACCOUNT)
async def test_the_route_is_unavailable_if_the_only_account_refuses_the_order(served: Upstream, refusal: str) -> None:
    served.refuse = lambda _account: NEXT_ACCOUNT[refusal]
    open_order = KlingRecord()
    async with asyncio.timeout(10):
        _, error = await collect(kling(served, lost_after_s=60), task(open_order=open_order))
    assert isinstance(error, Unavailable)
    assert "No channel for m" in str(error)
    assert not open_order.data
    assert not open_order.given_up


async def test_a_key_that_the_upstream_quotes_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    key = "secret-key-of-the-account"
    async with upstream(accounts={key: 9}) as served:
        served.refuse = lambda account: (401, {"error": {"message": f"wrong key: {account}", "code": "invalid_key"}})
        engine = kling(served, {"api_key": key})
        _, error = await collect(engine, task(open_order=KlingRecord()))
    assert "wrong key" in str(error)
    assert "wrong key" in caplog.text
    assert key not in str(error) + caplog.text


ACCEPTED_BUT_REFUSED = [
    *(refusal for refusal in NEXT_ACCOUNT if NEXT_ACCOUNT[refusal][0] in (200, 500)),
    "with the id",
    "timeout",
    "already exists",
    "duplicate",
]


@pytest.mark.parametrize("refusal", [r for r in ACCEPTED_BUT_REFUSED if r not in ("1102 as a string", "nested")])
@pytest.mark.parametrize("by_external", [True, False])
async def test_an_accepted_order_whose_response_is_an_error_is_not_placed_again(
    served: Upstream, refusal: str, by_external: bool
) -> None:
    answers: dict[str, tuple[int, Any]] = NEXT_ACCOUNT | {
        "with the id": (200, {"code": "fail_x", "message": "m", "data": {"task_id": "up-0"}}),
        "timeout": (503, {"code": "internal_error", "message": "upstream request timed out"}),
        "already exists": (200, {"code": "fail_x", "message": "already exists: external_task_id"}),
        "duplicate": (409, {"code": "duplicate_task", "message": "duplicate external_task_id"}),
    }
    served.rewrite = lambda method, _, status, body: answers[refusal] if method == "POST" else (status, body)
    served.finds_external = by_external
    assert len(images(await generate_and_close(kling(served, *TWO), task(open_order=KlingRecord())))) == 1
    assert len(served.posts) == 1


LOST: dict[str, tuple[int, Any]] = {
    "timeout": (500, {"code": "do_request_failed", "message": "context deadline exceeded"}),
    "bad gateway": (502, {"error": {"code": "internal_error", "message": "bad gateway"}}),
    "gateway timeout": (504, {"error": {"code": "upstream_error", "message": "x"}}),
    "Kling's own 5000": (500, {"code": 5000, "message": "server error"}),
    "no code": (500, {"message": "Internal Server Error"}),
    "a timeout in Chinese": (200, {"code": "fail", "message": "请求超时"}),
    "unreadable answer": (500, {"code": "unmarshal_response_failed", "message": '{"code":0,"data":{"task_id":"5"}}'}),
    "nested 5000": (400, {"code": "task_failed", "message": '{"code": 5000, "message": "server error"}'}),
    "a timeout behind HTTP 400": (400, {"code": "task_failed", "message": "request timed out"}),
    "see other": (303, "<html></html>"),
}


@pytest.mark.parametrize("answer", LOST)
async def test_an_order_with_an_unclear_error_goes_to_no_other_account(served: Upstream, answer: str) -> None:
    served.refuse = lambda _account: LOST[answer]
    open_order = KlingRecord()
    _, error = await collect(kling(served, *TWO), task(open_order=open_order))
    assert isinstance(error, Unavailable)
    assert MAY_BE_PAID in str(error)
    assert open_order.given_up
    assert len(served.posts) == 1


async def test_a_refused_order_is_kept_if_the_upstream_cannot_be_queried(
    served: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framehouse.engines.kling.order_steps._MAX_OUTAGE_S", 0.3)
    served.rewrite = lambda _method, _path, _status, _body: (500, {"code": "internal_error", "message": "no database"})
    open_order = KlingRecord()
    _, error = await collect(kling(served, *TWO), task(open_order=open_order))
    assert isinstance(error, Unknown)
    assert open_order.data
    assert len(served.posts) == 1


@pytest.mark.parametrize(
    "answer",
    [
        (400, {"code": "invalid_request", "message": "bad words"}),
        (200, {"code": "fail_to_submit", "message": "content policy: bad words"}),
        (200, {"code": "invalid_params", "message": "bad words"}),
        (500, {"error": {"code": "sensitive_words_detected", "message": "bad words"}}),
        (403, {"error": {"code": "content_policy_violation", "message": "bad words"}}),
        (200, {"code": "1301", "message": "bad words"}),
        (400, {"code": "task_failed", "message": '{"code": 1301, "message": "bad words"}'}),
    ],
)
async def test_a_refusal_of_the_content_is_final(served: Upstream, answer: tuple[int, Any]) -> None:
    served.refuse = lambda _account: answer
    engine = kling(served, *TWO)
    with pytest.raises(Declined, match="bad words"):
        await generate(engine, task(open_order=KlingRecord()))
    await engine.close()
    assert len(served.posts) == 1
    assert not any(account.cooldown.remaining_s for account in engine._accounts.all)


@pytest.mark.parametrize(
    "answer",
    [
        (429, {"error": {"code": "rate_limit_exceeded", "message": "slow down"}}),
        (200, {"code": "1303", "message": "parallel task over resource pack limit"}),
        (200, {"code": "fail_to_fetch_task", "message": '{"code":1303,"message":"parallel task"}'}),
        (400, {"code": "task_failed", "message": "parallel task over resource pack limit", "data": None}),
        (200, {"code": 429, "message": "too many requests"}),
    ],
)
async def test_an_order_is_sent_again_after_a_limit_in_another_form(served: Upstream, answer: tuple[int, Any]) -> None:
    refusals = iter([answer])
    served.refuse = lambda _account: next(refusals, None)
    open_order = KlingRecord()
    assert len(images(await generate_and_close(kling(served), task(open_order=open_order)))) == 1
    assert len(served.posts) == 2


ACCEPTED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "string code": lambda body: body | {"code": "0"},
    "success": lambda body: body | {"code": "success"},
    "SUCCEED": lambda body: body | {"code": "SUCCEED"},
    "200": lambda body: body | {"code": 200},
    "no code": lambda body: {"data": body["data"]},
    "null code": lambda body: body | {"code": None},
    "flat": lambda body: {"task_id": body["data"]["task_id"], "task_status": "submitted"},
    "taskId": lambda body: {"code": 0, "data": {"taskId": body["data"]["task_id"]}},
    "id": lambda body: {"code": 0, "data": {"id": body["data"]["task_id"]}},
}


@pytest.mark.parametrize("form", ACCEPTED)
async def test_an_accepted_order_is_not_looked_up(served: Upstream, form: str) -> None:
    queries: list[str] = []

    def rewrite(method: str, path: str, status: int, body: Any) -> tuple[int, Any]:
        if method == "GET":
            queries.append(path)
        return status, ACCEPTED[form](body) if method == "POST" else body

    served.rewrite = rewrite
    open_order = KlingRecord()
    assert len(images(await generate_and_close(kling(served), task(open_order=open_order)))) == 1
    assert open_order.orders[0]["task_id"] == "up-0"
    assert all(path.endswith("/up-0") for path in queries)


async def test_a_task_id_may_be_a_number(served: Upstream) -> None:
    open_order = KlingRecord()
    served.new_id = lambda: "123"
    served.rewrite = lambda _m, _p, status, body: (status, json.loads(json.dumps(body).replace('"123"', "123")))
    assert len(images(await generate_and_close(kling(served), task(open_order=open_order)))) == 1
    assert open_order.orders[0]["task_id"] == "123"


# The state and the images of a task


@pytest.mark.parametrize("word", ["SUCCEED", "succeeded", "SUCCESS", "Completed", " succeed ", "finished", "done"])
async def test_every_word_for_success_is_understood(served: Upstream, word: str) -> None:
    served.rewrite = change_tasks(lambda data: data | {"task_status": word})
    assert len(images(await generate_and_close(kling(served), task(open_order=KlingRecord())))) == 1


@pytest.mark.parametrize("word", ["FAILED", "fail", "failure", "error", "cancelled", "Canceled", "expired", "timeout"])
async def test_every_word_for_a_failure_is_understood(served: Upstream, word: str) -> None:
    served.rewrite = change_tasks(
        lambda data: data | {"task_status": word, "task_status_msg": "sorry", "task_result": {}}
    )
    with pytest.raises(Declined, match="sorry"):
        await generate_and_close(kling(served), task(open_order=KlingRecord()))


@pytest.mark.parametrize("word", ["PENDING", "queued", "in_progress", "RUNNING", "NOT_START", "Processing", "waiting"])
async def test_every_word_for_a_task_in_progress_is_understood(
    served: Upstream, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framehouse.engines.kling.order_steps._MAX_OUTAGE_S", 0.0)
    states = iter([word] * 3)
    served.rewrite = change_tasks(lambda data: data | {"task_status": next(states, data["task_status"])})
    assert len(images(await generate_and_close(kling(served), task(open_order=KlingRecord())))) == 1


async def test_a_task_that_never_ends_frees_the_worker(served: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framehouse.engines.kling.order_steps._MAX_PROCESSING_S", 0.1)
    served.seconds = 3600
    open_order = KlingRecord()
    with pytest.raises(Unknown, match="not completed"):
        await generate_and_close(kling(served), task(open_order=open_order))
    assert open_order.data
    assert served.cancelled == []


async def test_an_unknown_state_is_named(served: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framehouse.engines.kling.order_steps._MAX_OUTAGE_S", 0.1)
    served.rewrite = change_tasks(lambda data: data | {"task_status": "zzz"})
    open_order = KlingRecord()
    with pytest.raises(Unknown, match='"zzz"'):
        await generate_and_close(kling(served), task(open_order=open_order))
    assert open_order.data


def wrap(data: dict[str, Any]) -> dict[str, Any]:
    states = {"succeed": "SUCCESS", "processing": "IN_PROGRESS", "submitted": "NOT_START", "failed": "FAILURE"}
    return {
        "task_id": data["task_id"],
        "status": states[data["task_status"]],
        "fail_reason": "",
        "progress": "100%",
        "data": {"code": 0, "data": data},
    }


TASKS: dict[str, Callable[[Any], Any]] = {
    "string code": lambda body: body | {"code": "0"},
    "word": lambda body: body | {"code": "success"},
    "200": lambda body: body | {"code": 200},
    "no code": lambda body: {"data": body["data"]},
    "flat": lambda body: body["data"],
    "a list": lambda body: body | {"data": [body["data"]]},
    "another id": lambda body: body | {"data": body["data"] | {"task_id": "x"}},
    "another external id": lambda body: body | {"data": body["data"] | {"task_info": {"external_task_id": "x"}}},
    "wrapped": lambda body: body | {"code": "success", "data": wrap(body["data"])},
    "no id": lambda body: body | {"data": {key: body["data"][key] for key in body["data"] if key != "task_id"}},
    "status": lambda body: (
        body | {"data": {"id": body["data"]["task_id"], "status": body["data"]["task_status"]} | body["data"]}
    ),
}


@pytest.mark.parametrize("form", TASKS)
async def test_tasks_of_other_forms_are_understood(served: Upstream, form: str) -> None:
    served.rewrite = lambda method, _, status, body: (status, TASKS[form](body) if method == "GET" else body)
    assert len(images(await generate_and_close(kling(served), task(shots=2, open_order=KlingRecord())))) == 2
    assert len(served.posts) == 1


def path_of(url: str) -> str:
    return "/" + url.split("/", 3)[3]


RESULTS: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "strings": lambda files: {"images": [image["url"] for image in files]},
    "series_images as strings": lambda files: {"images": [], "series_images": [image["url"] for image in files]},
    "null in the other list": lambda files: {"images": files, "series_images": None},
    "both lists": lambda files: {"images": files, "series_images": files},
    "image_url": lambda files: {"images": [{"image_url": image["url"]} for image in files]},
    "url objects": lambda files: {"images": [{"image_url": {"url": image["url"]}} for image in files]},
    "urls": lambda files: {"urls": [image["url"] for image in files]},
    "a dictionary": lambda files: {"images": {str(image["index"]): image for image in files}},
    "image": lambda files: {"image": [image["url"] for image in files]},
    "a list": lambda files: [image["url"] for image in files],
    "images as JSON text": lambda files: {"images": json.dumps([image["url"] for image in files])},
    "JSON text": lambda files: json.dumps({"images": files}),
    "indexes from 1": lambda files: {"images": [image | {"index": image["index"] + 1} for image in reversed(files)]},
    "string indexes": lambda files: {"images": [image | {"index": str(image["index"])} for image in reversed(files)]},
    "relative": lambda files: {"images": [path_of(image["url"]) for image in files]},
    "without a scheme": lambda files: {"images": [image["url"].removeprefix("http:") for image in files]},
    "white space": lambda files: {"images": [f" {image['url']}\n" for image in files]},
}


@pytest.mark.parametrize("form", RESULTS)
async def test_results_of_other_forms_are_understood(served: Upstream, form: str) -> None:
    served.rewrite = change_results(RESULTS[form])
    engine = kling(served)
    generated = images(await generate(engine, task(shots=3, open_order=KlingRecord())))
    await engine.close()
    assert [int(p.pixels[0, 0, 2]) for p in sorted(generated, key=lambda p: p.index)] == [0, 20, 40]
    assert len(served.posts) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda files: {"image": files[0]["url"]},
        lambda files: {"image": files[0]},
        lambda files: {"images": files[0]["url"]},
        lambda files: {"images": files[0]},
        lambda files: {"url": files[0]["url"]},
        lambda files: files[0]["url"],
    ],
)
async def test_a_single_image_of_another_form_is_understood(
    served: Upstream, change: Callable[[list[dict[str, Any]]], Any]
) -> None:
    served.rewrite = change_results(change)
    assert len(images(await generate_and_close(kling(served), task(open_order=KlingRecord())))) == 1


@pytest.mark.parametrize("name", ["output", "images", "image_urls", "result"])
async def test_images_next_to_the_state_are_understood(served: Upstream, name: str) -> None:
    def change(data: dict[str, Any]) -> dict[str, Any]:
        if "task_result" not in data:
            return data
        urls = [image["url"] for image in data["task_result"]["images"]]
        return {key: data[key] for key in data if key != "task_result"} | {name: urls}

    served.rewrite = change_tasks(change)
    assert len(images(await generate_and_close(kling(served), task(shots=2, open_order=KlingRecord())))) == 2


async def test_a_url_relative_to_the_base_url_is_understood(served: Upstream) -> None:
    served.rewrite = change_results(lambda files: {"images": [f"..{path_of(image['url'])}" for image in files]})
    assert len(images(await generate_and_close(kling(served), task(open_order=KlingRecord())))) == 1


@pytest.mark.parametrize("data_url", [True, False])
async def test_images_inside_the_response_are_understood(served: Upstream, data_url: bool) -> None:
    def inline(files: list[dict[str, Any]]) -> dict[str, Any]:
        encoded = [base64.b64encode(served._images[image["url"].rpartition("/")[2]]).decode() for image in files]
        return {"images": [f"data:image/png;base64,{e}" if data_url else {"b64_json": e} for e in encoded]}

    served.rewrite = change_results(inline)
    assert len(images(await generate_and_close(kling(served), task(shots=2, open_order=KlingRecord())))) == 2


# Images that do not arrive


async def test_a_task_succeeds_if_its_images_arrive_in_two_orders(
    make_deployment: MakeDeployment, served: Upstream
) -> None:
    served.rewrite = change_results(lambda files: {"images": files[:1]})
    route = {"engine": "kling", "base_url": served.base_url, "accounts": [{"api_key": "key"}]}
    deployment = await make_deployment(route)
    ticket = await deployment.submit(n=2)
    deployment.start_worker()
    ended = await wait_for_task(deployment, ticket.task_id)
    assert (ended.status, len(ended.images)) == ("succeed", 2)
    assert [post["n"] for post in served.posts] == [2, 1]
    await assert_nothing_left(deployment, used=16)


async def test_the_images_that_an_upstream_did_not_generate_are_ordered_separately(served: Upstream) -> None:
    served.rewrite = change_results(lambda files: {"images": files[1:] or files})
    open_order, engine = KlingRecord(), kling(served)
    events = await generate(engine, task(shots=2, open_order=open_order))
    await engine.close()
    assert [event.index for event in images(events)] == [1, 0]
    assert [post["n"] for post in served.posts] == [2, 1]
    assert len({post["external_task_id"] for post in served.posts}) == 2
    assert [order["shots"] for order in open_order.orders] == [[0]]
    shares = [event.share for event in events if isinstance(event, Progress)]
    assert shares == sorted(shares)


async def test_an_upstream_that_always_generates_one_image_is_paid_once_per_image(served: Upstream) -> None:
    served.rewrite = change_results(lambda files: {"images": files[:1]})
    generated = images(await generate_and_close(kling(served), task(shots=5, open_order=KlingRecord())))
    assert sorted(image.index for image in generated) == [0, 1, 2, 3, 4]
    assert [post["n"] for post in served.posts] == [5, 1, 1, 1, 1]


async def test_the_missing_images_of_a_series_are_ordered_with_the_first_image(served: Upstream) -> None:
    served.rewrite = change_results(lambda files: {"images": [], "series_images": files[:2]})
    whole = task(shots=3, series=True, open_order=KlingRecord())
    assert len(images(await generate_and_close(kling(served), whole))) == 3
    assert [post["result_type"] for post in served.posts] == ["series", "single"]
    assert len(served.posts[1]["image_list"]) == 1


async def test_another_worker_orders_only_the_missing_images(served: Upstream) -> None:
    served.rewrite = change_results(lambda files: {"images": files[:1]})
    open_order, engine = KlingRecord(), kling(served)
    whole = task(shots=2, open_order=open_order)
    events = engine.generate(whole)
    async for event in events:
        if isinstance(event, GeneratedImage):
            break
    await events.aclose()  # type: ignore[attr-defined]
    await engine.close()
    remaining = task(shots=2, open_order=KlingRecord(open_order.data))
    remaining = Batch(**{name: getattr(remaining, name) for name in remaining.__slots__} | {"shots": whole.shots[1:]})
    assert [image.index for image in images(await generate_and_close(kling(served), remaining))] == [1]
    assert [post["n"] for post in served.posts] == [2, 1]


async def test_a_task_fails_if_none_of_its_images_was_generated(served: Upstream) -> None:
    served.rewrite = change_results(lambda _files: {"images": []})
    indexes, error = await collect(kling(served), task(shots=2, open_order=KlingRecord()))
    assert isinstance(error, Broken)
    assert "0 of 2 images" in str(error)
    assert MAY_BE_PAID in str(error)
    assert indexes == []
    assert len(served.posts) == 1


async def test_images_that_are_listed_late_are_not_ordered_again(served: Upstream) -> None:
    lengths = iter([0, 1])
    served.rewrite = change_results(lambda files: {"images": files[: next(lengths, None)]})
    generated = images(await generate_and_close(kling(served), task(shots=2, open_order=KlingRecord())))
    assert [image.index for image in generated] == [0, 1]
    assert len(served.posts) == 1


async def test_images_of_a_failed_task_are_kept(served: Upstream) -> None:
    served.rewrite = change_tasks(
        lambda data: data | {"task_status": "failed", "task_status_msg": "one was refused"} | partial_result(data)
    )
    indexes, error = await collect(kling(served), task(shots=2, open_order=KlingRecord()))
    assert indexes == [0]
    assert isinstance(error, Declined)
    assert "one was refused" in str(error)


def partial_result(data: dict[str, Any]) -> dict[str, Any]:
    result = data.get("task_result")
    return {"task_result": {"images": [image for image in result["images"] if image["index"] == 0]}} if result else {}


@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize("fault", ["before 404 1203", "before 410 1203", "before 403 1103"])
async def test_a_file_that_does_not_exist_ends_the_order_and_the_other_image_is_kept(
    served: Upstream, position: int, fault: str
) -> None:
    served.fault = lambda _, path: fault if path == f"/images/up-0-{position}.png" else ""
    indexes, error = await collect(kling(served), task(shots=2, open_order=KlingRecord()))
    assert indexes == [1 - position]
    assert isinstance(error, Broken)
    assert f"image {position + 1}" in str(error)
    assert MAY_BE_PAID in str(error)
    assert len(served.posts) == 1


async def test_a_file_that_is_not_an_image_does_not_lose_the_other_image(served: Upstream) -> None:
    indexes, error = await collect(damaged(served, "up-0-0.png"), task(shots=2, open_order=KlingRecord()))
    assert indexes == [1]
    assert isinstance(error, Broken)


def damaged(served: Upstream, name: str) -> Kling:
    served._images[name] = HTML.encode()
    return kling(served)


async def test_an_image_that_cannot_be_reached_leaves_the_order_open_and_the_other_image_is_kept(
    served: Upstream,
) -> None:
    served.fault = lambda _, path: "before 503 5001" if path == "/images/up-0-0.png" else ""
    open_order = KlingRecord()
    indexes, error = await collect(kling(served), task(shots=2, open_order=open_order))
    assert indexes == [1]
    assert isinstance(error, Unknown)
    assert open_order.data


# --- Tasks of others --------------------------------------------------------------------------------------------------


def _task(id: str, external_id: str = "") -> dict[str, Any]:
    return {"task_id": id, "task_status": "processing", "task_info": {"external_task_id": external_id}}


def test_a_short_task_id_does_not_match_a_part_of_an_external_id() -> None:
    listed = Response(200, {"code": 0, "data": [_task("9", "fh-ab123cd-0123456789")]})
    _, answer = parse_list_answer(listed, ("123", "fh-0123456789abcdef"))
    assert isinstance(answer, TaskNotFound)


@pytest.mark.parametrize("external_id", ["fh-0123456789abcdef", "reseller-7-fh-0123456789abcdef"])
def test_an_external_id_with_a_prefix_is_ours(external_id: str) -> None:
    _, answer = parse_list_answer(
        Response(200, {"code": 0, "data": [_task("9", external_id)]}), ("", "fh-0123456789abcdef")
    )
    assert isinstance(answer, UpstreamTask)


@pytest.mark.parametrize("task_id", ["123", ""])
def test_a_response_with_another_task_is_not_accepted(task_id: str) -> None:
    external_id = "fh-0123456789abcdef"
    other = Response(200, {"code": 0, "data": _task("999", "fh-fedcba9876543210")})
    assert isinstance(parse_task_answer(other, task_id, external_id), TaskNotFound)
    for same in (_task("123", external_id), _task("inner-id", external_id), _task("123")):
        answer = parse_task_answer(Response(200, {"code": 0, "data": same}), task_id, external_id)
        assert isinstance(answer, UpstreamTask)
    without_ids = parse_task_answer(Response(200, {"code": 0, "data": _task("999")}), "123", external_id)
    assert isinstance(without_ids, TaskNotFound)


# --- Costs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        ("24", ["8.000000"] * 3),
        (25, ["8.333334", "8.333333", "8.333333"]),
        ("1.5", ["0.500000"] * 3),
        ("", None),
        ("-3", None),
        ("NaN", None),
        (None, None),
        (10**400, None),
        ({"units": 3}, None),
        ([3], None),
    ],
)
async def test_the_units_that_the_upstream_has_charged_are_divided_among_the_images(
    served: Upstream, reported: object, expected: list[str] | None
) -> None:
    def rewrite(method: str, path: str, status: int, body: Any) -> tuple[int, Any]:
        if method == "GET" and path != PATH:
            body["data"]["final_unit_deduction"] = reported
        return status, body

    served.rewrite = rewrite
    generated = images(await generate_and_close(kling(served), task(shots=3, open_order=KlingRecord())))
    costs = [(str(image.cost.amount), image.cost.currency) if image.cost else None for image in generated]
    assert costs == ([(share, "units") for share in expected] if expected else [None] * 3)
