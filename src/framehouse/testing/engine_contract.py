"""The tests that every engine must pass. Subclass `EngineContract` in a test module and override its `engine` fixture.

It needs pytest and pytest-asyncio, in any mode: `pip install framehouse[testing]`. docs/engines.md has an example.
"""

import asyncio
import io
from contextlib import aclosing
from dataclasses import replace
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image

from framehouse.domain.shot import FRAMINGS, Shot
from framehouse.domain.sizes import RATIOS, Size, size_of
from framehouse.engines.interface import Batch, Engine, GeneratedImage, Progress, ReferenceImage

SMALL = Size(1024, 1024)


def batch(*, shots: int = 1, size: Size = SMALL, references: int = 0, prompt: str = "a red fox in the snow") -> Batch:
    made = tuple(Shot(n, prompt, FRAMINGS[n % len(FRAMINGS)], 100 + n) for n in range(shots))
    sent = tuple(ReferenceImage(_png(400, 300), 400, 300) for _ in range(references))
    return Batch(str(uuid4()), made, shots, size, sent, model="kling-v3-omni", prompt=prompt)


def _png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 80, 40)).save(buffer, "PNG")
    return buffer.getvalue()


async def generate(engine: Engine, wanted: Batch) -> list[GeneratedImage | Progress]:
    async with aclosing(engine.generate(wanted)) as events:  # type: ignore[type-var]
        return [event async for event in events]


def images(events: list[GeneratedImage | Progress]) -> list[GeneratedImage]:
    return [event for event in events if isinstance(event, GeneratedImage)]


class EngineContract:
    """The suite. Each test gets the engine from the fixture `engine`, which a subclass overrides."""

    @pytest.fixture
    def engine(self) -> Engine:
        raise NotImplementedError("override the fixture `engine` in your subclass of EngineContract")

    @pytest.mark.asyncio
    async def test_paints_each_shot_once(self, engine: Engine) -> None:
        most = engine.abilities().max_batch
        generated = images(await generate(engine, batch(shots=most)))
        assert sorted(p.index for p in generated) == list(range(most))

    @pytest.mark.asyncio
    async def test_pictures_are_rgb(self, engine: Engine) -> None:
        for generated in images(await generate(engine, batch())):
            assert generated.pixels.dtype == np.uint8
            assert generated.pixels.ndim == 3
            assert generated.pixels.shape[2] == 3

    @pytest.mark.asyncio
    @pytest.mark.parametrize("ratio", RATIOS)
    async def test_every_shape_comes_out_in_that_shape(self, engine: Engine, ratio: str) -> None:
        size = size_of(ratio, "1k")
        generated = images(await generate(engine, batch(size=size)))[0]
        height, width = generated.pixels.shape[:2]
        assert width / height == pytest.approx(size.width / size.height, rel=0.02)

    @pytest.mark.asyncio
    async def test_progress_never_leaves_0_to_1(self, engine: Engine) -> None:
        shares = [e.share for e in await generate(engine, batch()) if isinstance(e, Progress)]
        assert all(0 <= share <= 1 for share in shares)

    @pytest.mark.asyncio
    async def test_the_same_seed_paints_the_same(self, engine: Engine) -> None:
        if not engine.abilities().seeds:
            pytest.skip("has no seeds")
        first, second = [images(await generate(engine, batch()))[0].pixels for _ in range(2)]
        assert np.array_equal(first, second)

    @pytest.mark.asyncio
    async def test_another_seed_paints_something_else(self, engine: Engine) -> None:
        one, other = [
            images(await generate(engine, replace(batch(), shots=(Shot(0, "a fox", "", seed),))))[0].pixels
            for seed in (1, 2)
        ]
        assert not np.array_equal(one, other)

    @pytest.mark.asyncio
    async def test_takes_as_many_references_as_it_says(self, engine: Engine) -> None:
        most = min(10, engine.abilities().max_references)
        assert len(images(await generate(engine, batch(references=most)))) == 1

    @pytest.mark.asyncio
    async def test_ten_at_once(self, engine: Engine) -> None:
        answers = await asyncio.gather(*(generate(engine, batch()) for _ in range(10)))
        assert all(len(images(events)) == 1 for events in answers)

    @pytest.mark.asyncio
    async def test_cancelling_ends_it(self, engine: Engine) -> None:
        task = asyncio.create_task(generate(engine, batch(size=size_of("1:1", "4k"))))
        await asyncio.sleep(0.01)
        if task.done():
            return  # it was faster than the telling
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            async with asyncio.timeout(1 if engine.abilities().cancel else 60):
                await task
        assert len(images(await generate(engine, batch()))) == 1
