"""The diffusers engine. It checks its options, queues the shots of a batch, and checks the health of its devices.

This module never imports torch.
"""

import asyncio
import inspect
import os
import threading
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from framehouse.domain.errors import Failed, Unavailable
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import largest_within
from framehouse.engines.arrange import arrange_images, build_prompt
from framehouse.engines.diffusers import device_memory, model_defaults
from framehouse.engines.diffusers.calls import QueuedShot
from framehouse.engines.diffusers.child import default_command, probe
from framehouse.engines.diffusers.devices import DeviceThread
from framehouse.engines.diffusers.diffusers_options import DiffusersOptions, check_options, with_defaults
from framehouse.engines.diffusers.model_files import load_settings, missing_requirement
from framehouse.engines.diffusers.pipeline_classes import from_json
from framehouse.engines.diffusers.shot_queue import Device, DeviceSettings, ShotQueue, Step
from framehouse.engines.diffusers.weights import find_weights
from framehouse.engines.expansion_canvas import MAX_INPAINT_PIXELS, canvas_size
from framehouse.engines.image_files import answer_file, decode_reference_rgb, png_file
from framehouse.engines.interface import Abilities, Batch, GeneratedImage, HealthCheck, Progress
from framehouse.engines.masked_canvas import draw_edit_canvas
from framehouse.engines.series_look import similarity

_PROBE_LIMIT_S = 60.0
_SEED_STEP = 1_000_003
"""The difference between the seeds of two attempts for one image. It is larger than the number of images of a task."""
_PROBE_AGE_S = 600.0
"""The age at which a check probes the GPUs again, because other programs may use more or less of their memory."""


_open_engines: "weakref.WeakSet[Diffusers]" = weakref.WeakSet()
"""The engines of this process, which may share devices."""


