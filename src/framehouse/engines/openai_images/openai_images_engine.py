"""The openai_images engine. It groups shots into requests, and sends each request to the least busy replica."""

import asyncio
import contextvars
import inspect
import json
import logging
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from framehouse.domain.errors import Broken, Declined, Unavailable, Unknown
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import Size, largest_within
from framehouse.engines.arrange import ArrangedImages, arrange_images, build_prompt
from framehouse.engines.expansion_canvas import draw_canvas
from framehouse.engines.http_exchange import (
    NotAccepted,
    OutcomeUnknown,
    Reply,
    error_details,
    error_from_reply,
    open_client,
    send_request,
)
from framehouse.engines.image_files import MAX_ANSWER_BYTES, answer_file, png_file
from framehouse.engines.interface import Abilities, Batch, GeneratedImage, HealthCheck, Progress
from framehouse.engines.openai_images.openai_images_options import check_options
from framehouse.engines.openai_images.reference_probe import (
    PROBE_PROMPT,
    ProbeFailed,
    decode_single_image,
    probe,
)
from framehouse.engines.openai_images.replicas import Replica, Replicas
from framehouse.engines.openai_images.returned_images import ReturnedImage, decode_images
from framehouse.engines.openai_images.server_kinds import (
    ServerRequest,
    expanded_size,
    generated_size,
    mask_file,
    request_fields,
)
from framehouse.engines.plain_file import plain_file

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)
_HEALTH_TIMEOUT_S = 10.0
_PROBE_WAIT_S = 50.0
_MAX_HEALTH_BYTES = 4_000_000
_PROBE_SIZE = Size(512, 512)


