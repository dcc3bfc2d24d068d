"""The gemini engine. It sends one paid request for each image, and never repeats a request whose response was lost."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from framehouse.adapters.fetch import host_of
from framehouse.domain.errors import Broken, Declined, Unavailable, Unknown
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import RESOLUTIONS
from framehouse.engines.arrange import ArrangedImages, arrange_images, build_prompt
from framehouse.engines.gemini.gemini_answers import GeminiImage, error_from_gemini, read_image
from framehouse.engines.gemini.gemini_requests import request_body
from framehouse.engines.http_exchange import NotAccepted, OutcomeUnknown, open_client, send_request
from framehouse.engines.image_files import MAX_ANSWER_BYTES, answer_file
from framehouse.engines.interface import Abilities, Batch, GeneratedImage, HealthCheck, OpenOrder, Progress
from framehouse.engines.option_checks import (
    BadOption,
    as_json,
    check_bool,
    check_cite,
    check_integer,
    check_key,
    check_number,
    check_url,
)
from framehouse.engines.paid_account import PaidAccount
from framehouse.engines.recorded_request import check_recorded_request, recorded_request
from framehouse.engines.token_prices import check_token_prices
from framehouse.engines.unsaved_order import UnsavedOrder

if TYPE_CHECKING:
    import httpx

_URL = "https://generativelanguage.googleapis.com/v1beta"
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_HEALTH_TIMEOUT_S = 10.0
_MAX_HEALTH_BYTES = 1_000_000


class Gemini:
    """An engine that buys images from the Gemini API. docs/engines/gemini.md explains the options.

    `model`: the name of the model, such as "gemini-2.5-flash-image".
    `api_key`: the key of the account.
    `base_url`: the URL to which "/models/" is appended.
    `max_references`: the maximum number of images in a request. 0 means that tasks with references use other routes.
    `max_resolution`: the largest resolution that the model generates: "1k", "2k" or "4k".
    `concurrency`: the maximum number of concurrent requests per worker process.
    `cite`: the text that refers to an input image in a prompt.
    `timeout_s`: the time limit for a response.
    `convert_colours`: true to convert references with a colour profile other than sRGB.
    `token_prices`: the prices of tokens, from which the cost of an image is calculated.
    """

    def __init__(
        self,
        *,
        model: str,
        api_key: str,
        base_url: str = _URL,
        max_references: int | None = None,
        max_resolution: str | None = None,
        concurrency: int = 8,
        cite: str = "image {}",
        timeout_s: float = 300,
        convert_colours: bool = True,
        token_prices: object = None,
    ) -> None:
        if not isinstance(model, str) or not _MODEL.fullmatch(model):
            raise BadOption('model must be the name of a model, such as "gemini-2.5-flash-image"')
        fixed_resolution = model.startswith("gemini-2.5-")
        self._model = model
        self._api_key = check_key("api_key", api_key)
        self._base_url = check_url("base_url", base_url)
        self._max_references = check_integer(
            "max_references", (3 if fixed_resolution else 14) if max_references is None else max_references, 0, 100
        )
        self._max_resolution = ("1k" if fixed_resolution else "4k") if max_resolution is None else max_resolution
        if self._max_resolution not in RESOLUTIONS:
            raise BadOption(f"max_resolution must be 1k, 2k or 4k; it is {as_json(max_resolution)}")
        self._concurrency = check_integer("concurrency", concurrency, 1, 1000)
        self._cite = check_cite(cite)
        self._timeout_s = check_number("timeout_s", timeout_s, 0.1, 7200)
        self._convert_colours = check_bool("convert_colours", convert_colours, True)
        self._token_prices = check_token_prices(token_prices)
        self._account = PaidAccount("Gemini", concurrency=self._concurrency)
        self._client: httpx.AsyncClient | None = None

    def abilities(self) -> Abilities:
        return Abilities(
            max_references=10 if self._max_references else 0,
            whole_series=self._max_references > 0,
            concurrency=self._concurrency,
            seeds=False,
            paid=True,
        )

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        open_order = batch.open_order or UnsavedOrder()
        await check_recorded_request(open_order, batch.shots)
        shows_first_frame = batch.series and self._max_references > 0
        first_frame = batch.first_frame.content if shows_first_frame and batch.first_frame else b""
        for done, shot in enumerate(batch.shots):
            yield Progress(done / len(batch.shots))
            arranged = await asyncio.to_thread(
                arrange_images, batch, max_images=max(1, self._max_references), cite=self._cite, first_frame=first_frame
            )
            returned = await self._buy_image(batch, shot, arranged, open_order)
            if shows_first_frame and not first_frame:
                first_frame = await asyncio.to_thread(answer_file, returned.image)
            facts: dict[str, object] = {"generated_by": returned.model or self._model}
            if returned.total_tokens:
                facts["tokens"] = returned.total_tokens
            if arranged.contact_sheet:
                facts["contact_sheet"] = arranged.contact_sheet
            prices, tokens = self._token_prices, returned.tokens
            cost = prices.cost(tokens) if prices and tokens else None
            yield GeneratedImage(shot.index, returned.image, facts, cost)
            await open_order.save({})

    async def _buy_image(
        self, batch: Batch, shot: Shot, arranged: ArrangedImages, open_order: OpenOrder
    ) -> GeminiImage:
        """Record and send one request, and return its image.

        Raises Unavailable if nothing was sent or the request was clearly refused, and Unknown if the response is lost.
        Also raises Declined and Broken.
        """
        prompt = build_prompt(shot, batch, arranged)
        hidden = (prompt, shot.prompt, batch.prompt, self._api_key)
        async with self._account.acquire():
            body = await asyncio.to_thread(
                request_body,
                prompt,
                arranged.files,
                batch.size,
                max_resolution=self._max_resolution,
                convert_colours=self._convert_colours,
            )
            try:
                async with recorded_request(open_order, [shot]):
                    reply = await send_request(
                        self._http_client(),
                        "POST",
                        f"{self._base_url}/models/{self._model}:generateContent",
                        timeout_s=self._timeout_s,
                        max_bytes=MAX_ANSWER_BYTES,
                        content=body,
                    )
                    if reply.status != 200:
                        raise error_from_gemini(reply, hidden)
                    self._account.end_cooldown()
                    return await asyncio.to_thread(read_image, reply.body, hidden)
            except NotAccepted as error:
                self._account.start_cooldown(error)
                raise Unavailable(f"Gemini {error.reason}") from error
            except OutcomeUnknown as error:
                self._account.start_cooldown(error)
                raise Unknown(f"Gemini {error.reason}") from error

    async def check(self) -> list[HealthCheck]:
        """Request the description of the model, which costs nothing."""
        failure: NotAccepted | OutcomeUnknown | None = None
        try:
            reply = await send_request(
                self._http_client(),
                "GET",
                f"{self._base_url}/models/{self._model}",
                timeout_s=_HEALTH_TIMEOUT_S,
                max_bytes=_MAX_HEALTH_BYTES,
            )
            if reply.status != 200:
                raise error_from_gemini(reply, (self._api_key,))
        except (NotAccepted, OutcomeUnknown) as error:
            failure = error
        except (Broken, Declined) as error:
            failure = OutcomeUnknown(f"did not accept the health check: {error.message}")
        subject = f"{self._model} at {host_of(self._base_url)}"
        return [self._account.health(subject, failure, healthy="Gemini accepts the key and has the model")]

    def _http_client(self) -> "httpx.AsyncClient":
        """Return the HTTP client. The first call creates the client."""
        if self._client is None:
            headers = {"x-goog-api-key": self._api_key, "Content-Type": "application/json"}
            self._client = open_client(headers)
        return self._client

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None
