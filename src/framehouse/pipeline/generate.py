"""Generate the shots of a claimed batch with one of the routes of its model.

Each image is finished and saved as soon as it is generated.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Literal
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from framehouse.adapters.content_credentials.manifests import Ingredient, SigningFailed
from framehouse.adapters.images.image_upscaler import ImageUpscaler, UpscalingFailed
from framehouse.adapters.postgres import batch_queue
from framehouse.adapters.postgres.batch_queue import Claimed
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.storage import Storage
from framehouse.adapters.telemetry import metrics, spans
from framehouse.domain.aigc_label import build_label
from framehouse.domain.cost import cost_of_image
from framehouse.domain.errors import Broken, Declined, Failed, Postponed, Unavailable, Unknown
from framehouse.domain.outcome import Outcome
from framehouse.domain.routing import LimitReached, RouteControl, RouteResult, RouteState, choose_routes
from framehouse.domain.shot import FinishedImage, Shot
from framehouse.domain.sizes import Size, upscaling_factor
from framehouse.domain.task import RequestOptions
from framehouse.engines.image_files import ImageFile
from framehouse.engines.interface import Abilities, Batch, BatchLost, GeneratedImage, ReferenceImage
from framehouse.engines.registry import Route
from framehouse.pipeline.finish import Finishing, finish, finish_partial
from framehouse.pipeline.open_order import StoredOrder, route_with_open_order
from framehouse.pipeline.original_pixels import original_of
from framehouse.pipeline.partial_images import PartialImages
from framehouse.pipeline.save_shot import settle_shot

log = logging.getLogger(__name__)
SaveResult = Literal["saved", "lost"]
OnPreview = Callable[[Route, Shot, bytes], None]
Save = Callable[[Route, Shot, GeneratedImage], Awaitable[SaveResult]]
FINISH_PAUSES_S = (0.5, 5.0)


class FinishFailed(Exception):
    """Raised when an engine has generated an image, but the image could not be finished.

    The image must not be generated again. The message is for the client, and the cause of the exception is for the log.
    """


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings for generating images.

    `retention` is the time for which images are stored. `allow_private_addresses` permits references at private
    addresses. `upstream_callback_url` is a function that takes a batch id and returns the URL for upstream callbacks
    about the batch. The function returns None if upstreams cannot reach this server.
    """

    finishing: Finishing
    retention: timedelta
    allow_private_addresses: bool
    upstream_callback_url: Callable[[int], str | None] = lambda _: None


async def generate_batch(
    claimed: Claimed,
    batch: Batch,
    routes: Sequence[Route],
    *,
    db: Database,
    storage: Storage,
    rules: Rules,
    upscaler: ImageUpscaler | None,
    controls: Mapping[str, RouteControl],
    take_request: Callable[[Route], Awaitable[float]],
    on_progress: Callable[[float], None],
    wake: asyncio.Event,
) -> Outcome:
    """Generate the shots of a claimed batch with the first route that can generate these shots.

    `batch` is the input for the engines. `controls` contains the states of the paused and draining routes.
    `take_request` counts a call of a route's engine. If the route has reached its limit, `take_request` returns the
    number of seconds until the next call is possible, and otherwise 0. It raises Unavailable if the daily budget of the
    route is spent. `upscaler` enlarges images that are smaller than requested. If `upscaler` is None, such images are
    enlarged with Lanczos resampling. `wake` ends the pause of an engine that waits for its upstream. Saved shots are
    never generated again. A crash loses at most the unsaved shots of the current engine call.
    """
    callback_url = rules.upstream_callback_url(claimed.id)
    open_orders = {
        r.name: StoredOrder(db, claimed, r.name, wake=wake, upstream_callback_url=callback_url) for r in routes
    }
    by_name = {route.name: route for route in routes}
    save = partial(_save, claimed, batch, db=db, storage=storage, rules=rules, upscaler=upscaler)
    first_frame = partial(_load_first_frame, claimed.task_id, db, storage)
    partials = PartialImages(claimed.task_id, batch.options.partial_images or 0, storage)
    on_preview = partial(_offer_partial, claimed, partials, rules.finishing)
    saved: set[int] = set()
    choice = choose_routes(
        [
            RouteState(
                r.name,
                (abilities := r.engine.abilities()).max_references,
                expansions=abilities.expansions,
                masked_references=abilities.masked_references if abilities.masks else 0,
                served=r.served,
                given_up=open_orders[r.name].given_up(),
                control=controls.get(r.name),
            )
            for r in routes
        ],
        model=claimed.model,
        references=len(batch.references) + len(batch.elements),
        expansion=batch.box is not None,
        masked=batch.mask is not None,
        order_at=route_with_open_order(claimed),
        resume_at=claimed.route,
        last_error=claimed.last_error,
    )
    try:
        name = next(choice)
        while True:
            order = open_orders[name]
            call = replace(batch, open_order=order)
            route = by_name[name]
            available = {other for other in by_name if other not in controls and not open_orders[other].given_up()}
            first_route = None if order.data else _first_route(route, by_name, batch, available)
            error = await _try_route(
                route, first_route, claimed, call, saved, save, first_frame, take_request, on_progress, on_preview
            )
            name = choice.send(RouteResult(error, open_order=bool(order.data), given_up=bool(order.given_up())))
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome
    finally:
        await partials.aclose()


