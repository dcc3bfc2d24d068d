"""The tools over streamable HTTP, with both generations of the protocol."""

import asyncio
import base64
from typing import Any

import pytest

from tests.support.api_server import PATH, Api, serving
from tests.support.image_files import image_base64
from tests.support.in_process_deployment import MakeDeployment
from tests.support.mcp_clients import LEGACY, MODERN, TaskReport, connected_to, images_of, links_of, text_of

both_modes = pytest.mark.parametrize("mode", [LEGACY, MODERN])


@both_modes
async def test_a_creation_returns_previews_and_links(working: Api, mode: str) -> None:
    async with connected_to(working, mode) as client:
        result = await client.call_tool("create_images", {"prompt": "A red fox", "n": 2, "aspect_ratio": "16:9"})
    assert not result.is_error, text_of(result)
    assert result.structured_content["status"] == "succeed"
    assert [image.mime_type for image in images_of(result)] == ["image/webp"] * 2
    links = links_of(result)
    assert links == [image["url"] for image in result.structured_content["images"]]
    for link in links:
        assert link.startswith(working.url)
        image = await working.anonymous.get(link)
        assert image.headers["content-type"] == "image/png"


@both_modes
async def test_progress_notifications_name_the_task_first(working: Api, mode: str) -> None:
    reports: list[tuple[float, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        assert total == 1
        reports.append((progress, message))

    async with connected_to(working, mode) as client:
        result = await client.call_tool("create_images", {"prompt": "A red fox"}, progress_callback=on_progress)
    values = [progress for progress, _ in reports]
    assert values == sorted(set(values))
    assert result.structured_content["task_id"] in str(reports[0][1])


async def test_full_images_are_returned_if_they_are_small(api: Api) -> None:
    api.deployment.start_worker()
    async with connected_to(api) as client:
        full = await client.call_tool("create_images", {"prompt": "A red fox", "image_content": "full"})
        none = await client.call_tool("create_images", {"prompt": "A red fox", "image_content": "none"})
    original = await api.anonymous.get(links_of(full)[0])
    assert base64.b64decode(images_of(full)[0].data) == original.content
    assert (len(images_of(none)), len(links_of(none))) == (0, 1)


async def test_large_full_images_are_replaced_by_previews(working: Api) -> None:
    async with connected_to(working) as client:
        call = {"prompt": "A red fox", "image_content": "full", "n": 9, "resolution": "2k", "wait_s": 120}
        result = await client.call_tool("create_images", call)
    assert {image.mime_type for image in images_of(result)} == {"image/webp"}
    assert (len(images_of(result)), len(links_of(result))) == (9, 9)


async def test_reference_images_elements_series_and_further_arguments_reach_the_api(working: Api) -> None:
    working.deployment.start_element_worker()
    element = await working.save_element()
    encoded = image_base64(600, 400)
    async with connected_to(working) as client:
        series = await client.call_tool(
            "create_images",
            {
                "prompt": "<<<image_1>>> and <<<element_1>>>",
                "images": [encoded, f"data:image/png;base64,{encoded}"],
                "elements": [element],
                "series": 3,
                "resolution": "2k",
                "seed": 7,
                "model": "kling-v3-omni",
                "image_content": "none",
            },
        )
        negative = await client.call_tool("create_images", {"prompt": "A street", "negative_prompt": "cars"})
        expanded = await client.call_tool("expand_image", {"image": encoded, "left": 0.5})
    assert [len(links_of(result)) for result in (series, negative, expanded)] == [3, 1, 1], text_of(series)
    task = (await working.alice.get(f"/v1/tasks/{series.structured_content['task_id']}?include=request")).json()["data"]
    expected = {"series_amount": 3, "resolution": "2k", "element_list": [{"element_id": element}]}
    assert {name: task["request"][name] for name in expected} == expected
    kinds = [
        (await working.alice.get(f"/v1/tasks/{result.structured_content['task_id']}")).json()["data"]["kind"]
        for result in (negative, expanded)
    ]
    assert kinds == ["generations", "expand"]


async def test_a_slow_task_is_returned_before_it_ends_and_can_be_awaited_listed_and_cancelled(api: Api) -> None:
    async with connected_to(api) as client:
        created = await client.call_tool("create_images", {"prompt": "A red fox", "wait_s": 0})
        task_id = created.structured_content["task_id"]
        assert created.structured_content["status"] == "submitted"
        assert not created.is_error
        assert "wait_for_task" in text_of(created)
        listed = await client.call_tool("list_tasks", {})
        assert [task["task_id"] for task in listed.structured_content["tasks"]] == [task_id]
        api.deployment.start_worker()
        awaited = await client.call_tool("wait_for_task", {"task_id": task_id, "wait_s": 60})
        assert awaited.structured_content["status"] == "succeed"
        assert len(images_of(awaited)) == 1
        read = await client.call_tool("get_task", {"task_id": task_id})
        assert read.structured_content == awaited.structured_content
        late = await client.call_tool("cancel_task", {"task_id": task_id})
        assert late.structured_content["status"] == "succeed"


async def test_a_cancelled_task_is_no_error(api: Api) -> None:
    async with connected_to(api) as client:
        created = await client.call_tool("create_images", {"prompt": "A red fox", "wait_s": 0})
        cancelled = await client.call_tool("cancel_task", {"task_id": created.structured_content["task_id"]})
    assert not cancelled.is_error
    assert "was cancelled" in text_of(cancelled)


async def test_a_repeated_call_with_the_same_idempotency_key_returns_the_first_task(api: Api) -> None:
    call = {"prompt": "A red fox", "wait_s": 0, "idempotency_key": "fox-1"}
    async with connected_to(api) as client:
        results = [await client.call_tool("create_images", call) for _ in range(2)]
        assert len({result.structured_content["task_id"] for result in results}) == 1
        other = await client.call_tool("create_images", call | {"prompt": "A blue fox"})
    assert other.is_error
    assert "dempotency" in text_of(other)
    assert len((await api.alice.get(PATH)).json()["data"]) == 1


async def test_a_call_whose_client_disconnects_keeps_its_task(api: Api) -> None:
    report = TaskReport()

    async def call() -> None:
        async with connected_to(api) as client:
            await client.call_tool("create_images", {"prompt": "A red fox"}, progress_callback=report)

    calling = asyncio.create_task(call())
    task_id = await report.task_id()
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    api.deployment.start_worker()
    assert (await api.wait_for_task(task_id))["task_status"] == "succeed"


async def test_a_server_that_stops_returns_the_state_of_the_task(api: Api) -> None:
    report = TaskReport()
    async with connected_to(api) as client:
        call = {"prompt": "A red fox", "wait_s": 600}
        calling = asyncio.create_task(client.call_tool("create_images", call, progress_callback=report))
        task_id = await report.task_id()
        api.app.end_long_polls()
        result = await asyncio.wait_for(calling, 60)
    assert (result.structured_content["task_id"], result.structured_content["status"]) == (task_id, "submitted")
    assert "wait_for_task" in text_of(result)


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("create_images", {}, "the argument prompt is missing"),
        ("create_images", {"prompt": "a fox", "n": 12}, "n cannot be 12: n is the number of images, from 1"),
        ("create_images", {"prompt": "a fox", "size": "1k"}, 'there is no argument "size"; the arguments are '),
        ("create_images", {"prompt": "a fox", "model": "dall-e"}, "dall-e"),
        ("create_images", {"prompt": "a fox", "n": 2, "series": 3}, "use series or n, not both"),
        ("create_images", {"prompt": "a <<<image_1>>>"}, "image_1"),
        ("create_images", {"prompt": "a fox", "images": ["/etc/passwd"]}, "cannot read files of your machine"),
        ("create_images", {"prompt": "a fox", "images": ["~/.ssh/id_rsa"]}, "cannot read files of your machine"),
        ("create_images", {"prompt": "a fox", "images": ["AAAA"]}, "image_list"),
        ("create_images", {"prompt": "a fox", "elements": [987654]}, "987654"),
        ("expand_image", {"image": "AAAA"}, "expansion_ratio"),
        ("wait_for_task", {"task_id": "unknown"}, "Task not found"),
        ("get_task", {"task_id": "../account"}, "Task not found"),
        ("cancel_task", {"task_id": "unknown"}, "Task not found"),
        ("list_tasks", {"page": 0}, "page cannot be 0"),
    ],
)
async def test_a_wrong_call_returns_an_error_that_says_what_is_wrong(
    api: Api, tool: str, arguments: dict[str, Any], expected: str
) -> None:
    async with connected_to(api) as client:
        result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert expected in text_of(result)
    assert (await api.alice.get(PATH)).json()["data"] == []


