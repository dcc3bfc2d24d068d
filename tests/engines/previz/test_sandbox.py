"""The sandbox of the engine `previz`: each documented trigger has the documented effect."""

import time

import pytest

from framehouse.engines.previz.sandbox import behaviour, without_triggers
from tests.support.api_server import PATH, serving
from tests.support.in_process_deployment import MakeDeployment


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
        task_id = (await api.create("a fox [sandbox: slow 2]"))["task_id"]
        assert (await api.wait_for_task(task_id))["task_status"] == "succeed"
        assert time.monotonic() - start > 2


def test_several_triggers_are_combined_and_removed_from_the_prompt() -> None:
    prompt = "a [sandbox: slow 3] fox [sandbox: fail image 2]"
    requested = behaviour(prompt)
    assert (requested.slow_s, requested.fail_image, requested.refuse) == (3.0, 2, "")
    assert without_triggers(prompt).split() == ["a", "fox"]
    assert behaviour("a sandbox: fail in the park").fail_image is None


async def test_only_the_first_engine_may_refuse_a_prompt(make_deployment: MakeDeployment) -> None:
    """If `previz` is not the first engine, its triggers do not refuse the request."""
    from tests.support.in_process_deployment import MISBEHAVING

    deployment = await make_deployment({"engine": MISBEHAVING}, {"engine": "previz"})
    await deployment.submit("a fox [sandbox: refuse]")