class Diffusers:
    """An engine that generates images on `devices` with the weights of `model` at `revision`.

    `model` is a Hugging Face repository or a local folder. docs/engines/diffusers.md explains all options. The module
    `model_defaults` defines the default options for each model.
    """

    __signature__ = inspect.signature(check_options)

    def __init__(self, **options: Any) -> None:
        self._options, self._omitted = check_options(**options)
        self._command = default_command()
        self._queue: ShotQueue | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._probed: dict[str, Any] = {}
        self._probed_at = 0.0
        self._loaded_gb: dict[str, float] = {}
        """The estimated memory that models of this process used on each GPU when the GPUs were probed."""
        _open_engines.add(self)

    @property
    def options(self) -> DiffusersOptions:
        """The options of the route. Their default values change as soon as the pipeline class of the model is known.

        The class is known when the weights are on this machine. If the class is not in `pipeline_classes.json`, its
        abilities are known after a device has loaded the model.
        """
        if not self._options.defaults.known:
            weights = find_weights(self._options.model, self._options.revision)
            devices = self._queue.devices if self._queue else ()
            threads = [device for device in devices if isinstance(device, DeviceThread)]
            found = [thread.description["abilities"] for thread in threads if thread.description]
            defaults = model_defaults.defaults_for(
                self._options.model, weights.pipeline if weights else "", from_json(found[0]) if found else None
            )
            self._options = with_defaults(self._options, defaults, self._omitted)
        return self._options

    def abilities(self) -> Abilities:
        count = len(self.options.devices) or _estimated_gpu_count()
        return Abilities(
            max_references=self.options.max_references,
            max_batch=self.options.batch,
            whole_series=self.options.max_input_images > 0,
            concurrency=count * max(2, self.options.batch if self.options.defaults.multiple_prompts else 2),
            negative_prompts=self.options.negative_prompts,
            expansions=bool(self.options.defaults.inpaint_pipeline),
            masks=bool(self.options.defaults.inpaint_pipeline),
            needs_reference=self.options.defaults.needs_reference,
        )

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        if self.options.defaults.only_expansions and not (batch.box or batch.mask):
            raise Unavailable(f"{self.options.model_name} only expands images and edits images with a mask")
        has_references = bool(batch.references or batch.elements or batch.first_frame)
        if self.options.defaults.needs_reference and not has_references:
            model = self.options.model_name
            raise Unavailable(f"{model} generates only from references, and the task has none")
        queue = await asyncio.to_thread(self._started_queue)
        frame = batch.first_frame.content if batch.first_frame and self.options.max_input_images else b""
        rounds = [batch.shots]
        if batch.series and self.options.max_input_images and not frame:
            rounds = [batch.shots[:1], batch.shots[1:]]  # the first frame is an input for the later images
        done = 0
        for shots in filter(None, rounds):
            first = shots is rounds[0] and len(rounds) > 1
            images = self._generate_shots(queue, batch, shots, frame, done)
            if frame and self.options.repeat_below:
                images = self._with_repeated_shot(images, queue, batch, shots, frame)
            async with aclosing(images):
                async for event in images:
                    # the first call may have shown that the model accepts only text
                    if isinstance(event, GeneratedImage) and first and self.options.max_input_images:
                        frame = await asyncio.to_thread(answer_file, event.pixels)
                    yield event
            done += len(shots)

    async def _generate_shots(
        self, queue: ShotQueue, batch: Batch, shots: tuple[Shot, ...], frame: bytes, done: int
    ) -> AsyncGenerator[GeneratedImage | Progress, None]:
        """Generate these shots of a batch, of which `done` shots are already generated.

        `frame` is the file of the first image of the series, or empty. If it is not empty, the metadata of each image
        contains the similarity to this image.
        """
        events = _EventQueue(asyncio.get_running_loop())
        try:
            queued, sheet_facts = await asyncio.to_thread(self._queued_shots, events, batch, shots, frame)
            queue.put(queued)
            left = len(queued)
            while left:
                event = await events.get()
                if isinstance(event, Failed):
                    raise event
                if isinstance(event, GeneratedImage):
                    left -= 1
                    event.facts.update(sheet_facts)
                    if frame:
                        event.facts["series_similarity"] = await asyncio.to_thread(_similarity, frame, event)
                    yield event
                else:
                    yield Progress((done + sum(shot.share for shot in queued)) / len(batch.shots))
        finally:
            queue.cancel(events)

    async def _with_repeated_shot(
        self,
        images: AsyncGenerator[GeneratedImage | Progress, None],
        queue: ShotQueue,
        batch: Batch,
        shots: tuple[Shot, ...],
        frame: bytes,
    ) -> AsyncGenerator[GeneratedImage | Progress, None]:
        """Yield the later images of a series after all of them are generated.

        The image that is least similar to the first image is generated a second time with another seed, if its
        similarity is below the option `repeat_below`. The more similar of the two images is yielded.
        """
        generated: dict[int, GeneratedImage] = {}
        async with aclosing(images):
            async for event in images:
                if isinstance(event, GeneratedImage):
                    generated[event.index] = event
                else:
                    yield event
        worst = min(generated.values(), key=_similarity_of)
        for image in generated.values():
            if image is not worst:
                yield image
        if _similarity_of(worst) < self.options.repeat_below:
            shot = next(shot for shot in shots if shot.index == worst.index)
            again = (replace(shot, seed=shot.seed + _SEED_STEP),)
            second = self._generate_shots(queue, batch, again, frame, len(batch.shots) - 1)
            with suppress(Failed):  # the first attempt has succeeded
                async with aclosing(second):
                    async for event in second:
                        if isinstance(event, GeneratedImage) and _similarity_of(event) > _similarity_of(worst):
                            event.facts.update({"seed": again[0].seed, "attempts": 2})
                            worst = event
        yield worst

    async def prepare(self) -> None:
        """Start to load the model on all devices, if the option `preload` is true. Does not wait for the devices.

        If packages, weights or devices are missing, this method does nothing. It can be called again later.
        """
        if self.options.preload:
            with suppress(Unavailable):  # `check` reports the problem
                await asyncio.to_thread(self._started_queue)

    def may_use(self, gpu: str) -> bool:
        """Return whether this engine loads its model onto a GPU, such as "cuda:0", when it gets a task."""
        if not gpu.startswith("cuda") or (self.options.devices and gpu not in self.options.devices):
            return False
        return missing_requirement(self.options) is None

    def has_loaded(self, device: str) -> bool:
        queue = self._queue
        return any(d.device == device and d.loaded for d in queue.devices) if queue else False

    @property
    def needed_gb(self) -> float:
        """The estimated memory that the route needs on each of its devices. 0 means unknown."""
        parts = self._part_sizes()
        return device_memory.route_needs(parts, self.options).total_gb if parts else 0.0

    def _part_sizes(self) -> dict[str, float]:
        weights = find_weights(self.options.model, self.options.revision)
        return device_memory.part_sizes(self.options.defaults, weights.parameter_counts if weights else {})

    async def check(self) -> list[HealthCheck]:
        """Check the installed packages and weights, and each device.

        A device is unhealthy if it does not exist, has too little memory, or failed to load the model earlier. The
        check itself does not load a model.
        """
        return await asyncio.to_thread(self._check)

    async def close(self) -> None:
        _open_engines.discard(self)
        self._closed = True
        await asyncio.to_thread(self._close_queue)

    def _close_queue(self) -> None:
        """Close the queue. Blocks the calling thread, at most until a probe of the devices has ended."""
        if self._queue is None:
            with self._lock:  # another thread may be creating the queue
                pass
        if self._queue:
            self._queue.close()

    def _queued_shots(
        self, events: "_EventQueue", batch: Batch, shots: tuple[Shot, ...], frame: bytes
    ) -> tuple[list[QueuedShot], dict[str, object]]:
        """Return the shots for the queue, and the metadata that describes the contact sheet.

        The metadata is empty if there is no contact sheet. Blocks the calling thread.
        """
        options = self.options
        max_images = max(1, options.max_input_images)
        arranged = arrange_images(batch, max_images=max_images, cite=options.cite, first_frame=frame, crop_subject=True)
        if batch.box or batch.mask:
            size = canvas_size(batch.size, max_pixels=min(options.max_pixels, MAX_INPAINT_PIXELS))
            canvas, mask = map(png_file, draw_edit_canvas(batch, size))
            files: tuple[bytes, ...] = (canvas,)
        else:
            size, files, mask = largest_within(batch.size, options.max_pixels), arranged.files, b""
        queued = [
            QueuedShot(
                recipient=events,
                index=shot.index,
                prompt=build_prompt(shot, batch, arranged),
                seed=shot.seed,
                size=size,
                final_size=batch.size,
                files=files,
                mask=mask,
                negative_prompt=batch.options.negative_prompt if options.negative_prompts else "",
            )
            for shot in shots
        ]
        return queued, {"contact_sheet": arranged.contact_sheet} if arranged.contact_sheet else {}

    def _started_queue(self) -> ShotQueue:
        """Return the queue of shots. The first call creates the queue and starts its devices.

        Raises Unavailable if packages, weights or devices are missing. Blocks the calling thread.
        """
        if self._queue:  # without the lock, which a health check may hold while it probes the devices
            return self._queue
        with self._lock:
            if self._queue:
                return self._queue
            if self._closed:
                raise Unavailable("the engine is closed")
            if problem := missing_requirement(self.options):
                raise Unavailable(problem.reason)
            names = self.options.devices or tuple(device["id"] for device in self._probe_devices())
            queue = ShotQueue(
                DeviceSettings(
                    command=self._command,
                    load_settings=self._load_settings,
                    max_batch=self.options.batch,
                    multiple_prompts=self.options.defaults.multiple_prompts,
                    start_limit_s=self.options.start_limit_s,
                    hang_limit_s=self.options.hang_limit_s,
                    preload=self.options.preload,
                    unload_after_s=self.options.unload_after_s,
                )
            )
            queue.start([DeviceThread(name, queue) for name in names])
            self._queue = queue
            return queue

    def _probe_devices(self) -> list[dict[str, Any]]:
        """Return the devices of this machine. Later calls return the result of the first successful call.

        Raises Unavailable if the devices cannot be listed. Blocks the calling thread.
        """
        if not self._probed:
            probed = probe(self._command, _PROBE_LIMIT_S)
            if "reason" in probed:
                raise Unavailable(str(probed["reason"]))
            self._use_probed(probed)
        devices: list[dict[str, Any]] = self._probed["devices"]
        return devices

    def _probe_free_memory(self) -> None:
        """Probe the devices again if the latest result contains free memory that may have changed.

        If the devices cannot be listed, the latest result is kept. Blocks the calling thread.
        """
        has_free_memory = any("free_bytes" in device for device in self._probe_devices())
        if has_free_memory and time.monotonic() - self._probed_at > _PROBE_AGE_S:
            probed = probe(self._command, _PROBE_LIMIT_S)
            if "reason" not in probed:
                self._use_probed(probed)

    def _use_probed(self, probed: dict[str, Any]) -> None:
        self._probed, self._probed_at = probed, time.monotonic()
        self._loaded_gb = {
            device["id"]: sum(e.needed_gb for e in list(_open_engines) if e.has_loaded(device["id"]))
            for device in probed["devices"]
        }

    def _load_settings(self) -> dict[str, Any]:
        return load_settings(self.options)

    def _check(self) -> list[HealthCheck]:
        if missing := missing_requirement(self.options):
            return [missing]
        try:
            with self._lock:
                self._probe_free_memory()
                devices = {device["id"]: device for device in self._probe_devices()}
        except Unavailable as error:
            return [HealthCheck("devices", ok=False, reason=error.message)]
        ram = self._probed["ram_bytes"]
        devices.setdefault("cpu", {"id": "cpu", "name": "CPU", "memory_bytes": ram})
        parts = self._part_sizes()
        checks = []
        running = {device.device: device for device in self._queue.devices} if self._queue else {}
        for name in self.options.devices or [name for name in devices if name != "cpu"] or ["cpu"]:
            device = running.get(name)
            if device and device.load_error:
                checks.append(HealthCheck(name, ok=False, reason=device.load_error))
            elif name not in devices:
                reason = f"the device does not exist; torch lists {', '.join(devices)}"
                advice = "Correct the devices option, or check the GPU driver."
                checks.append(HealthCheck(name, ok=False, reason=reason, advice=advice))
            else:
                others = [e for e in list(_open_engines) if e is not self and e.may_use(name)]
                check = device_memory.check_device(
                    devices[name],
                    self.options,
                    parts,
                    ram_bytes=ram,
                    loaded_gb=self._loaded_gb.get(name, 0.0),
                    others=[(e.options.model_name, e.needed_gb) for e in others],
                    loaded=self.has_loaded(name),
                )
                checks.append(replace(check, reason=check.reason + _state(device)))
        return checks


