"""A paid request is recorded before it is sent, and is never repeated if a worker ends before the image is saved."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from framehouse.domain.errors import Broken, Declined, Unavailable, Unknown
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import Size
from framehouse.engines.gemini import Gemini
from framehouse.engines.interface import Batch, Engine, GeneratedImage
from framehouse.engines.openai_images import OpenAIImages
from framehouse.testing.engine_contract import generate, images
from tests.support import gemini_server, openai_server
from tests.support.eventually import eventually
from tests.support.recorded_order import RecordedOrder


@dataclass
class Service:
    """A stand-in server and a function that creates an engine, as a new worker process would."""

    server: Any
    create_engine: Callable[[], Engine]

    async def generate(self, order: RecordedOrder, shots: tuple[int, ...] = (0, 1)) -> list[GeneratedImage]:
        """Generate the images of these shots with a new engine. The shots have different prompts."""
        engine = self.create_engine()
        try:
            return images(await generate(engine, batch_of(order, shots)))
        finally:
            await engine.close()


def batch_of(order: RecordedOrder, shots: tuple[int, ...]) -> Batch:
    all_shots = tuple(Shot(number, f"fox {number}", "", 100 + number) for number in shots)
    return Batch("task", all_shots, 2, Size(1024, 1024), prompt="foxes", open_order=order)


@asynccontextmanager
async def gemini() -> AsyncIterator[Service]:
    async with gemini_server.serving() as server:
        yield Service(server, lambda: Gemini(base_url=server.url, api_key=server.key, model=server.model))


@asynccontextmanager
async def openai(*, paid: bool | None = None) -> AsyncIterator[Service]:
    async with openai_server.serving("openai") as server:
        options = {} if paid is None else {"paid": paid}
        yield Service(
            server,
            lambda: OpenAIImages(kind="openai", base_urls=[server.url], model="m", max_pixels=65_536, **options),
        )


SERVICES = pytest.mark.parametrize("service", [gemini, openai])


async def cancel_during_a_request(service: Service, order: RecordedOrder) -> None:
    """Generate until the server has received the first request, and then end as a worker does that stops."""
    service.server.gate = asyncio.Event()
    call = asyncio.create_task(service.generate(order))

    async def is_received() -> bool:
        return bool(service.server.posts)

    await eventually(is_received)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    service.server.gate = None


@SERVICES
async def test_a_request_without_a_response_is_not_repeated_by_the_next_worker(service: Any) -> None:
    order = RecordedOrder()
    async with service() as running:
        await cancel_during_a_request(running, order)
        assert order.data == {"request": [0]}
        with pytest.raises(Unknown, match="a worker ended before it received or saved the images of a request"):
            await running.generate(RecordedOrder(order.data))
    assert len(running.server.posts) == 1


@SERVICES
async def test_an_image_that_was_not_saved_is_not_generated_again(service: Any) -> None:
    order = RecordedOrder()
    async with service() as running:
        engine = running.create_engine()
        async with aclosing(engine.generate(batch_of(order, (0, 1)))) as events:
            async for event in events:
                if isinstance(event, GeneratedImage):
                    break  # the worker ends before it has saved this image
        await engine.close()
        again = RecordedOrder(order.data)
        with pytest.raises(Unknown):
            await running.generate(again)
        assert again.given_up
    assert len(running.server.posts) == 1


@SERVICES
async def test_a_record_of_saved_images_does_not_prevent_the_other_images(service: Any) -> None:
    order = RecordedOrder({"request": [0]})
    async with service() as running:
        (image,) = await running.generate(order, shots=(1,))
    assert image.index == 1
    assert order.data == {}


@SERVICES
async def test_each_request_has_a_record_that_ends_when_the_images_are_saved(service: Any) -> None:
    order = RecordedOrder()
    async with service() as running:
        assert len(await running.generate(order)) == 2
    assert order.saved == [{"request": [0]}, {}, {"request": [1]}, {}]


def _refuse(server: Any) -> None:
    server.faults.append((429, {}, "slow down") if isinstance(server, openai_server.ModelServer) else (429, {}, b"{}"))


def _decline(server: Any) -> None:
    message = {"error": {"message": "no", "code": "moderation_blocked"}}
    is_openai = isinstance(server, openai_server.ModelServer)
    server.faults.append((400, {}, message) if is_openai else lambda answer: {"promptFeedback": {"blockReason": "X"}})


def _damage(server: Any) -> None:
    is_openai = isinstance(server, openai_server.ModelServer)
    server.faults.append("garbage" if is_openai else lambda answer: {"candidates": 3})


@SERVICES
@pytest.mark.parametrize(
    ("fault", "error"),
    [(_refuse, Unavailable), (_decline, Declined), (_damage, Broken)],
    ids=["refused", "declined", "damaged"],
)
async def test_no_record_is_left_if_the_result_is_known(service: Any, fault: Any, error: type[Exception]) -> None:
    order = RecordedOrder()
    async with service() as running:
        fault(running.server)
        with pytest.raises(error):
            await running.generate(order)
    assert order.saved == [{"request": [0]}, {}]
    assert not order.given_up


@SERVICES
async def test_a_lost_response_excludes_the_route(service: Any) -> None:
    order = RecordedOrder()
    async with service() as running:
        running.server.faults.append("cut")
        with pytest.raises(Unknown):
            await running.generate(order)
    assert order.given_up
    assert order.data == {}


async def test_requests_to_a_free_server_are_not_recorded_and_are_repeated() -> None:
    order = RecordedOrder()
    async with openai(paid=False) as running:
        await cancel_during_a_request(running, order)
        assert len(await running.generate(order)) == 2
    assert order.saved == []
