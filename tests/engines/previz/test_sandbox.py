"""The sandbox of the engine `previz`: each documented trigger has the documented effect."""

import time
from dataclasses import replace
from functools import partial

import pytest

from framehouse.domain.shot import Shot
from framehouse.engines.previz.sandbox import behaviour, without_triggers
from framehouse.testing.engine_contract import batch, generate, images
from tests.support.api_server import PATH, Api, serving
from tests.support.eventually import eventually
from tests.support.in_process_deployment import MISBEHAVING, MakeDeployment


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("a fox [sandbox: decline]", "declined, because the prompt contains a sandbox trigger"),
        ("a fox [Sandbox: FAIL]", "failed, because the prompt contains a sandbox trigger"),
        ("a fox [sandbox: fail image 2]", "failed, because the prompt contains a sandbox trigger"),
        ("[ sandbox：slow 0.4 ][sandbox: fail image 3] a fox", ""),
    ],
)
async def test_a_task_ends_as_its_triggers_say(make_deployment: MakeDeployment, prompt: str, message: str) -> None:
    async with serving(await make_deployment({"engine": "previz"})) as api:
        api.deployment.start_worker()
        task = await api.wait_for_task((await api.create(prompt, n=2))["task_id"])
        assert (task["task_status"], task["task_status_msg"]) == ("failed" if message else "succeed", message)
        assert (await api.deployment.account())["images_in_flight"] == 0


@pytest.mark.parametrize("trigger", ["refuse", "explode"])
async def test_a_request_is_refused_by_the_trigger_refuse_and_by_unknown_triggers(
    make_deployment: MakeDeployment, trigger: str
) -> None:
    async with serving(await make_deployment({"engine": "previz"})) as api:
        body = {"model_name": "kling-v3-omni", "prompt": f"a fox [sandbox: {trigger}]"}
        answer = await api.alice.post(PATH, json=body)
        assert (answer.status_code, answer.json()["code"]) == (400, 1301)
        assert trigger in answer.json()["message"]
        assert (await api.alice.get(PATH)).json()["data"] == []
        assert (await api.deployment.account())["images_in_flight"] == 0


async def test_the_trigger_slow_delays_the_task(make_deployment: MakeDeployment) -> None:
    async with serving(await make_deployment({"engine": "previz"})) as api:
        api.deployment.start_worker()
        start = time.monotonic()
        task_id = (await api.create("a fox [sandbox: slow 2]", n=2))["task_id"]
        assert (await api.wait_for_task(task_id))["task_status"] == "succeed"
        assert time.monotonic() - start > 2
        assert await api.deployment.db.value("select count(*) from tasks where status_message <> ''") == 0


async def test_a_simulated_wait_occupies_no_slot(make_deployment: MakeDeployment) -> None:
    async with serving(await make_deployment({"engine": "previz"})) as api:
        slow = [(await api.create("[sandbox: slow 600]"))["task_id"] for _ in range(5)]
        api.deployment.start_worker(concurrency=1)

        async def all_wait() -> bool:
            return bool(await api.deployment.db.value("select count(*) = 5 from batches where run_at > now()"))

        await eventually(all_wait)
        task_id = (await api.create("a fox"))["task_id"]
        assert (await api.wait_for_task(task_id))["task_status"] == "succeed"
        for waiting in slow:
            task = (await api.alice.get(f"{PATH}/{waiting}")).json()["data"]
            assert task["task_status"] == "processing"
            assert (await api.alice.post(f"{PATH}/{waiting}/cancel")).status_code == 200
        assert (await api.deployment.account())["images_in_flight"] == 0


async def progress_of_at_least(api: Api, task_id: str, share: float) -> list[float]:
    """The progress of the task in a list, which is empty if the progress is less than `share`."""
    data = (await api.alice.get(f"{PATH}/{task_id}")).json()["data"]
    return [data["progress"]] if data.get("progress", -1) >= share else []


async def test_a_simulated_wait_reports_progress_and_survives_its_worker(make_deployment: MakeDeployment) -> None:
    async with serving(await make_deployment({"engine": "previz"})) as api:
        start = time.monotonic()
        task_id = (await api.create("[sandbox: slow 8]"))["task_id"]
        share = -0.1
        for _ in range(3):  # each worker stops before the wait is over
            worker = api.deployment.start_worker()
            (share,) = await eventually(partial(progress_of_at_least, api, task_id, share + 0.1))
            worker.stop()
        api.deployment.start_worker()
        assert (await api.wait_for_task(task_id))["task_status"] == "succeed"
        assert time.monotonic() - start > 8


async def test_without_the_sandbox_triggers_have_no_effect(make_deployment: MakeDeployment) -> None:
    async with serving(await make_deployment({"engine": "previz", "sandbox": False})) as api:
        api.deployment.start_worker()
        for trigger in ("refuse", "decline", "slow 600", "unknown"):
            task_id = (await api.create(f"a fox [sandbox: {trigger}]"))["task_id"]
            assert (await api.wait_for_task(task_id))["task_status"] == "succeed"


@pytest.mark.parametrize("routes", [[MISBEHAVING, "previz"], ["previz", MISBEHAVING]])
async def test_the_sandbox_is_off_if_another_engine_serves_the_model(
    make_deployment: MakeDeployment, routes: list[str]
) -> None:
    deployment = await make_deployment(*({"engine": engine} for engine in routes))
    await deployment.submit("a fox [sandbox: refuse]")
    previz = next(r.engine for r in deployment.registry.routes("kling-v3-omni") if r.name == "previz")
    request = replace(batch(), shots=(Shot(0, "a fox [sandbox: decline]", "", 1),))
    assert len(images(await generate(previz, request))) == 1


def test_several_triggers_are_combined_and_removed_from_the_prompt() -> None:
    prompt = "a [sandbox: slow 3] fox [sandbox: fail image 2]"
    requested = behaviour(prompt)
    assert (requested.slow_s, requested.fail_image, requested.refuse) == (3.0, 2, "")
    assert without_triggers(prompt).split() == ["a", "fox"]
    assert behaviour("a sandbox: fail in the park").fail_image is None