def _first_route(route: Route, routes: Mapping[str, Route], batch: Batch, available: Collection[str]) -> Route | None:
    """Return the route whose engine generates the first image of the series, or None if `route` generates it itself.

    `available` contains the names of the routes that are neither paused nor draining nor given up.
    """
    first = routes.get(route.first_frame) if route.first_frame in available else None
    if not batch.series or batch.references or batch.elements or first is None or not first.served:
        return None
    return first


async def _try_route(
    route: Route,
    first_route: Route | None,
    claimed: Claimed,
    batch: Batch,
    saved: set[int],
    save: Save,
    first_frame: Callable[[], Awaitable[ReferenceImage | None]],
    take_request: Callable[[Route], Awaitable[float]],
    on_progress: Callable[[float], None],
    on_preview: OnPreview,
) -> Failed | Postponed | LimitReached | None:
    """Use this route to generate the shots that are not in `saved`, in as many calls as the engine needs.

    If `first_route` is not None, the engine of that route generates the first shot of the task.

    Returns the error if the engine raises Postponed, Declined, Broken, Unavailable or Unknown. Returns LimitReached if
    the route has reached its request limit. The limit does not apply to a call that continues an open order. Returns
    None if every shot is saved or this worker has lost its claim.
    """
    abilities = route.engine.abilities()
    try:
        while missing := tuple(shot for shot in batch.shots if shot.index not in saved):
            if first_route and missing[0].index == 0:
                if wait_s := await take_request(first_route):
                    return LimitReached(wait_s)
                call = replace(batch, shots=missing[:1], open_order=None)
                if await _call_engine(first_route, claimed, call, saved, save, on_progress, on_preview) == "lost":
                    return None
                continue
            if not (batch.open_order and batch.open_order.data) and (wait_s := await take_request(route)):
                return LimitReached(wait_s)
            shots = _shots_of_call(missing, abilities, series=batch.series)
            frame = await first_frame() if _needs_first_frame(shots, abilities, series=batch.series) else None
            call = replace(batch, shots=shots, first_frame=frame)
            if await _call_engine(route, claimed, call, saved, save, on_progress, on_preview) == "lost":
                return None
    except (Postponed, Declined, Broken, Unavailable, Unknown) as error:
        return error
    return None


def _shots_of_call(missing: tuple[Shot, ...], abilities: Abilities, *, series: bool) -> tuple[Shot, ...]:
    """Return the missing shots that the engine can generate in one call."""
    return missing if series and abilities.whole_series else missing[: abilities.max_batch]


def _needs_first_frame(shots: tuple[Shot, ...], abilities: Abilities, *, series: bool) -> bool:
    """Return whether an engine call needs the first image of a series as an input for the later images.

    Only an engine with the ability `whole_series` needs this image, because such an engine generates the later images
    from the first image. The engine needs the image if a call continues a series whose first image is already saved.
    """
    return series and abilities.whole_series and shots[0].index != 0


