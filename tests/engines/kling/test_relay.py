"""A Framehouse relays to an upstream Framehouse: cancellations and all fields of a request reach the upstream.

Tests that are marked `also_relayed` run with a relay too.
"""

import io
import json
from base64 import b64decode, b64encode
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from PIL import Image

from framehouse.domain.task_kind import TaskKind
from framehouse.pipeline.cancel import cancel
from tests.support.eventually import eventually
from tests.support.image_files import image_base64, image_file
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


JPEG, PNG = b64encode(image_file(600, 400, "JPEG")).decode(), image_base64(400, 500)
FIELDS: dict[TaskKind, dict[str, Any]] = {
    "omni-image": {"image_list": [{"image": JPEG}, {"image": PNG}], "prompt": "like <<<image_2>>>"},
    "generations": {
        "image": JPEG,
        "image_reference": "face",
        "negative_prompt": "snow",
        "image_fidelity": 0.2,
        "human_fidelity": 0.9,
        "aspect_ratio": "3:4",
        "n": 2,
    },
    "multi-image2image": {
        "subject_image_list": [{"subject_image": JPEG}, {"subject_image": PNG}],
        "scene_image": JPEG,
        "style_image": PNG,
        "aspect_ratio": "9:16",
        "n": 2,
    },
    "expand": {"image": JPEG, "up_expansion_ratio": 0.25, "right_expansion_ratio": 0.3, "n": 2},
    "try-on": {"human_image": PNG, "cloth_image": JPEG},
}


@pytest.mark.parametrize("kind", FIELDS)
async def test_the_files_of_each_kind_of_task_are_relayed_unchanged(make_relay: MakeDeployment, kind: TaskKind) -> None:
    deployment = await make_relay({"engine": "previz"})
    upstream = upstreams[id(deployment)]
    ticket = await deployment.submit(kind=kind, **FIELDS[kind])
    deployment.start_worker()
    task = await wait_for_task(deployment, ticket.task_id)
    assert task.status == "succeed"
    task_there = await wait_for_task(upstream, await upstream.db.value("select id from tasks"))
    columns = "kind, prompt, image_count, resolution, ratio, units_charged"
    rows, references = [], []
    for d in (deployment, upstream):
        row = await d.db.row(f"select {columns}, options::text from tasks")
        assert row
        rows.append(dict(row) | {"options": json.loads(row["options"])})
        stored = await d.db.rows("select key, role from task_references order by index")
        references.append([(await d.storage.get(row["key"]), row["role"]) for row in stored])
    assert rows[0] == rows[1]
    assert references[0] == references[1]
    assert {content for content, _ in references[0]} <= {b64decode(JPEG), b64decode(PNG)}
    assert len(task.images) == FIELDS[kind].get("n", 1)
    for image, image_there in zip(task.images, task_there.images, strict=True):
        pixels = []
        for content in (await deployment.storage.get(image.key), await upstream.storage.get(image_there.key)):
            assert content
            pixels.append(np.asarray(Image.open(io.BytesIO(content))))
        assert np.array_equal(pixels[0], pixels[1])
