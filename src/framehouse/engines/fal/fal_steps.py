"""The steps of an order: save it, send it, wait for its result, and fetch its images.

fal cannot look up a request whose id is not known. If the response to a request is lost, the route is therefore
excluded for the batch, and the request is never sent again.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pybase64
from numpy.typing import NDArray

from framehouse.adapters.fetch import FetchFailed, fetch, host_of
from framehouse.domain.cost import divide_cost
from framehouse.domain.errors import Broken, Declined, FramehouseError, Unavailable, Unknown
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import largest_within
from framehouse.engines.arrange import arrange_images, build_prompt
from framehouse.engines.fal.fal_arguments import fill_in, placeholder_values
from framehouse.engines.fal.fal_options import FalOptions
from framehouse.engines.fal.fal_orders import FalOrder, data_from_order
from framehouse.engines.fal.fal_queue import FalQueryFailed, FalQueue, FalResult, RequestFailed
from framehouse.engines.http_exchange import NotAccepted, OutcomeUnknown
from framehouse.engines.image_files import MAX_ANSWER_BYTES, ImageFile, read_answer
from framehouse.engines.interface import Batch, BatchLost, GeneratedImage, OpenOrder, Progress
from framehouse.engines.paid_account import PaidAccount
from framehouse.engines.plain_file import plain_file

log = logging.getLogger(__name__)
_FIRST_POLL_S, _LONGEST_POLL_S, _POLL_GROWTH = 0.2, 5.0, 1.5
_MAX_OUTAGE_S = 120.0
_MAX_PROCESSING_S = 3600.0
"""The time in seconds after which the worker is freed for other batches. The request is queried again later."""
"""The maximum time in seconds during which all queries may fail. After this time, `generate` raises Unknown to free the
worker. The saved order remains open."""
_FETCH_ATTEMPTS = 5
_CANCELLED_SUBMIT_S = 0.8
"""The time for which a cancelled call waits for the request id. A cancelled call must end within a second."""


@dataclass(frozen=True, slots=True)
class FalRoute:
    """The objects that all orders of a route share."""

    options: FalOptions
    queue: FalQueue
    account: PaidAccount


class FalOrderExecution:
    """The execution of one order. `shots` are the shots that the order generates."""

    def __init__(
        self, route: FalRoute, batch: Batch, open_order: OpenOrder, order: FalOrder, shots: Sequence[Shot]
    ) -> None:
        self._options, self._queue, self._account = route.options, route.queue, route.account
        self._batch = batch
        self._open_order = open_order
        self._order = order
        self._shots = shots
        self._hidden: tuple[str, ...] = (batch.prompt, *(shot.prompt for shot in batch.shots))
        self._contact_sheet = ""
        self._submit: asyncio.Task[None] | None = None
        self._cancelled = False
        self._ended = False

    async def run(
        self, missing: set[int], first_frame: bytes, *, resumed: bool
    ) -> AsyncGenerator[GeneratedImage | Progress, None]:
        """Send or resume the order, wait until it ends, and yield the images of the shots in `missing`."""
        if resumed and not self._order.request_id:
            await self._give_up("a worker ended before it received the response to a request")
        async with AsyncExitStack() as slot:
            if not resumed:
                await slot.enter_async_context(self._account.acquire())
                body = await self._request_body(first_frame)
                self._submit = asyncio.create_task(self._send(body))
                await self._wait_for_submit(self._submit)
            async with aclosing(self._poll()) as polls:
                async for progress in polls:
                    yield progress
            result = await self._read_result()
            images = _images_in(result.answer)
            costs = divide_cost(result.cost, min(len(images), len(self._order.shots)))
            for position, index in enumerate(self._order.shots):
                if index in missing:
                    image = await self._image(images, position)
                    yield GeneratedImage(index, image, self._facts(), costs[position])

    def _facts(self) -> dict[str, object]:
        sheet = {"contact_sheet": self._contact_sheet} if self._contact_sheet else {}
        return {"generated_by": self._order.model, **sheet}

    # --- sending ----------------------------------------------------------------------------------------------------

    async def _request_body(self, first_frame: bytes) -> bytes:
        """Return the arguments of the model as JSON. Uploads large references. Raises Unavailable and Broken."""
        options, shot = self._options, self._shots[0]
        arranged = await asyncio.to_thread(
            arrange_images,
            self._batch,
            max_images=max(1, options.max_references),
            cite=options.cite,
            first_frame=first_frame,
        )
        self._contact_sheet = arranged.contact_sheet
        prompt = build_prompt(shot, self._batch, arranged)
        self._hidden = (prompt, *self._hidden)
        try:
            urls = [await self._file_url(file, number) for number, file in enumerate(arranged.files, 1)]
        except NotAccepted as error:
            self._account.start_cooldown(error)
            raise Unavailable(f"fal's storage {error.reason}") from error
        values = placeholder_values(
            prompt=prompt,
            negative_prompt=self._batch.options.negative_prompt,
            size=largest_within(self._batch.size, options.max_pixels),
            count=len(self._shots),
            seed=shot.seed,
            urls=urls,
        )
        filled = fill_in(options.arguments, values)
        return await asyncio.to_thread(lambda: json.dumps(filled, ensure_ascii=False).encode())

    async def _file_url(self, file: bytes, number: int) -> str:
        """Return the URL of an uploaded file, or a data URL that contains a small file."""
        file = await asyncio.to_thread(plain_file, file, convert_colours=self._options.convert_colours, opaque=True)
        ending = "png" if file.startswith(b"\x89PNG") else "jpeg"
        if len(file) > self._options.upload_above_bytes:
            return await self._queue.upload(file, f"{number}.{ending}", f"image/{ending}")
        return f"data:image/{ending};base64,{pybase64.b64encode(file).decode()}"

    async def _send(self, body: bytes) -> None:
        """Save the order, send it once, and save its request id. If the call is cancelled early, nothing is sent.

        Raises Unavailable if the request was not accepted, Unknown if the response is lost, and also Declined, Broken
        and BatchLost.
        """
        await self._open_order.save(data_from_order(self._order))
        if self._cancelled:
            await self._open_order.save({})
            return
        try:
            self._order = await self._queue.submit(
                self._order, body, self._open_order.upstream_callback_url, self._hidden
            )
        except NotAccepted as error:
            self._account.start_cooldown(error)
            await self._open_order.save({})
            raise Unavailable(f"fal {error.reason}") from error
        except (Declined, Broken):
            await self._open_order.save({})
            raise
        except OutcomeUnknown as error:
            self._account.start_cooldown(error)
            await self._give_up(f"fal {error.reason}")
        await self._open_order.save(data_from_order(self._order))
        self._account.end_cooldown()

    async def _give_up(self, reason: str) -> None:
        """Exclude the route for the batch, and raise Unknown. The request may have been paid for."""
        await self._open_order.give_up(reason)
        raise Unknown(reason)

    async def _wait_for_submit(self, submit: "asyncio.Task[None]") -> None:
        """Wait for the request id. If the call is cancelled, wait a moment longer, so that the id is not lost."""
        try:
            await asyncio.shield(submit)
        except asyncio.CancelledError:
            self._cancelled = True
            await asyncio.wait([submit], timeout=_CANCELLED_SUBMIT_S)
            raise

    # --- waiting ----------------------------------------------------------------------------------------------------

    async def _poll(self) -> AsyncGenerator[Progress, None]:
        """Query the status of the request repeatedly, with increasing pauses, until the request has ended.

        A failed query does not fail the request. Raises Unknown if queries fail for longer than `_MAX_OUTAGE_S`, or if
        the request does not end within `_MAX_PROCESSING_S`.
        """
        pause_s, last_answer = _FIRST_POLL_S, time.monotonic()
        end = last_answer + _MAX_PROCESSING_S
        while True:
            if time.monotonic() > end:
                raise Unknown(f"fal did not end the request within {_MAX_PROCESSING_S:.0f} s")
            answer = await self._queue.status(self._order)
            if isinstance(answer, FalQueryFailed):
                self._check_outage(answer, last_answer)
            elif answer.ended:
                self._ended = True
                return
            else:
                last_answer = time.monotonic()
                yield Progress(0.5 if answer.running else 0.0)
            await self._open_order.pause(pause_s)
            pause_s = min(_LONGEST_POLL_S, pause_s * _POLL_GROWTH)

    async def _read_result(self) -> FalResult:
        """Return the result of the request. Raises Unavailable, Unknown, Declined and Broken."""
        pause_s, began = _FIRST_POLL_S, time.monotonic()
        while True:
            try:
                answer = await self._queue.result(self._order, self._hidden)
            except RequestFailed as error:
                reason = f"fal {error.reason}"
                await self._open_order.give_up(reason)
                raise Unavailable(reason) from error
            if not isinstance(answer, FalQueryFailed):
                return answer
            self._check_outage(answer, began)
            await self._open_order.pause(pause_s)
            pause_s = min(_LONGEST_POLL_S, pause_s * _POLL_GROWTH)

    def _check_outage(self, failure: FalQueryFailed, since: float) -> None:
        if time.monotonic() - since > _MAX_OUTAGE_S:
            raise Unknown(f"fal {failure.reason}")

    # --- images -----------------------------------------------------------------------------------------------------

    async def _image(self, images: Sequence["_ReturnedImage"], position: int) -> NDArray[np.uint8] | ImageFile:
        """Fetch and decode an image of the result. Raises Declined, Broken and Unknown."""
        if position >= len(images):
            raise Broken(f"fal returned {len(images)} of {len(self._order.shots)} images")
        image = images[position]
        if image.unsafe:
            raise Declined("fal flagged the generated image as not safe for work")
        if image.url.startswith("data:"):
            return await asyncio.to_thread(_read_data_url, image.url)
        return await self._fetch_image(image.url, position)

    async def _fetch_image(self, url: str, position: int) -> NDArray[np.uint8] | ImageFile:
        """Fetch and decode an image.

        The method makes up to five attempts, because the image is already paid for. If all attempts fail, the method
        raises Unknown if a later attempt may succeed. Otherwise, it raises Broken.
        """
        failure: Broken | Unknown | None = None
        for attempt in range(_FETCH_ATTEMPTS):
            if attempt:
                await self._open_order.pause(2.0 ** (attempt - 1))
            try:
                content = await fetch(
                    url,
                    max_bytes=MAX_ANSWER_BYTES,
                    allow_private=self._options.allow_private_addresses,
                    private_host=host_of(self._queue.queue_url),
                )
                return await asyncio.to_thread(read_answer, content)
            except FetchFailed as error:
                message = f"image {position + 1} from fal {error.message}"
                failure = Unknown(message) if error.retry else Broken(message)
            except Broken as error:
                failure = error
            log.warning("request %s: %s", self._order.request_id, failure.message)
        assert failure is not None  # the loop has run at least once
        raise failure

    async def cancel_if_unwanted(self) -> None:
        """Cancel the request at fal if our task has ended, because the images are then no longer needed.

        A request that has already ended is not cancelled.
        """
        if self._submit is not None:
            with suppress(FramehouseError, BatchLost):
                await self._submit
        if self._order.request_id and not self._ended and not await self._open_order.is_wanted():
            await self._queue.cancel(self._order)


@dataclass(frozen=True, slots=True)
class _ReturnedImage:
    url: str
    unsafe: bool


def _images_in(answer: Mapping[str, Any]) -> list[_ReturnedImage]:
    """Return the images in a result, which has a list `images` or one `image`.

    Raises Broken if the result has another form.
    """
    images = answer.get("images", [answer.get("image")])
    flags = answer.get("has_nsfw_concepts")
    flags = flags if isinstance(flags, list) else [flags]
    if not isinstance(images, list):
        raise Broken("fal returned a result without images")
    values = [image.get("url") if isinstance(image, dict) else image for image in images]
    urls = [url for url in values if isinstance(url, str) and url]
    if not urls or len(urls) < len(values):
        raise Broken("fal returned a result without images")
    return [_ReturnedImage(url, number < len(flags) and flags[number] is True) for number, url in enumerate(urls)]


def _read_data_url(url: str) -> NDArray[np.uint8] | ImageFile:
    """Decode the image in a data URL. Blocks the calling thread."""
    head, _, data = url.partition(",")
    try:
        if not head.endswith(";base64"):
            raise ValueError
        content = pybase64.b64decode(data, validate=True)
    except ValueError as error:
        raise Broken("fal returned an image that is not valid base64") from error
    return read_answer(content)