async def _load_first_frame(task_id: UUID, db: Database, storage: Storage) -> ReferenceImage | None:
    """Load the first image of a task. Returns None if the image does not exist yet."""
    first = await batch_queue.first_image(db, task_id)
    content = await storage.get(first[0]) if first else None
    return ReferenceImage(content, *first[1:]) if first and content else None


async def _call_engine(
    route: Route,
    claimed: Claimed,
    batch: Batch,
    saved: set[int],
    save: Save,
    on_progress: Callable[[float], None],
    on_preview: OnPreview,
) -> SaveResult:
    """Call an engine once and save each image that the engine yields. Add the index of each saved shot to `saved`.

    Returns `lost` if the task has ended or another worker has claimed the batch. Raises Broken if the engine does not
    return exactly the requested images, or returns an image in the wrong format. Errors that the engine raises are not
    caught.
    """
    missing = {shot.index: shot for shot in batch.shots}
    done = claimed.batch_size - len(claimed.shots) + sum(shot.index < batch.shots[0].index for shot in claimed.shots)
    with (
        spans.span("generate", client=True, model=claimed.model, route=route.name, shots=len(missing)),
        metrics.EngineCall(claimed.model, route.name) as call,
        suppress(BatchLost),  # not an error of the engine, so the span has not failed
    ):
        async with aclosing(route.engine.generate(batch)) as events:  # type: ignore[type-var]
            async for event in events:
                if not isinstance(event, GeneratedImage):
                    on_progress((done + len(batch.shots) * min(1.0, max(0.0, event.share))) / claimed.batch_size)
                    if event.preview and event.index in missing:
                        on_preview(route, missing[event.index], event.preview)
                    continue
                shot = missing.pop(event.index, None)
                if shot is None or not _is_rgb(event.image):
                    raise Broken(f"{route.name} returned an image that was not requested or has the wrong format")
                if not missing:
                    call.complete()
                with call.paused():
                    if await save(route, shot, event) == "lost":
                        return "lost"
                saved.add(shot.index)
                on_progress((done + len(batch.shots) - len(missing)) / claimed.batch_size)
        if missing:
            raise Broken(f"{route.name} did not return {len(missing)} of {len(batch.shots)} images")
        return "saved"
    return "lost"


def _offer_partial(
    claimed: Claimed, partials: PartialImages, finishing: Finishing, route: Route, shot: Shot, preview: bytes
) -> None:
    """Store the preview of an unfinished image as a partial image."""
    finish_pixels = partial(
        finish_partial,
        facts=_facts(claimed, route, shot),
        finishing=finishing,
        source_type=route.engine.abilities().source_type,
        prompt=claimed.prompt,
        label=_label(claimed, shot, finishing),
    )
    partials.offer(shot.index, preview, finish_pixels)


def _facts(claimed: Claimed, route: Route, shot: Shot) -> dict[str, object]:
    """Return the facts about an image that are known before it is generated."""
    return {
        "model": claimed.model,
        "engine": route.name,
        "seed": shot.seed if route.engine.abilities().seeds else None,
        "task": str(claimed.task_id),
        "index": shot.index,
        "prompt": shot.prompt,
    }


def _label(claimed: Claimed, shot: Shot, finishing: Finishing) -> dict[str, str] | None:
    """Return the implicit label of an image, or None if the settings contain no producer."""
    return build_label(finishing.label_producer, claimed.task_id, shot.index) if finishing.label_producer else None


