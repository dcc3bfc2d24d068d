"""The engine: shots -> requests -> whichever replica is least busy -> pictures."""

import asyncio
import contextvars
import io
import json
import logging
from collections.abc import AsyncIterator, Sequence
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

from PIL import Image

from framehouse.domain.errors import Broken, Declined, Unavailable, Unknown
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import Size, largest_within
from framehouse.engines.arrange import Arranged, arrange, worded
from framehouse.engines.image_files import MAX_ANSWER_BYTES, Png, png_file, upright
from framehouse.engines.interface import Abilities, Batch, GeneratedImage, HealthCheck, Progress
from framehouse.engines.openai_images.http_exchange import Lost, NotTaken, Reply, TaskImage, ask, failure, images
from framehouse.engines.openai_images.openai_images_options import checked_options
from framehouse.engines.openai_images.reference_probe import (
    PROBE_PROMPT,
    NotProbed,
    only_picture,
    probe,
)
from framehouse.engines.openai_images.replicas import Replica, Replicas
from framehouse.engines.openai_images.server_kinds import Order, best_size, fields

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)
_HEALTH_LIMIT_S = 10.0
_PROBE_WAIT_S = 50.0
_MOST_HEALTH_BYTES = 4_000_000
_SMALL = Size(512, 512)


class OpenAIImages:
    """One model on one or several servers of one kind; docs/openai-images.md tells what the options mean.

    A request that was sent is never sent again from here: where its answer is lost, `generate` raises Unknown if it may
    be charged for (`paid`), else Unavailable.
    """

    def __init__(self, **options: Any) -> None:
        self._is = checked_options(**options)
        self._kind = self._is.kind
        self._replicas = Replicas(self._is.urls, each=self._is.concurrency)
        self._client: httpx.AsyncClient | None = None

    def abilities(self) -> Abilities:
        return Abilities(
            max_references=10 if self._is.max_references else 0,
            max_batch=self._kind.most_n,
            whole_series=self._is.max_references > 0,
            concurrency=len(self._replicas.all) * self._is.concurrency,
            seeds=self._kind.seeds,
        )

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        look = batch.series and self._is.max_references > 0
        frame = batch.first_frame.content if look and batch.first_frame else b""
        done = 0
        while done < len(batch.shots):
            yield Progress(done / len(batch.shots))
            shots = self._together(batch.shots[done:], alone=look and not frame)
            made, facts = await self._made(batch, shots, frame)
            for shot, image in zip(shots, made, strict=True):
                if look and not frame:
                    frame = await asyncio.to_thread(_file_of, image)
                revised = {"revised_prompt": image.prompt} if image.prompt else {}
                yield GeneratedImage(shot.index, image.image, {**facts, **revised})
            done += len(shots)

    def _together(self, shots: Sequence[Shot], *, alone: bool) -> Sequence[Shot]:
        """As many of the first shots as one request makes: of the same words, their seeds counting up."""
        first, count = shots[0], 1
        most = 1 if alone else self._kind.most_n
        for shot in shots[1:most]:
            alike = (shot.prompt, shot.framing) == (first.prompt, first.framing)
            if not alike or (self._kind.seeds and shot.seed != first.seed + count):
                break
            count += 1
        return shots[:count]

    async def _made(
        self, batch: Batch, shots: Sequence[Shot], frame: bytes
    ) -> tuple[Sequence[TaskImage], dict[str, object]]:
        """The shots' pictures, and the facts of their making. Another replica is asked only where nothing was sent, or
        where it was clearly refused."""
        refused: dict[Replica, str] = {}
        while True:
            async with self._replicas.borrow(refused) as replica:
                try:
                    most = await self._most_references(replica) if batch.references or batch.elements or frame else 0
                    if most < 1 and (batch.references or batch.elements):
                        refused[replica] = replica.finding.told if replica.finding else "takes no references"
                        continue
                    made = await self._asked(replica, batch, shots, frame if most else b"", most)
                    replica.end_rest()
                    return made
                except NotTaken as error:
                    refused[replica] = error.why
                    self._unfit(replica, error.why, at_least_s=error.rest_s)
                except Lost as error:
                    self._unfit(replica, error.why)
                    failed = Unknown if self._is.paid else Unavailable
                    raise failed(f"{replica.place} {error.why}") from error

    async def _asked(
        self, replica: Replica, batch: Batch, shots: Sequence[Shot], frame: bytes, most: int
    ) -> tuple[Sequence[TaskImage], dict[str, object]]:
        """One POST. Raises NotTaken, Lost, Declined and Broken."""
        arranged, files = await asyncio.to_thread(self._arranged, batch, frame, most)
        size = best_size(self._kind, self._is.model, batch.size, self._is.max_pixels)
        order = Order(
            self._is.model,
            worded(shots[0], batch, arranged),
            size,
            len(shots),
            shots[0].seed,
            self._is.steps,
            self._is.guidance,
            self._is.quality,
        )
        reply = await self._post(replica, order, files)
        if reply.status != 200:
            raise failure(reply, paid=self._is.paid)
        made = await asyncio.to_thread(images, reply.body, len(shots))
        made = [TaskImage(one.image, one.prompt if one.prompt != order.prompt else "") for one in made]
        facts: dict[str, object] = {"server": self._kind.name, "painted_by": self._is.model}
        if size != batch.size:
            facts["painted_size"] = f"{size.width}x{size.height}"
        if arranged.sheet:
            facts["contact_sheet"] = arranged.sheet
        return made, facts

    def _arranged(self, batch: Batch, frame: bytes, most: int) -> tuple[Arranged, list[bytes]]:
        """What the model is shown, as files that every server reads alike. Blocking."""
        arranged = arrange(batch, most=max(1, most), cite=self._is.cite, first_frame=frame)
        return arranged, [_plain(content) for content in arranged.files]

    async def _post(self, replica: Replica, order: Order, files: Sequence[bytes]) -> Reply:
        """An edit where there are pictures to look at, else a generation."""
        sent = fields(self._kind, order, edit=bool(files))
        body: dict[str, Any] = {"json": sent}
        if files:
            parts = [
                (self._kind.image_part, (f"{number}.{ending}", content, f"image/{ending}"))
                for number, content in enumerate(files, 1)
                for ending in ["png" if content.startswith(b"\x89PNG") else "jpeg"]
            ]
            body = {"data": {name: str(value) for name, value in sent.items()}, "files": parts}
        path = "edits" if files else "generations"
        most_bytes = MAX_ANSWER_BYTES * order.n
        return await ask(
            self._http(),
            "POST",
            f"{replica.url}/images/{path}",
            limit_s=self._is.timeout_s,
            most_bytes=most_bytes,
            **body,
        )

    # --- references ---------------------------------------------------------------------------------------------

    async def _most_references(self, replica: Replica) -> int:
        """How many this replica is given at once: as configured, or what its probe finds. Raises NotTaken."""
        if not self._is.probe or not self._is.max_references:
            return self._is.max_references
        if replica.finding is None:
            await asyncio.shield(self._probing(replica))
        if replica.finding is None:
            raise NotTaken("could not be asked how many references it takes")
        return replica.finding.most

    def _probing(self, replica: Replica) -> "asyncio.Task[None]":
        """The probe under way, or a new one."""
        if replica.probing is None or replica.probing.done():
            replica.probing = asyncio.create_task(self._probe(replica), context=contextvars.Context())
        return replica.probing

    async def _probe(self, replica: Replica) -> None:
        size = largest_within(_SMALL, self._is.max_pixels)

        async def edit(files: Sequence[bytes]) -> Reply:
            order = Order(self._is.model, PROBE_PROMPT, size, 1, 7, self._is.steps, self._is.guidance)
            return await self._post(replica, order, files)

        async def decode(body: bytes) -> TaskImage:
            return await asyncio.to_thread(only_picture, body)

        before = replica.finding
        try:
            replica.finding = await probe(edit, most=self._is.max_references, seeded=self._kind.seeds, decode=decode)
        except (NotTaken, Lost, NotProbed, Broken) as error:
            log.warning("%s: cannot be asked how many references it takes: %s", replica.url, error)
            return
        if replica.finding.told and replica.finding != before:
            log.warning("%s: %s", replica.url, replica.finding.told)

    # --- health ---------------------------------------------------------------------------------------------------

    async def check(self) -> list[HealthCheck]:
        return list(await asyncio.gather(*(self._check(replica) for replica in self._replicas.all)))

    async def _check(self, replica: Replica) -> HealthCheck:
        """A well server's rest ends, unless it asked for one itself."""
        url = f"{replica.url.removesuffix('/v1')}{self._kind.health}"
        try:
            reply = await ask(self._http(), "GET", url, limit_s=_HEALTH_LIMIT_S, most_bytes=_MOST_HEALTH_BYTES)
            if reply.status != 200:
                raise failure(reply, paid=False)
        except (NotTaken, Lost) as error:
            at_least_s = error.rest_s if isinstance(error, NotTaken) else 0.0
            self._unfit(replica, error.why, at_least_s=at_least_s)
            do = "give the route a valid api_key" if "api_key" in error.why else "start the server, or mend its address"
            return HealthCheck(replica.url, ok=False, reason=error.why, advice=do)
        except (Broken, Declined) as error:
            self._unfit(replica, "is no model server")
            return HealthCheck(replica.url, ok=False, reason=error.message, advice="mend base_urls or kind")
        names = _served(reply.body) if self._kind.name == "xinference" else None
        if names is not None and self._is.model not in names:
            told = f'does not run "{self._is.model}"; it runs: {", ".join(names) or "nothing"}'
            return HealthCheck(replica.url, ok=False, reason=told, advice="launch the model, or mend the option model")
        if replica.firm and replica.cooldown.remaining_s:
            told = f"{replica.cooldown.reason}; it is asked again in {replica.cooldown.remaining_s:.0f} s"
            return HealthCheck(replica.url, ok=False, reason=told, advice="wait, or look at the account")
        replica.end_rest()
        self._replicas.wake()
        return HealthCheck(replica.url, ok=True, reason=await self._told(replica))

    async def _told(self, replica: Replica) -> str:
        """How it is with references, probed where that is due."""
        if not self._is.max_references:
            return "is well; it is given no references"
        if not self._is.probe:
            return f"is well; it is given up to {self._is.max_references} references, unprobed"
        if replica.finding is None or not replica.finding.final:
            await asyncio.wait([self._probing(replica)], timeout=_PROBE_WAIT_S)
        if replica.finding is None:
            return "is well; how many references it takes is not found out yet"
        told = replica.finding.told or f"takes {replica.finding.most} references"
        if self._kind.name == "xinference" and replica.finding.most == 1:
            told += "; more is a matter of its model, see max_references"
        return f"is well; {told}"

    def _unfit(self, replica: Replica, why: str, *, at_least_s: float = 0.0) -> None:
        if not replica.cooldown.remaining_s:
            log.warning("%s is left alone for a while: %s", replica.url, why)
        replica.begin_rest(why, at_least_s=at_least_s)
        self._replicas.wake()

    # --- the connection -------------------------------------------------------------------------------------------

    def _http(self) -> "httpx.AsyncClient":
        """Made at the first use. Each request has a connection of its own: an idle one that a server closes in the very
        moment of sending would be a lost answer."""
        if self._client is None:
            import httpx

            headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
            if self._is.api_key:
                headers["Authorization"] = f"Bearer {self._is.api_key}"
            self._client = httpx.AsyncClient(
                headers=headers,
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
                follow_redirects=False,
                trust_env=False,
                verify=httpx.create_ssl_context(trust_env=False),
            )
        return self._client

    async def close(self) -> None:
        probes = [replica.probing for replica in self._replicas.all if replica.probing]
        for task in probes:
            task.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()
            self._client = None


def _file_of(made: TaskImage) -> bytes:
    """A picture as a file to show to the model. Blocking."""
    return made.image.file if isinstance(made.image, Png) else png_file(Image.fromarray(made.image))


def _plain(content: bytes) -> bytes:
    """A reference as an upright RGB png or jpeg: servers differ in EXIF data, transparency and 16 bit."""
    with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "WEBP")) as file:
        turned = file.getexif().get(0x0112, 1) != 1
        if file.format in ("PNG", "JPEG") and file.mode == "RGB" and not turned and not file.has_transparency_data:
            return content
    return png_file(upright(content))


def _served(body: bytes) -> list[str] | None:
    """The names in a list of models; None where it is none."""
    try:
        return [str(model["id"]) for model in json.loads(body)["data"]]
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
