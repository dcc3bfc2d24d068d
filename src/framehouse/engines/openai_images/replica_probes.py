"""The reference probes of the replicas: start them, and keep their results."""

import asyncio
import contextvars
import logging
from collections.abc import Sequence

from framehouse.domain.errors import Broken
from framehouse.domain.sizes import Size, largest_within
from framehouse.engines.http_exchange import NotAccepted, OutcomeUnknown, Reply
from framehouse.engines.openai_images.openai_images_options import OpenAIImagesOptions
from framehouse.engines.openai_images.reference_probe import (
    PROBE_PROMPT,
    ProbeFailed,
    ReferenceSupport,
    decode_single_image,
    probe,
)
from framehouse.engines.openai_images.returned_images import ReturnedImage
from framehouse.engines.openai_images.server_client import ServerClient
from framehouse.engines.openai_images.server_kinds import ServerRequest
from framehouse.engines.replicas import Replica

log = logging.getLogger(__name__)
_PROBE_SIZE = Size(512, 512)


class ReplicaProbes:
    """The reference probes of a route. Each replica is probed separately."""

    def __init__(self, options: OpenAIImagesOptions, client: ServerClient) -> None:
        self._options = options
        self._client = client
        self._results: dict[Replica, ReferenceSupport] = {}
        self._tasks: dict[Replica, asyncio.Task[None]] = {}

    def result(self, replica: Replica) -> ReferenceSupport | None:
        """Return the result of the last successful probe of a replica, or None before the first result."""
        return self._results.get(replica)

    def start(self, replica: Replica) -> "asyncio.Task[None]":
        """Return the asyncio task that probes a replica. Starts a probe if none is running."""
        task = self._tasks.get(replica)
        if task is None or task.done():
            task = self._tasks[replica] = asyncio.create_task(self._probe(replica), context=contextvars.Context())
        return task

    async def close(self) -> None:
        """Cancel the running probes."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _probe(self, replica: Replica) -> None:
        size = largest_within(_PROBE_SIZE, self._options.max_pixels)

        async def edit(files: Sequence[bytes]) -> Reply:
            request = ServerRequest(
                self._options.model, PROBE_PROMPT, size, 1, 7, self._options.steps, self._options.guidance
            )
            _, reply = await self._client.request_images(replica.url, request, files)
            return reply

        async def decode(body: bytes) -> ReturnedImage:
            return await asyncio.to_thread(decode_single_image, body)

        before = self.result(replica)
        try:
            support = await probe(
                edit, max_references=self._options.max_references, seeded=self._options.kind.seeds, decode=decode
            )
        except (NotAccepted, OutcomeUnknown, ProbeFailed, Broken) as error:
            log.warning("%s: the reference probe failed: %s", replica.shown_url, error)
            return
        self._results[replica] = support
        if support.problem and support != before:
            log.warning("%s: the server %s", replica.shown_url, support.problem)
