"""The openai_images engine. It groups shots into requests, and sends each request to the least busy replica."""

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from framehouse.domain.cost import Cost, divide_cost
from framehouse.domain.errors import Broken, Declined, Unavailable, Unknown
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import Size
from framehouse.engines.arrange import ArrangedImages, arrange_images, build_prompt
from framehouse.engines.error_replies import error_from_reply
from framehouse.engines.http_exchange import NotAccepted, OutcomeUnknown, Reply
from framehouse.engines.image_files import answer_file, png_file
from framehouse.engines.interface import Abilities, Batch, GeneratedImage, HealthCheck, OpenOrder, Progress
from framehouse.engines.masked_canvas import draw_edit_canvas
from framehouse.engines.openai_images.compatible_requests import nearest_size, series_length, series_shot
from framehouse.engines.openai_images.openai_images_options import check_options
from framehouse.engines.openai_images.replica_probes import ReplicaProbes
from framehouse.engines.openai_images.reported_costs import cost_of_request
from framehouse.engines.openai_images.returned_images import (
    DownloadFailed,
    ReturnedImage,
    ReturnedImages,
    decode_images,
    read_images,
)
from framehouse.engines.openai_images.server_client import ServerClient
from framehouse.engines.openai_images.server_health import ServerHealth
from framehouse.engines.openai_images.server_kinds import ServerRequest, generated_size, mask_file, masked_size
from framehouse.engines.plain_file import plain_file
from framehouse.engines.recorded_request import check_recorded_request, recorded_request
from framehouse.engines.replicas import Replica, Replicas
from framehouse.engines.unsaved_order import UnsavedOrder

log = logging.getLogger(__name__)
_PROBE_SIZE = Size(512, 512)