class OpenAIImages:
    """An engine for one model on one or more servers of the same kind. docs/openai-images.md explains the options.

    The engine never repeats a request that a server may have accepted. If the response is lost, `generate` raises
    Unknown for a paid request, and Unavailable for a free request.
    """

    __signature__ = inspect.signature(check_options)

    def __init__(self, **options: Any) -> None:
        self._options = check_options(**options)
        self._kind = self._options.kind
        self._replicas = Replicas(self._options.urls, concurrency=self._options.concurrency)
        self._client: httpx.AsyncClient | None = None

    def abilities(self) -> Abilities:
        return Abilities(
            max_references=10 if self._options.max_references else 0,
            max_batch=self._kind.max_n,
            whole_series=self._options.max_references > 0,
            concurrency=len(self._replicas.all) * self._options.concurrency,
            seeds=self._kind.seeds,
            negative_prompts=self._kind.negative_prompts,
            expansions=self._options.masks and self._options.max_references > 0,
            paid=self._options.paid,
        )

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        shows_first_frame = batch.series and self._options.max_references > 0
        first_frame = batch.first_frame.content if shows_first_frame and batch.first_frame else b""
        done = 0
        while done < len(batch.shots):
            yield Progress(done / len(batch.shots))
            shots = self._next_group(batch.shots[done:], single=shows_first_frame and not first_frame)
            returned, facts = await self._generate_group(batch, shots, first_frame)
            for shot, image in zip(shots, returned, strict=True):
                if shows_first_frame and not first_frame:
                    first_frame = await asyncio.to_thread(answer_file, image.image)
                revised = {"revised_prompt": image.prompt} if image.prompt else {}
                yield GeneratedImage(shot.index, image.image, {**facts, **revised})
            done += len(shots)

    def _next_group(self, shots: Sequence[Shot], *, single: bool) -> Sequence[Shot]:
        """Return the first shot and the directly following shots that can share its request. At most `max_n` shots are
        returned.

        Shots can share a request if they have the same prompt and framing. If the server supports seeds, the seed of
        each shot must also be one higher than the seed of the previous shot. If `single` is true, only the first shot
        is returned.
        """
        first, count = shots[0], 1
        max_n = 1 if single else self._kind.max_n
        for shot in shots[1:max_n]:
            same_words = (shot.prompt, shot.framing) == (first.prompt, first.framing)
            if not same_words or (self._kind.seeds and shot.seed != first.seed + count):
                break
            count += 1
        return shots[:count]

    async def _generate_group(
        self, batch: Batch, shots: Sequence[Shot], first_frame: bytes
    ) -> tuple[Sequence[ReturnedImage], dict[str, object]]:
        """Return the images of the shots, and additional metadata for these images.

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
                        support = replica.reference_support
                        refused[replica] = support.problem if support else "accepts no references"
                        continue
                    result = await self._request_images(replica, batch, shots, first_frame if limit else b"", limit)
                    replica.end_cooldown()
                    return result
                except NotAccepted as error:
                    refused[replica] = error.reason
                    self._start_cooldown(replica, error.reason, at_least_s=error.cooldown_s)
                except OutcomeUnknown as error:
                    self._start_cooldown(replica, error.reason)
                    failure = Unknown if self._options.paid else Unavailable
                    raise failure(f"{replica.public_name} {error.reason}") from error

    async def _request_images(
        self, replica: Replica, batch: Batch, shots: Sequence[Shot], first_frame: bytes, max_references: int
    ) -> tuple[Sequence[ReturnedImage], dict[str, object]]:
        """Send one POST request for the shots. Raises NotAccepted, OutcomeUnknown, Declined and Broken."""
        size_for = expanded_size if batch.box else generated_size
        size = size_for(self._kind, self._options.model, batch.size, self._options.max_pixels)
        arranged, files, mask = await asyncio.to_thread(self._arrange, batch, first_frame, max_references, size)
        request = ServerRequest(
            self._options.model,
            build_prompt(shots[0], batch, arranged),
            size,
            len(shots),
            shots[0].seed,
            self._options.steps,
            self._options.guidance,
            self._options.quality,
            batch.options.negative_prompt if self._kind.negative_prompts else "",
        )
        reply = await self._post(replica, request, files, mask)
        if reply.status != 200:
            raise error_from_reply(reply, *error_details(reply.body), paid=self._options.paid)
        returned = [
            ReturnedImage(image.image, image.prompt if image.prompt != request.prompt else "")
            for image in await asyncio.to_thread(decode_images, reply.body, len(shots))
        ]
        facts: dict[str, object] = {"server": self._kind.name, "generated_by": self._options.model}
        if size != batch.size:
            facts["generated_size"] = f"{size.width}x{size.height}"
        if arranged.contact_sheet:
            facts["contact_sheet"] = arranged.contact_sheet
        return returned, facts

    def _arrange(
        self, batch: Batch, first_frame: bytes, max_references: int, size: Size
    ) -> tuple[ArrangedImages, list[bytes], bytes]:
        """Return the arranged input images, the files to send, and the file of the mask.

        The files have a format that all servers interpret identically. If the task expands an image, the only file to
        send is a canvas of `size`. For other tasks, the mask is empty. Blocks the calling thread.
        """
        arranged = arrange_images(
            batch, max_images=max(1, max_references), cite=self._options.cite, first_frame=first_frame
        )
        if batch.box:
            canvas, mask = draw_canvas(batch.references[0].content, batch.size, batch.box, size)
            return arranged, [png_file(canvas)], mask_file(self._kind, mask)
        convert = self._options.convert_colours
        return arranged, [plain_file(file, convert_colours=convert, opaque=True) for file in arranged.files], b""

    async def _post(self, replica: Replica, request: ServerRequest, files: Sequence[bytes], mask: bytes = b"") -> Reply:
        """Request an edit if `files` is not empty. Otherwise, request a generation. `mask` belongs to the first
        file."""
        fields = request_fields(self._kind, request, edit=bool(files))
        body: dict[str, Any] = {"json": fields}
        if files:
            parts = [
                (self._kind.image_part, (f"{number}.{ending}", content, f"image/{ending}"))
                for number, content in enumerate(files, 1)
                for ending in ["png" if content.startswith(b"\x89PNG") else "jpeg"]
            ]
            if mask:
                parts.append((self._kind.mask_part, ("mask.png", mask, "image/png")))
            body = {"data": {name: str(value) for name, value in fields.items()}, "files": parts}
        path = "edits" if files else "generations"
        max_bytes = MAX_ANSWER_BYTES * request.n
        return await send_request(
            self._http_client(),
            "POST",
            f"{replica.url}/images/{path}",
            timeout_s=self._options.timeout_s,
            max_bytes=max_bytes,
            **body,
        )

    # --- references ---------------------------------------------------------------------------------------------

    async def _reference_limit(self, replica: Replica) -> int:
        """Return the maximum number of references in one request to this replica.

        This number is configured, or is the result of the reference probe. If there is no result yet, this method waits
        for the probe. Raises NotAccepted if the probe fails.
        """
        if not self._options.probe or not self._options.max_references:
            return self._options.max_references
        if replica.reference_support is None:
            await asyncio.shield(self._ensure_probe(replica))
        if replica.reference_support is None:
            raise NotAccepted("did not respond to the reference probe")
        return replica.reference_support.max_references

    def _ensure_probe(self, replica: Replica) -> "asyncio.Task[None]":
        """Return the asyncio task that probes a replica. Starts a probe if none is running."""
        if replica.probe_task is None or replica.probe_task.done():
            replica.probe_task = asyncio.create_task(self._probe(replica), context=contextvars.Context())
        return replica.probe_task

    async def _probe(self, replica: Replica) -> None:
        size = largest_within(_PROBE_SIZE, self._options.max_pixels)

        async def edit(files: Sequence[bytes]) -> Reply:
            request = ServerRequest(
                self._options.model, PROBE_PROMPT, size, 1, 7, self._options.steps, self._options.guidance
            )
            return await self._post(replica, request, files)

        async def decode(body: bytes) -> ReturnedImage:
            return await asyncio.to_thread(decode_single_image, body)

        before = replica.reference_support
        try:
            support = await probe(
                edit, max_references=self._options.max_references, seeded=self._kind.seeds, decode=decode
            )
        except (NotAccepted, OutcomeUnknown, ProbeFailed, Broken) as error:
            log.warning("%s: the reference probe failed: %s", replica.url, error)
            return
        replica.reference_support = support
        if support.problem and support != before:
            log.warning("%s: the server %s", replica.url, support.problem)

    # --- health ---------------------------------------------------------------------------------------------------

    async def check(self) -> list[HealthCheck]:
        return list(await asyncio.gather(*(self._check(replica) for replica in self._replicas.all)))

    async def _check(self, replica: Replica) -> HealthCheck:
        """Check one server. A successful check ends the cooldown of the server, unless `Replica.fixed_cooldown` is
        true."""
        url = f"{replica.url.removesuffix('/v1')}{self._kind.health_path}"
        try:
            reply = await send_request(
                self._http_client(), "GET", url, timeout_s=_HEALTH_TIMEOUT_S, max_bytes=_MAX_HEALTH_BYTES
            )
            if reply.status != 200:
                raise error_from_reply(reply, *error_details(reply.body), paid=False)
        except (NotAccepted, OutcomeUnknown) as error:
            at_least_s = error.cooldown_s if isinstance(error, NotAccepted) else 0.0
            self._start_cooldown(replica, error.reason, at_least_s=at_least_s)
            wrong_key = "api_key" in error.reason
            advice = "Set a valid api_key in the route." if wrong_key else "Start the server, or correct base_urls."
            return HealthCheck(replica.url, ok=False, reason=f"the server {error.reason}", advice=advice)
        except (Broken, Declined) as error:
            self._start_cooldown(replica, "does not respond like a model server")
            return HealthCheck(replica.url, ok=False, reason=error.message, advice="Correct base_urls or kind.")
        names = _model_names(reply.body) if self._kind.name == "xinference" else None
        if names is not None and self._options.model not in names:
            reason = f'the server has no model "{self._options.model}"; its models: {", ".join(names) or "none"}'
            advice = "Launch the model, or correct the option model."
            return HealthCheck(replica.url, ok=False, reason=reason, advice=advice)
        if replica.fixed_cooldown and replica.cooldown.remaining_s:
            reason = (
                f"the server {replica.cooldown.reason}; "
                f"the server will not be used for the next {replica.cooldown.remaining_s:.0f} s"
            )
            return HealthCheck(replica.url, ok=False, reason=reason, advice="Wait, or check the account.")
        replica.end_cooldown()
        self._replicas.wake()
        return HealthCheck(replica.url, ok=True, reason=await self._describe_health(replica))

    async def _describe_health(self, replica: Replica) -> str:
        """Return the `reason` of a successful check, which describes how the server uses references.

        Starts a reference probe if there is no final result (`ReferenceSupport.final`) yet.
        """
        if not self._options.max_references:
            return "the server is healthy; no references are sent"
        if not self._options.probe:
            limit = self._options.max_references
            return f"the server is healthy; up to {limit} references are sent, without a probe"
        if replica.reference_support is None or not replica.reference_support.final:
            await asyncio.wait([self._ensure_probe(replica)], timeout=_PROBE_WAIT_S)
        support = replica.reference_support
        if support is None:
            return "the server is healthy; its reference probe has no result yet"
        accepted = f"and accepts up to {_references(support.max_references)}"
        description = f"but {support.problem}" if support.problem else accepted
        if self._kind.name == "xinference" and support.max_references == 1:
            description += "; for a model that accepts more references, set max_references"
        return f"the server is healthy {description}"

    def _start_cooldown(self, replica: Replica, reason: str, *, at_least_s: float = 0.0) -> None:
        if not replica.cooldown.remaining_s:
            log.warning("%s: cooldown started: the server %s", replica.url, reason)
        replica.start_cooldown(reason, at_least_s=at_least_s)
        self._replicas.wake()

    # --- the HTTP client ------------------------------------------------------------------------------------------

    def _http_client(self) -> "httpx.AsyncClient":
        """Return the HTTP client. The first call creates the client."""
        if self._client is None:
            key = self._options.api_key
            self._client = open_client({"Authorization": f"Bearer {key}"} if key else {})
        return self._client

    async def close(self) -> None:
        probes = [replica.probe_task for replica in self._replicas.all if replica.probe_task]
        for task in probes:
            task.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()
            self._client = None


def _references(count: int) -> str:
    return f"{count} reference{'' if count == 1 else 's'}"


def _model_names(body: bytes) -> list[str] | None:
    """Return the names in a list of models. Returns None if the body is not a list of models."""
    try:
        return [str(model["id"]) for model in json.loads(body)["data"]]
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