class _EventQueue:
    """A Recipient for one call to `generate`. It passes the events of the call from the device threads to the event
    loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.cancelled = False
        self._events: asyncio.Queue[GeneratedImage | Progress | Failed] = asyncio.Queue()
        self._loop = loop

    async def get(self) -> GeneratedImage | Progress | Failed:
        return await self._events.get()

    def deliver(self, event: GeneratedImage | Progress | Failed) -> None:
        if not self.cancelled:
            with suppress(RuntimeError):  # raised if the event loop is closed; by then, `generate` has ended
                self._loop.call_soon_threadsafe(self._events.put_nowait, event)


def _state(device: Device | None) -> str:
    """Return the end of a sentence that says whether the model is loaded. Empty if this is not known."""
    if device and device.step is Step.LOAD:
        return "; the model is being loaded"
    if device and device.loaded:
        used = f" and has used up to {device.peak_bytes / 1e9:.1f} GB" if device.peak_bytes else ""
        return f"; the model is loaded{used}"
    return ""


def _similarity(first_frame: bytes, generated: GeneratedImage) -> float:
    """Return the similarity of an image to the first image of the series. Blocks the calling thread."""
    return similarity(decode_reference_rgb(first_frame), Image.fromarray(generated.pixels))


def _similarity_of(generated: GeneratedImage) -> float:
    value = generated.facts["series_similarity"]
    assert isinstance(value, float)
    return value


def _estimated_gpu_count() -> int:
    """Return the number of NVIDIA GPUs, at least 1.

    The GPUs in CUDA_VISIBLE_DEVICES are counted. If this variable is not set, the devices in /dev are counted.
    """
    if visible := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return len(visible.split(","))
    return max(1, sum(path.name[6:].isdecimal() for path in Path("/dev").glob("nvidia*")))
