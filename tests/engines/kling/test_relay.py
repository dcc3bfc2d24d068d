"""A Framehouse relays to an upstream Framehouse: cancellations and all fields of a request reach the upstream.

Tests that are marked `also_relayed` run with a relay too.
"""

from datetime import timedelta
from typing import Any

from framehouse.pipeline.cancel import cancel
from tests.support.eventually import eventually
from tests.support.image_files import image_base64
from tests.support.in_process_deployment import MakeDeployment
from tests.support.relay import upstreams
from tests.support.tasks import assert_nothing_left, wait_for_task


async def test_a_cancelled_task_is_also_cancelled_upstream(make_relay: MakeDeployment) -> None:
    deployment = await make_relay()
    upstream = upstreams[id(deployment)]
    ticket = await deployment.submit("hang", n=3)
    deployment.start_worker()

    async def running() -> bool:
        return bool((await upstream.account())["images_in_flight"] == 3)

    await eventually(running)
    # An order whose answer has not arrived yet cannot be cancelled.
    answer_arrived = """select bool_and(notes::text ~ '"task_id": "[^"]+"') from batches"""
    await eventually(lambda: deployment.db.value(answer_arrived))
    assert await cancel(deployment.db, deployment.caller.account_id, ticket.task_id, timedelta(days=1))
    assert (await wait_for_task(deployment, ticket.task_id)).status_message == "Canceled"

    async def free() -> bool:
        return bool((await upstream.account())["images_in_flight"] == 0)

    await eventually(free)
    await assert_nothing_left(deployment, used=0)
    await assert_nothing_left(upstream, used=0)


async def test_a_request_reaches_the_upstream_unchanged(make_relay: MakeDeployment) -> None:
    deployment = await make_relay()
    upstream = upstreams[id(deployment)]
    prompt = "镜头一：狐狸 <<<image_1>>>。镜头二：狐狸睡觉。镜头三：狐狸跑"
    fields: dict[str, Any] = {"result_type": "series", "resolution": "2k", "aspect_ratio": "21:9"}
    ticket = await deployment.submit(prompt, image_list=[{"image": image_base64()}], **fields)
    deployment.start_worker()
    task = await wait_for_task(deployment, ticket.task_id)
    assert (task.status, len(task.images)) == ("succeed", 3)
    columns = "prompt, result_type, image_count, resolution, ratio, units_charged, watermark"
    task_here = await deployment.db.row(f"select {columns} from tasks")
    assert task_here == await upstream.db.row(f"select {columns} from tasks")
    assert await upstream.db.value("select array_agg(prompt order by index) from shots") == await deployment.db.value(
        "select array_agg(prompt order by index) from shots"
    )
