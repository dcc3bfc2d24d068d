"""The comfyui engine. It fills a workflow for each shot, and runs it on the server with the shortest queue."""

import asyncio
import inspect
import logging
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from framehouse.domain.errors import Unavailable
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import Size, largest_within
from framehouse.engines.arrange import ArrangedImages, arrange_images, build_prompt
from framehouse.engines.background_tasks import BackgroundTasks
from framehouse.engines.comfyui.comfyui_api import ComfyUIApi
from framehouse.engines.comfyui.comfyui_options import check_comfyui_options
from framehouse.engines.comfyui.job_execution import JobExecution, JobLost, SavedJob, job_from_data
from framehouse.engines.comfyui.workflow_check import find_problems, required_inputs
from framehouse.engines.comfyui.workflows import Nodes, Workflow, fill, remove_unused_images
from framehouse.engines.expansion_canvas import MAX_INPAINT_PIXELS, canvas_size
from framehouse.engines.http_exchange import NotAccepted, OutcomeUnknown
from framehouse.engines.image_files import ImageFile, answer_file, png_file
from framehouse.engines.interface import Abilities, Batch, GeneratedImage, HealthCheck, OpenOrder, Progress
from framehouse.engines.masked_canvas import draw_edit_canvas
from framehouse.engines.plain_file import plain_file
from framehouse.engines.replicas import Replica, Replicas
from framehouse.engines.unsaved_order import UnsavedOrder

log = logging.getLogger(__name__)
_MAX_REFERENCES = 10
_MAX_LOSSES = 2
"""If a server loses the job of a shot this many times, the shot is not generated on this server."""
_MISSING_COOLDOWN_S = 60.0
_CLOSE_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class _Inputs:
    """The input of a job: the files of the images in order, the file of the mask (or empty), and the prompt."""

    workflow: Workflow
    files: tuple[bytes, ...]
    mask: bytes
    prompt: str
    size: Size
    contact_sheet: str = ""


