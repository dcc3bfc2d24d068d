"""The labels in the files that clients download, with the settings `label_producer` and `explicit_label`."""

import io
from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from framehouse.adapters.images.watermark import add_watermark
from framehouse.domain.aigc_label import build_label
from framehouse.pipeline.finish import ExplicitLabel
from tests.support.aigc_labels import labels_in
from tests.support.api_server import Api


def pixels_of(content: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def use_settings(api: Api, explicit: ExplicitLabel, producer: str) -> None:
    rules = api.deployment.rules
    finishing = replace(rules.finishing, explicit_label=explicit, label_producer=producer, watermark_text="")
    api.deployment.rules = replace(rules, finishing=finishing)


@pytest.mark.parametrize("explicit", ["watermark", "always"])
async def test_every_file_of_a_task_carries_the_implicit_label_of_its_image(api: Api, explicit: ExplicitLabel) -> None:
    use_settings(api, explicit, "001191110000MA01ABCD2X00001")
    api.deployment.start_worker()
    task = await api.create("一只狐狸", n=2, watermark_info={"enabled": True})
    await api.wait_for_task(task["task_id"])
    path = f"/v1/images/omni-image/{task['task_id']}?include=previews"
    images = (await api.alice.get(path)).json()["data"]["task_result"]["images"]
    for image in images:
        files = {
            name: (await api.anonymous.get(image[name])).content for name in ("url", "watermark_url", "preview_url")
        }
        label = build_label("001191110000MA01ABCD2X00001", UUID(task["task_id"]), image["index"])
        for content in files.values():
            assert labels_in(content) == [label]
        assert (image["url"] == image["watermark_url"]) == (explicit == "always")
        assert (files["url"] == files["watermark_url"]) == (explicit == "always")
        if explicit == "watermark":
            marked, _ = add_watermark(pixels_of(files["url"]), "AI生成")
            assert np.array_equal(pixels_of(files["watermark_url"]), marked)


async def test_with_always_images_have_the_watermark_without_a_request(api: Api) -> None:
    use_settings(api, "watermark", "")
    api.deployment.start_worker()
    plain = await api.wait_for_task((await api.create("一只狐狸", seed=7))["task_id"])
    worker, running = api.deployment.workers.pop()
    worker.stop()
    await running
    use_settings(api, "always", "")
    api.deployment.start_worker()
    labelled = await api.wait_for_task((await api.create("一只狐狸", seed=7))["task_id"])
    first, second = (task["task_result"]["images"][0] for task in (plain, labelled))
    assert "watermark_url" not in second
    clean, marked = [pixels_of((await api.anonymous.get(image["url"])).content) for image in (first, second)]
    assert np.array_equal(marked, add_watermark(clean, "AI生成")[0])
    assert not np.array_equal(marked, clean)