async def test_a_full_account_is_an_error_with_the_next_step(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment(concurrency=1)
    async with serving(deployment) as api, connected_to(api) as client:
        await client.call_tool("create_images", {"prompt": "A red fox", "wait_s": 0})
        refused = await client.call_tool("create_images", {"prompt": "A red fox", "wait_s": 0})
    assert refused.is_error
    assert "parallel task" in text_of(refused)
    assert "Then repeat the call" in text_of(refused)


async def test_a_failed_task_and_a_refused_prompt_are_errors_with_the_reason(working: Api) -> None:
    async with connected_to(working) as client:
        failed = await client.call_tool("create_images", {"prompt": "a fox [sandbox: decline]"})
        refused = await client.call_tool("create_images", {"prompt": "a fox [sandbox: refuse]"})
    assert (failed.is_error, refused.is_error) == (True, True)
    assert failed.structured_content["status"] == "failed"
    assert failed.structured_content["message"] in text_of(failed)
    assert "Change the prompt" in text_of(refused)


async def test_two_accounts_use_their_own_keys_at_the_same_time(working: Api) -> None:
    async def create(name: str) -> list[str]:
        caller = getattr(working, name)
        async with connected_to(working, client=caller) as client:
            calls = (client.call_tool("create_images", {"prompt": f"A fox of {name}"}) for _ in range(3))
            return [result.structured_content["task_id"] for result in await asyncio.gather(*calls)]

    alice, bob = await asyncio.gather(create("alice"), create("bob"))
    for caller, own, foreign in ((working.alice, alice, bob), (working.bob, bob, alice)):
        listed = {task["task_id"] for task in (await caller.get(PATH)).json()["data"]}
        assert listed == set(own)
        async with connected_to(working, client=caller) as client:
            for task_id in foreign:
                result = await client.call_tool("get_task", {"task_id": task_id})
                assert (result.is_error, "Task not found" in text_of(result)) == (True, True)


@both_modes
async def test_tools_are_described_with_limits_and_annotations(api: Api, mode: str) -> None:
    async with connected_to(api, mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert client.instructions
    assert set(tools) == {"create_images", "expand_image", "wait_for_task", "get_task", "list_tasks", "cancel_task"}
    for tool in tools.values():
        assert tool.description
        assert all(field["description"] for field in tool.input_schema["properties"].values())
    assert tools["create_images"].input_schema["properties"]["n"]["anyOf"][0]["maximum"] == 9
    hints = {name: tool.annotations for name, tool in tools.items() if tool.annotations}
    assert {name for name, hint in hints.items() if hint.read_only_hint} == {"wait_for_task", "get_task", "list_tasks"}
    assert {name for name, hint in hints.items() if hint.destructive_hint} == {"cancel_task"}
    execution = tools["create_images"].execution
    assert (execution.task_support if execution else None) == ("optional" if mode == LEGACY else None)