class ComfyUI:
    """An engine that runs workflows on one or more ComfyUI servers. docs/engines/comfyui.md explains the options.

    The record of a job is saved before the job is placed. If a worker dies, the next worker finds the job by its
    record. A job that a server has lost is placed again, because a job costs nothing.
    """

    __signature__ = inspect.signature(check_comfyui_options)

    def __init__(self, **options: Any) -> None:
        self._options = check_comfyui_options(**options)
        self._replicas = Replicas(self._options.servers, concurrency=self._options.concurrency)
        self._api = ComfyUIApi(self._options.headers)
        self._node_infos: dict[tuple[Replica, str], Mapping[str, Any] | None] = {}
        self._background_tasks = BackgroundTasks()

    def abilities(self) -> Abilities:
        usual = [w for w in (self._options.workflow, self._options.edit_workflow) if w is not None]
        return Abilities(
            max_references=_MAX_REFERENCES if self._options.edit_workflow else 0,
            max_batch=1,
            whole_series=self._options.edit_workflow is not None,
            concurrency=len(self._replicas.all) * self._options.concurrency,
            negative_prompts=bool(usual) and all("negative" in workflow.placeholders for workflow in usual),
            expansions=self._options.expand_workflow is not None,
            masks=self._options.expand_workflow is not None,
            needs_reference=self._options.workflow is None,
        )

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        open_order = batch.open_order or UnsavedOrder()
        saved = job_from_data(open_order.data)
        if open_order.data and (saved is None or saved.shot not in {shot.index for shot in batch.shots}):
            await open_order.save({})  # the image of this job is already stored
            saved = None
        shows_first_frame = batch.series and self._options.edit_workflow is not None
        first_frame = batch.first_frame.content if shows_first_frame and batch.first_frame else b""
        for done, shot in enumerate(batch.shots):
            job = saved if saved and saved.shot == shot.index else None
            async with aclosing(self._generate_shot(batch, shot, first_frame, open_order, job)) as events:
                async for event in events:
                    if isinstance(event, Progress):
                        yield replace(event, share=(done + event.share) / len(batch.shots))
                        continue
                    if shows_first_frame and not first_frame:
                        first_frame = await asyncio.to_thread(answer_file, event.image)
                    yield event

    async def _generate_shot(
        self, batch: Batch, shot: Shot, first_frame: bytes, open_order: OpenOrder, job: SavedJob | None
    ) -> AsyncGenerator[GeneratedImage | Progress, None]:
        """Generate the image of one shot. `job` is a job that an earlier call placed for this shot, or None.

        If a server refuses or loses the job, the next server is tried. Raises Unavailable if no server is left.
        """
        inputs = await asyncio.to_thread(self._prepare_inputs, batch, shot, first_frame)
        refused: dict[Replica, str] = {}
        losses: Counter[Replica] = Counter()
        while True:
            async with AsyncExitStack() as stack:
                resumed = next((r for r in self._replicas.all if job and r.url == job.server), None)
                if resumed is not None:
                    replica = resumed
                    stack.enter_context(self._replicas.count_in_flight(replica))
                else:
                    if open_order.data:
                        await open_order.save({})
                    await self._refresh_queue_lengths(refused)
                    replica = await stack.enter_async_context(self._replicas.acquire(refused))
                execution = JobExecution(
                    self._api,
                    replica,
                    open_order,
                    timeout_s=self._options.timeout_s,
                    previews=batch.options.partial_images or 0,
                )
                stack.push_async_callback(execution.close)
                try:
                    if resumed is not None and job is not None:
                        execution.resume(job, len(inputs.workflow.nodes))
                    else:
                        yield Progress(0.0)
                        await execution.place(await self._filled_workflow(replica, inputs, batch, shot), shot.index)
                    job = None
                    async with aclosing(execution.watch()) as steps:
                        async for progress in steps:
                            yield replace(progress, share=progress.share * 0.95)
                    image = await execution.fetch()
                except (NotAccepted, OutcomeUnknown) as error:
                    refused[replica] = error.reason
                    at_least_s = error.cooldown_s if isinstance(error, NotAccepted) else 0.0
                    self._start_cooldown(replica, error.reason, at_least_s=at_least_s)
                    continue
                except JobLost as error:
                    log.warning("%s: the server %s", replica.url, error.reason)
                    losses[replica] += 1
                    if error.unhealthy:
                        self._start_cooldown(replica, error.reason)
                    if error.permanent or error.unhealthy or losses[replica] >= _MAX_LOSSES:
                        refused[replica] = error.reason
                    continue
                except (asyncio.CancelledError, GeneratorExit):
                    self._background_tasks.start(execution.cancel_if_unwanted())
                    raise
                replica.end_cooldown()
            yield GeneratedImage(shot.index, image, _facts(inputs, image, batch.size))
            return

    # --- the input of a job -------------------------------------------------------------------------------------

    def _prepare_inputs(self, batch: Batch, shot: Shot, first_frame: bytes) -> _Inputs:
        """Choose the workflow, and prepare its images and its prompt. Blocks the calling thread.

        Raises Unavailable if the route has no workflow for the batch.
        """
        if batch.box or batch.mask:
            workflow = _required(
                self._options.expand_workflow, "expand_workflow", "expands images and edits images with a mask"
            )
            arranged = arrange_images(batch, max_images=1, cite=self._options.cite)
            size = canvas_size(batch.size, max_pixels=min(self._options.max_pixels, MAX_INPAINT_PIXELS))
            canvas, mask = draw_edit_canvas(batch, size)
            prompt = build_prompt(shot, batch, arranged)
            return _Inputs(workflow, (png_file(canvas),), png_file(mask), prompt, size)
        size = largest_within(batch.size, self._options.max_pixels)
        if not (batch.references or batch.elements or first_frame):
            workflow = _required(self._options.workflow, "workflow", "generates images from text alone")
            prompt = build_prompt(shot, batch, ArrangedImages((), {}))
            return _Inputs(workflow, (), b"", prompt, size)
        workflow = _required(self._options.edit_workflow, "edit_workflow", "uses references")
        arranged = arrange_images(
            batch, max_images=workflow.max_images, cite=self._options.cite, first_frame=first_frame
        )
        convert = self._options.convert_colours
        files = tuple(plain_file(file, convert_colours=convert, opaque=True) for file in arranged.files)
        return _Inputs(workflow, files, b"", build_prompt(shot, batch, arranged), size, arranged.contact_sheet)

    async def _filled_workflow(self, replica: Replica, inputs: _Inputs, batch: Batch, shot: Shot) -> Mapping[str, Any]:
        """Upload the images to a server, and return the workflow with all values. Raises NotAccepted and
        OutcomeUnknown."""
        values: dict[str, str | int] = {
            "prompt": inputs.prompt,
            "negative": batch.options.negative_prompt,
            "seed": shot.seed,
            "width": inputs.size.width,
            "height": inputs.size.height,
        }
        for number, content in enumerate(inputs.files, 1):
            values[f"image_{number}"] = await self._api.upload(replica.url, content)
        if inputs.mask:
            values["mask"] = await self._api.upload(replica.url, inputs.mask)
        nodes: Nodes = inputs.workflow.nodes
        if inputs.workflow.max_images > len(inputs.files):
            infos = {name: await self._node_info(replica, name) for name in inputs.workflow.class_types}
            nodes = remove_unused_images(nodes, values, lambda name: required_inputs(infos[name]))
        return fill(nodes, values)

    async def _node_info(self, replica: Replica, class_type: str) -> Mapping[str, Any] | None:
        key = (replica, class_type)
        if key not in self._node_infos:
            self._node_infos[key] = await self._api.node_info(replica.url, class_type)
        return self._node_infos[key]

    # --- servers ------------------------------------------------------------------------------------------------

    async def _refresh_queue_lengths(self, refused: Mapping[Replica, str]) -> None:
        """Query the length of each usable server's queue. If there is only one server, nothing is queried."""
        if len(self._replicas.all) > 1:
            usable = [r for r in self._replicas.all if r not in refused and not r.cooldown.remaining_s]
            await asyncio.gather(*(self._refresh_queue_length(replica) for replica in usable))

    async def _refresh_queue_length(self, replica: Replica) -> None:
        try:
            replica.queue_length = await self._api.queue_length(replica.url)
        except (NotAccepted, OutcomeUnknown) as error:
            at_least_s = error.cooldown_s if isinstance(error, NotAccepted) else 0.0
            self._start_cooldown(replica, error.reason, at_least_s=at_least_s)

    async def check(self) -> list[HealthCheck]:
        return list(await asyncio.gather(*(self._check(replica) for replica in self._replicas.all)))

    async def _check(self, replica: Replica) -> HealthCheck:
        """Check one server. A successful check ends its cooldown.

        The descriptions of nodes are requested again after each failed check, because a server may have been restarted.
        """
        try:
            version = await self._api.version(replica.url)
            problems = await self._missing(replica)
        except (NotAccepted, OutcomeUnknown) as error:
            self._forget(replica)
            at_least_s = error.cooldown_s if isinstance(error, NotAccepted) else 0.0
            self._start_cooldown(replica, error.reason, at_least_s=at_least_s)
            wrong_key = "api_key" in error.reason
            advice = "Set valid headers in the route." if wrong_key else "Start ComfyUI, or correct servers."
            return HealthCheck(replica.url, ok=False, reason=f"the server {error.reason}", advice=advice)
        if problems:
            self._forget(replica)
            self._start_cooldown(replica, "lacks nodes or models", at_least_s=_MISSING_COOLDOWN_S)
            advice = "Install the nodes and models, or correct the workflow: framehouse comfyui check."
            return HealthCheck(replica.url, ok=False, reason="; ".join(problems), advice=advice)
        if replica.fixed_cooldown and replica.cooldown.remaining_s:
            reason = f"the server {replica.cooldown.reason}; it is used again in {replica.cooldown.remaining_s:.0f} s"
            return HealthCheck(replica.url, ok=False, reason=reason, advice="Wait.")
        replica.end_cooldown()
        self._replicas.wake()
        number = ".".join(map(str, version)) or "of an unknown version"
        return HealthCheck(replica.url, ok=True, reason=f"the server is healthy (ComfyUI {number})")

    async def _missing(self, replica: Replica) -> list[str]:
        """Return the problems of all workflows on a server."""
        problems = []
        for workflow in self._options.workflows:
            infos = {name: await self._node_info(replica, name) for name in workflow.class_types}
            problems += [f"{workflow.option}: {problem}" for problem in find_problems(workflow, infos)]
        return problems

    def _forget(self, replica: Replica) -> None:
        """Remove the descriptions of the server's nodes."""
        for key in [key for key in self._node_infos if key[0] is replica]:
            del self._node_infos[key]

    def _start_cooldown(self, replica: Replica, reason: str, *, at_least_s: float = 0.0) -> None:
        if not replica.cooldown.remaining_s:
            log.warning("%s: cooldown started: the server %s", replica.url, reason)
        replica.start_cooldown(reason, at_least_s=at_least_s)
        self._replicas.wake()

    async def close(self) -> None:
        await self._background_tasks.finish(_CLOSE_TIMEOUT_S)
        await self._api.close()


def _required(workflow: Workflow | None, option: str, use: str) -> Workflow:
    if workflow is None:
        raise Unavailable(f"the route has no {option}, which {use}")
    return workflow


def _facts(inputs: _Inputs, image: NDArray[np.uint8] | ImageFile, requested: Size) -> dict[str, object]:
    """Return the additional metadata of a generated image."""
    size = Size(image.width, image.height) if isinstance(image, ImageFile) else Size(image.shape[1], image.shape[0])
    facts: dict[str, object] = {"server": "comfyui", "workflow": inputs.workflow.option}
    if size != requested:
        facts["generated_size"] = f"{size.width}x{size.height}"
    if inputs.contact_sheet:
        facts["contact_sheet"] = inputs.contact_sheet
    return facts