class OpenAIImages:
    """An engine for one model on one or more servers of the same kind.

    docs/engines/openai-images.md explains the options.

    The engine never repeats a request that a server may have accepted. If the response is lost, `generate` raises
    Unknown for a paid request, and Unavailable for a free request.
    """

    __signature__ = inspect.signature(check_options)

    def __init__(self, **options: Any) -> None:
        self._options = check_options(**options)
        self._kind = self._options.kind
        self._native_series = self._options.compatible is not None and self._options.compatible.native_series
        self._replicas = Replicas(self._options.urls, concurrency=self._options.concurrency)
        self._client = ServerClient(self._options)
        self._probes = ReplicaProbes(self._options, self._client)
        self._health = ServerHealth(self._options, self._replicas, self._client, self._probes)

    def abilities(self) -> Abilities:
        return Abilities(
            max_references=10 if self._options.max_references else 0,
            max_batch=self._options.max_n,
            whole_series=self._options.max_references > 0,
            concurrency=len(self._replicas.all) * self._options.concurrency,
            seeds=self._kind.seeds,
            negative_prompts=self._kind.negative_prompts,
            expansions=self._options.masks and self._options.max_references > 0,
            masks=self._options.masks and self._options.max_references > 0,
            masked_references=10 if min(self._kind.masked_references, self._options.max_references) > 1 else 1,
            paid=self._options.paid,
        )

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        open_order = (batch.open_order if self._options.paid else None) or UnsavedOrder()
        await check_recorded_request(open_order, batch.shots)
        shows_first_frame = batch.series and self._options.max_references > 0
        first_frame = batch.first_frame.content if shows_first_frame and batch.first_frame else b""
        missing = list(batch.shots)
        while missing:
            yield Progress(1 - len(missing) / len(batch.shots))
            shots = self._next_group(batch, missing, first_frame)
            returned, cost, facts = await self._generate_group(batch, shots, first_frame, open_order)
            shares = iter(divide_cost(cost, len([image for image in returned if image])))
            for shot, image in zip(shots, returned, strict=False):
                if image is None:
                    continue
                if shows_first_frame and not first_frame:
                    first_frame = await asyncio.to_thread(answer_file, image.image)
                missing.remove(shot)
                revised = {"revised_prompt": image.prompt} if image.prompt else {}
                yield GeneratedImage(shot.index, image.image, {**facts, **revised}, next(shares))
            await open_order.save({})

    def _next_group(self, batch: Batch, shots: Sequence[Shot], first_frame: bytes) -> Sequence[Shot]:
        """Return the first of the missing `shots`, and the directly following shots that can share its request.

        Shots can share a request if they have the same prompt and framing. If the server supports seeds, the seed of
        each shot must also be one higher than the seed of the previous shot. At most `max_n` shots share a request. The
        first image of a series has its own request, because the other images are generated from it. If the service
        generates a series in one request, the result contains as many shots as this request can have.
        """
        max_references = self._options.max_references
        if batch.series and self._native_series:
            return shots[: series_length(batch, shots, max_references, first_frame=bool(first_frame))]
        first, count = shots[0], 1
        max_n = 1 if batch.series and max_references and not first_frame else self._options.max_n
        for shot in shots[1:max_n]:
            same_words = (shot.prompt, shot.framing) == (first.prompt, first.framing)
            if not same_words or (self._kind.seeds and shot.seed != first.seed + count):
                break
            count += 1
        return shots[:count]

    async def _generate_group(
        self, batch: Batch, shots: Sequence[Shot], first_frame: bytes, open_order: OpenOrder
    ) -> tuple[Sequence[ReturnedImage | None], Cost | None, dict[str, object]]:
        """Return the images of the shots, their cost, and additional metadata. See `_request_images`.

        Another replica is tried only if nothing was sent to the previous replica, or if the previous replica clearly
        refused the request. If the batch has references or elements, replicas that accept no references are skipped.

        Raises Unavailable if no replica is left. If the response is lost, raises Unknown for a paid request, and
        Unavailable for a free request. Also raises Declined and Broken.
        """
        refused: dict[Replica, str] = {}
        while True:
            async with self._replicas.acquire(refused) as replica:
                try:
                    has_references = bool(batch.references or batch.elements)
                    limit = await self._reference_limit(replica) if has_references or first_frame else 0
                    if limit < 1 and has_references:
                        support = self._probes.result(replica)
                        refused[replica] = support.problem if support else "accepts no references"
                        continue
                    result = await self._request_images(
                        replica, batch, shots, first_frame if limit else b"", limit, open_order
                    )
                    replica.end_cooldown()
                    return result
                except NotAccepted as error:
                    refused[replica] = error.reason
                    replica.last_problem = f"the server {error.reason}"
                    self._health.start_cooldown(replica, error.reason, at_least_s=error.cooldown_s)
                except OutcomeUnknown as error:
                    replica.last_problem = f"the server {error.reason}"
                    self._health.start_cooldown(replica, error.reason)
                    failure = Unknown if self._options.paid else Unavailable
                    raise failure(f"{replica.public_name} {error.reason}") from error

    async def _request_images(
        self,
        replica: Replica,
        batch: Batch,
        shots: Sequence[Shot],
        first_frame: bytes,
        max_references: int,
        open_order: OpenOrder,
    ) -> tuple[Sequence[ReturnedImage | None], Cost | None, dict[str, object]]:
        """Record and send one POST request for the shots. Returns their images, their cost and additional metadata.

        The cost is the cost of the whole request, or None if it is not known. At least one image is returned. If the
        kind is `compatible`, images can be missing at the end, and the other missing images are None.

        Raises NotAccepted, OutcomeUnknown, Declined and Broken.
        """
        size = self._requested_size(batch)
        arranged, files, mask = await asyncio.to_thread(self._arrange, batch, first_frame, max_references, size)
        series = self._native_series and batch.series and len(shots) > 1
        request = ServerRequest(
            self._options.model,
            build_prompt(series_shot(shots) if series else shots[0], batch, arranged),
            size,
            len(shots),
            shots[0].seed,
            self._options.steps,
            self._options.guidance,
            self._options.quality,
            batch.options.negative_prompt if self._kind.negative_prompts else "",
            series,
        )
        hidden = dict.fromkeys((request.prompt, *(shot.prompt for shot in shots), batch.prompt), "[prompt]")
        hidden |= {self._options.api_key: "[api_key]", urlsplit(replica.url).query: "[query]"}
        try:
            async with recorded_request(open_order, shots):
                request_url, reply = await self._client.request_images(replica.url, request, files, mask)
                answer = await self._read_reply(replica, reply, request_url, len(shots), hidden)
        except Broken as error:
            replica.last_problem = error.message
            raise
        except Declined:
            replica.responded, replica.last_problem = True, ""
            raise
        replica.responded, replica.last_problem = True, ""
        returned = [
            image and ReturnedImage(image.image, image.prompt if image.prompt != request.prompt else "")
            for image in answer.images
        ]
        cost = cost_of_request(reply.headers, answer.usage, self._options.token_prices)
        facts: dict[str, object] = {"server": self._kind.name, "generated_by": self._options.model}
        has_size = not (self._options.compatible and self._options.compatible.ratios)
        if size != batch.size and has_size:
            facts["generated_size"] = f"{size.width}x{size.height}"
        if arranged.contact_sheet:
            facts["contact_sheet"] = arranged.contact_sheet
        return returned, cost, facts

    async def _read_reply(
        self, replica: Replica, reply: Reply, request_url: str, count: int, hidden: dict[str, str]
    ) -> ReturnedImages:
        """Return the images in a response, as described in `_request_images`.

        Raises NotAccepted, OutcomeUnknown, Declined and Broken.
        """
        if reply.status != 200:
            raise error_from_reply(reply, paid=self._options.paid, hidden=hidden)
        if not self._options.compatible:
            return await asyncio.to_thread(decode_images, reply.body, count)
        try:
            answer = await read_images(reply.body, count, request_url=request_url, hidden=hidden)
        except DownloadFailed as error:
            if self._options.paid or error.retry:
                raise OutcomeUnknown(error.reason) from error
            raise Broken(f"{replica.public_name} {error.reason}") from error
        returned = len([image for image in answer.images if image])
        if returned < count:
            log.warning(
                "%s: the server returned %d of %d images; further requests generate the missing images",
                replica.shown_url,
                returned,
                count,
            )
        return answer

    def _requested_size(self, batch: Batch) -> Size:
        """Return the size to request. It can have another aspect ratio than the size of the batch."""
        if self._options.compatible and self._options.compatible.sizes:
            return nearest_size(self._options.compatible.sizes, batch.size)
        size_for = masked_size if batch.box or batch.mask else generated_size
        return size_for(self._kind, self._options.model, batch.size, self._options.max_pixels)

    def _arrange(
        self, batch: Batch, first_frame: bytes, max_references: int, size: Size
    ) -> tuple[ArrangedImages, list[bytes], bytes]:
        """Return the arranged input images, the files to send, and the file of the mask.

        The files have a format that all servers interpret identically. If the task expands an image, the only file to
        send is a canvas of `size`. If the batch has a mask, the first file is such a canvas. For other tasks, the mask
        is empty. Blocks the calling thread.
        """
        arranged = arrange_images(
            batch, max_images=max(1, max_references), cite=self._options.cite, first_frame=first_frame
        )
        # the first arranged file of a batch with a mask is always the first reference, because of `masked_references`
        sent = () if batch.box else arranged.files[1:] if batch.mask else arranged.files
        files = [plain_file(file, convert_colours=self._options.convert_colours, opaque=True) for file in sent]
        if not (batch.box or batch.mask):
            return arranged, files, b""
        canvas, mask = draw_edit_canvas(batch, size)
        return arranged, [png_file(canvas), *files], mask_file(self._kind, mask)

    # --- references ---------------------------------------------------------------------------------------------

    async def _reference_limit(self, replica: Replica) -> int:
        """Return the maximum number of references in one request to this replica.

        This number is configured, or is the result of the reference probe. If there is no result yet, this method waits
        for the probe. Raises NotAccepted if the probe fails.
        """
        if not self._options.probe or not self._options.max_references:
            return self._options.max_references
        if self._probes.result(replica) is None:
            await asyncio.shield(self._probes.start(replica))
        if (support := self._probes.result(replica)) is None:
            raise NotAccepted("did not respond to the reference probe")
        return support.max_references

    # --- health ---------------------------------------------------------------------------------------------------

    async def check(self) -> list[HealthCheck]:
        return list(await asyncio.gather(*(self._health.check(replica) for replica in self._replicas.all)))

    async def close(self) -> None:
        await self._probes.close()
        await self._client.close()
