"""The tests that every engine must pass. Subclass `EngineContract` in a test module and override its `engine` fixture.

The tests need pytest and pytest-asyncio (in any of its modes): `pip install framehouse[testing]`.
docs/writing-an-engine.md contains an example.
"""

import asyncio
import io
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image

from framehouse.domain.expansion import Expansion, layout
from framehouse.domain.shot import FRAMINGS, Shot
from framehouse.domain.sizes import RATIOS, Size, size_of
from framehouse.domain.task import RequestOptions
from framehouse.engines.interface import Batch, BatchLost, Engine, GeneratedImage, Progress, ReferenceImage
from framehouse.engines.unsaved_order import UnsavedOrder

SMALL = Size(1024, 1024)


def batch(*, shots: int = 1, size: Size = SMALL, references: int = 0, prompt: str = "a red fox in the snow") -> Batch:
    batch_shots = tuple(Shot(n, prompt, FRAMINGS[n % len(FRAMINGS)], 100 + n) for n in range(shots))
    reference_images = tuple(ReferenceImage(_png(400, 300), 400, 300) for _ in range(references))
    return Batch(str(uuid4()), batch_shots, shots, size, reference_images, model="kling-v3-omni", prompt=prompt)


def _png(width: int, height: int) -> bytes:
    return _encoded(Image.new("RGB", (width, height), (200, 80, 40)))


def _encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def mask() -> ReferenceImage:
    """A mask for the references of `batch`. An area in the middle of the image is edited."""
    image = Image.new("L", (400, 300), 0)
    image.paste(255, (120, 60, 300, 240))
    return ReferenceImage(_encoded(image), 400, 300, "mask")


async def generate(engine: Engine, request: Batch) -> list[GeneratedImage | Progress]:
    async with aclosing(engine.generate(request)) as events:  # type: ignore[type-var]
        return [event async for event in events]


def images(events: list[GeneratedImage | Progress]) -> list[GeneratedImage]:
    return [event for event in events if isinstance(event, GeneratedImage)]


class LostOrder(UnsavedOrder):
    """The open order of a batch that another worker has claimed."""

    async def save(self, data: Mapping[str, Any]) -> None:
        raise BatchLost


class EngineContract:
    """The test suite. Each test uses the fixture `engine`, which a subclass must override."""

    @pytest.fixture
    def engine(self) -> Engine:
        raise NotImplementedError("override the fixture `engine` in your subclass of EngineContract")

    @pytest.mark.asyncio
    async def test_generates_each_shot_once(self, engine: Engine) -> None:
        max_batch = engine.abilities().max_batch
        generated = images(await generate(engine, batch(shots=max_batch)))
        assert sorted(image.index for image in generated) == list(range(max_batch))

    @pytest.mark.asyncio
    async def test_images_are_rgb(self, engine: Engine) -> None:
        for generated in images(await generate(engine, batch())):
            assert generated.pixels.dtype == np.uint8
            assert generated.pixels.ndim == 3
            assert generated.pixels.shape[2] == 3

    @pytest.mark.asyncio
    @pytest.mark.parametrize("ratio", RATIOS)
    async def test_images_have_the_requested_aspect_ratio(self, engine: Engine, ratio: str) -> None:
        size = size_of(ratio, "1k")
        generated = images(await generate(engine, batch(size=size)))[0]
        height, width = generated.pixels.shape[:2]
        assert width / height == pytest.approx(size.width / size.height, rel=0.02)

    @pytest.mark.asyncio
    async def test_progress_is_between_0_and_1(self, engine: Engine) -> None:
        shares = [e.share for e in await generate(engine, batch()) if isinstance(e, Progress)]
        assert all(0 <= share <= 1 for share in shares)

    @pytest.mark.asyncio
    async def test_the_same_seed_gives_the_same_image(self, engine: Engine) -> None:
        if not engine.abilities().seeds:
            pytest.skip("the engine does not support seeds")
        first, second = [images(await generate(engine, batch()))[0].pixels for _ in range(2)]
        assert np.array_equal(first, second)

    @pytest.mark.asyncio
    async def test_another_seed_gives_another_image(self, engine: Engine) -> None:
        first, second = [
            images(await generate(engine, replace(batch(), shots=(Shot(0, "a fox", "", seed),))))[0].pixels
            for seed in (1, 2)
        ]
        assert not np.array_equal(first, second)

    @pytest.mark.asyncio
    async def test_accepts_its_maximum_number_of_references(self, engine: Engine) -> None:
        max_references = min(10, engine.abilities().max_references)
        assert len(images(await generate(engine, batch(references=max_references)))) == 1

    @pytest.mark.asyncio
    async def test_accepts_a_negative_prompt(self, engine: Engine) -> None:
        request = replace(batch(), kind="generations", options=RequestOptions(negative_prompt="snow, blurry"))
        assert len(images(await generate(engine, request))) == 1

    @pytest.mark.asyncio
    @pytest.mark.parametrize("expansion", [Expansion(up=0.5, left=0.25, right=0.25), Expansion(right=1.3)])
    async def test_expanded_images_have_the_requested_aspect_ratio(self, engine: Engine, expansion: Expansion) -> None:
        if not engine.abilities().expansions:
            pytest.skip("the engine does not expand images")
        size, box = layout(expansion, 400, 300)
        original = ReferenceImage(_png(400, 300), 400, 300, "original")
        request = replace(
            batch(size=size),
            references=(original,),
            kind="expand",
            options=RequestOptions(expansion=expansion),
            box=box,
        )
        (generated,) = images(await generate(engine, request))
        height, width = generated.pixels.shape[:2]
        assert width / height == pytest.approx(size.width / size.height, rel=0.1)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("ratio", ["1:1", "16:9"])
    async def test_edits_with_a_mask_have_the_requested_aspect_ratio(self, engine: Engine, ratio: str) -> None:
        abilities = engine.abilities()
        if not abilities.masks:
            pytest.skip("the engine does not use masks")
        size = size_of(ratio, "1k")
        for references in sorted({1, min(10, abilities.masked_references)}):
            request = replace(batch(size=size, references=references), mask=mask())
            (generated,) = images(await generate(engine, request))
            height, width = generated.pixels.shape[:2]
            assert width / height == pytest.approx(size.width / size.height, rel=0.1)

    @pytest.mark.asyncio
    async def test_ten_concurrent_calls(self, engine: Engine) -> None:
        calls = await asyncio.gather(*(generate(engine, batch()) for _ in range(10)))
        assert all(len(images(events)) == 1 for events in calls)

    @pytest.mark.asyncio
    async def test_cancelling_stops_a_call(self, engine: Engine) -> None:
        task = asyncio.create_task(generate(engine, batch(size=size_of("1:1", "4k"))))
        await asyncio.sleep(0.01)
        if task.done():
            return  # the call ended before it could be cancelled
        task.cancel()
        for _ in range(100 if engine.abilities().cancel else 6000):  # one second or one minute
            if task.done():
                break
            # count steps instead of measuring the time, because a busy machine may pause the whole process
            await asyncio.sleep(0.01)
        assert task.done(), "the cancelled call did not end in time"
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(images(await generate(engine, batch()))) == 1

    @pytest.mark.asyncio
    async def test_a_paid_engine_saves_an_order_before_it_sends_a_request(self, engine: Engine) -> None:
        if not engine.abilities().paid:
            pytest.skip("the images of the engine cost nothing")
        with pytest.raises(BatchLost):
            await generate(engine, replace(batch(), open_order=LostOrder()))