async def _save(
    claimed: Claimed,
    batch: Batch,
    route: Route,
    shot: Shot,
    generated: GeneratedImage,
    *,
    db: Database,
    storage: Storage,
    rules: Rules,
    upscaler: ImageUpscaler | None,
) -> SaveResult:
    """Finish a generated image and save it."""
    facts = {
        **_facts(claimed, route, shot),
        **unused_options(batch.options, route.engine.abilities()),
        **generated.facts,
    }
    size = batch.options.size or batch.size
    upscaled = await upscale_small(generated, size, upscaler) if upscaler else None
    with spans.span("finish", index=shot.index), metrics.FINISH_SECONDS.time():
        finish_image = partial(
            finish,
            generated.image,
            size,
            facts,
            finishing_for(batch.options, rules.finishing),
            source_type=route.engine.abilities().source_type,
            watermark=claimed.watermark,
            prompt=claimed.prompt,
            label=_label(claimed, shot, rules.finishing),
            original=original_of(batch),
            upscaled=upscaled,
            inputs=named_inputs(batch),
        )
        finished = await _finish(finish_image)
    with spans.span("save", index=shot.index):
        outcome = await settle_shot(
            claimed,
            shot.index,
            finished,
            engine=route.name,
            cost=cost_of_image(route.price, generated.cost),
            db=db,
            storage=storage,
            retention=rules.retention,
        )
    return "lost" if outcome == "lost" else "saved"


def named_inputs(batch: Batch) -> list[Ingredient]:
    """Return the references and the images of the elements with their titles in a manifest."""
    references = [Ingredient(image.content, f"reference {number}") for number, image in enumerate(batch.references, 1)]
    numbered = enumerate(batch.elements, 1)  # the names of elements are private
    elements = [Ingredient(image.content, f"element {number}") for number, item in numbered for image in item.images]
    return references + elements


def finishing_for(options: RequestOptions, finishing: Finishing) -> Finishing:
    """Return the settings for finishing the images of a task. The task's file format and quality take precedence."""
    return replace(finishing, format=options.format or finishing.format, quality=options.quality or finishing.quality)


def unused_options(options: RequestOptions, abilities: Abilities) -> dict[str, object]:
    """Return a metadata entry that names the request options that the engine does not use.

    Returns an empty dictionary if the engine uses all options.
    """
    unused = []
    if options.negative_prompt and not abilities.negative_prompts:
        unused.append("negative_prompt")
    if not abilities.fidelities:
        unused += [name for name in ("image_fidelity", "human_fidelity") if getattr(options, name) is not None]
    return {"not_used": ", ".join(unused)} if unused else {}


async def upscale_small(generated: GeneratedImage, size: Size, upscaler: ImageUpscaler) -> NDArray[np.uint8] | None:
    """Enlarge an image with a neural network.

    Returns None if the image is large enough, if the engine has already upscaled it, or if the network fails. The image
    is then resized without a network.
    """
    image = generated.image
    if isinstance(image, ImageFile):
        generated_size = Size(image.width, image.height)
    else:
        generated_size = Size(image.shape[1], image.shape[0])
    factor = upscaling_factor(generated_size, size)
    if factor == 1 or "upscaled_by" in generated.facts:
        return None
    with spans.span("upscale", index=generated.index):
        try:
            pixels = await asyncio.to_thread(image.decoded) if isinstance(image, ImageFile) else image
            return await upscaler.upscale(pixels, factor)
        except Exception as error:  # noqa: BLE001 - an image that may have been paid for must not be lost
            reason = str(error) if isinstance(error, UpscalingFailed) else type(error).__name__
            log.warning("image %s is enlarged without the upscaler: %s", generated.index, reason)
            return None


async def _finish(finish_image: Callable[[], FinishedImage]) -> FinishedImage:
    """Finish an image in a thread, in up to three attempts. Raises FinishFailed if all attempts fail.

    A retry can succeed, for example if memory was low for a moment. Without retries, an image that may have been paid
    for could be lost.
    """
    pauses = list(FINISH_PAUSES_S)
    while True:
        try:
            return await asyncio.to_thread(finish_image)
        except Exception as error:
            if not pauses:
                signing = isinstance(error, SigningFailed)
                reason = "the image could not be signed" if signing else "the image could not be finished"
                raise FinishFailed(f"internal error: {reason}") from error
        await asyncio.sleep(pauses.pop(0))


def _is_rgb(image: NDArray[np.uint8] | ImageFile) -> bool:
    """Return whether an image has the format that the engine interface requires.

    The check is needed, because an engine from a plug-in can return an image in another format.
    """
    return isinstance(image, ImageFile) or (image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8)
