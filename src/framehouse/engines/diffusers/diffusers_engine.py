"""The engine: its options, and a batch as pieces that its devices paint. Nothing of torch is loaded here."""

import asyncio
import importlib.util
import os
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image

from framehouse.domain.errors import Failed, Unavailable
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import largest_within
from framehouse.engines.arrange import arrange, worded
from framehouse.engines.diffusers import device_memory, model_defaults
from framehouse.engines.diffusers.calls import Piece
from framehouse.engines.diffusers.child import default_command, probe
from framehouse.engines.diffusers.devices import Desk, Work
from framehouse.engines.diffusers.diffusers_options import (
    AUTO,
    DTYPES,
    OFFLOAD,
    QUANTIZE,
    Options,
    check_choice,
    check_devices,
    check_model,
    told_name,
)
from framehouse.engines.diffusers.weights import Weights, find_weights
from framehouse.engines.image_files import png_file
from framehouse.engines.interface import Abilities, Batch, GeneratedImage, HealthCheck, Progress
from framehouse.engines.option_checks import BadOption, check_cite, check_number, check_whole

NOT_INSTALLED = 'the packages of the diffusers engine are not installed: pip install "framehouse[diffusers]"'
_PACKAGES = ("torch", "diffusers", "transformers", "accelerate")
_PROBE_LIMIT_S = 60.0
_MOST_PIXELS = 8192 * 8192
"""Of `max_pixels`; no picture is asked for that has more."""


class Diffusers:
    """Paints with the weights of `model`, a repository or a folder, at `revision`, on `devices`. All options are
    explained in docs/diffusers.md; what is left out is as `models` says of the model."""

    def __init__(
        self,
        *,
        model: str = model_defaults.DEFAULT,
        revision: str = "main",
        devices: object = AUTO,
        dtype: str = "bfloat16",
        quantize: str | None = None,
        offload: str | None = None,
        compile: bool = False,
        steps: int | None = None,
        guidance: float | None = None,
        max_references: int | None = None,
        max_pixels: int | None = None,
        cite: str | None = None,
        negative_prompt: str | None = None,
        batch: int = 4,
        upscaler: str | None = None,
        start_limit_s: float = 900.0,
        hang_limit_s: float = 600.0,
    ) -> None:
        model = check_model("model", model)
        upscaler = None if upscaler is None else check_model("upscaler", upscaler)
        for name, text in (("revision", revision), ("negative_prompt", negative_prompt)):
            if text is not None and not isinstance(text, str):
                raise BadOption(f"{name} must be text")
        if not isinstance(compile, bool):
            raise BadOption("compile must be true or false")
        found = find_weights(model, revision)
        known = model_defaults.known(model, found.pipeline if found else "")
        shown, pixels = known.shown, known.most_pixels
        if max_references is not None:
            shown = check_whole("max_references", max_references, 0, model_defaults.MOST_REFERENCES)
        if max_pixels is not None:
            pixels = check_whole("max_pixels", max_pixels, 1024, _MOST_PIXELS)
        if known.needs_reference and not shown:
            raise BadOption(f"max_references must be at least 1: {model} paints only from references")
        self.options = Options(
            model=model,
            revision=revision,
            devices=check_devices(devices),
            dtype=check_choice("dtype", dtype, DTYPES) or DTYPES[0],
            quantize=check_choice("quantize", quantize, QUANTIZE),
            offload=check_choice("offload", offload, OFFLOAD),
            compile=compile,
            steps=known.steps if steps is None else check_whole("steps", steps, known.least_steps, 200),
            guidance=known.guidance if guidance is None else check_number("guidance", guidance, 0, 30),
            shown=shown,
            max_pixels=pixels,
            cite=known.cite if cite is None else check_cite(cite),
            negative_prompt=known.negative if negative_prompt is None else negative_prompt,
            batch=check_whole("batch", batch, 1, 64),
            upscaler=upscaler,
            start_limit_s=check_number("start_limit_s", start_limit_s, 1, 86_400),
            hang_limit_s=check_number("hang_limit_s", hang_limit_s, 1, 86_400),
            known=known,
        )
        self._command = default_command()
        self._desk: Desk | None = None
        self._opening = threading.Lock()
        self._found: dict[str, Any] = {}

    def abilities(self) -> Abilities:
        count = len(self.options.devices) or _cards_guessed()
        return Abilities(
            max_references=self.options.max_references,
            max_batch=self.options.batch,
            whole_series=self.options.shown > 0,
            concurrency=count * max(2, self.options.batch if self.options.known.many_prompts else 2),
        )

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        sent = bool(batch.references or batch.elements or batch.first_frame)
        if self.options.known.needs_reference and not sent:
            raise Unavailable(f"{self.options.model_name} paints only from references, and none were sent")
        desk = await asyncio.to_thread(self._open)
        order = _Order(asyncio.get_running_loop())
        frame = batch.first_frame.content if batch.first_frame and self.options.shown else b""
        rounds = [batch.shots]
        if batch.series and self.options.shown and not frame:
            rounds = [batch.shots[:1], batch.shots[1:]]
        done = 0
        try:
            for shots in filter(None, rounds):
                pieces, sheet = await asyncio.to_thread(self._pieces, order, batch, shots, frame)
                desk.put(pieces)
                left = len(pieces)
                while left:
                    event = await order.events.get()
                    if isinstance(event, Failed):
                        raise event
                    if isinstance(event, GeneratedImage):
                        left -= 1
                        event.facts.update(sheet)
                        if rounds[0] is not batch.shots and shots is rounds[0] and len(batch.shots) > 1:
                            frame = await asyncio.to_thread(_as_file, event)
                        yield event
                    else:
                        yield Progress((done + sum(piece.share for piece in pieces)) / len(batch.shots))
                done += len(pieces)
        finally:
            desk.drop(order)

    async def check(self) -> list[HealthCheck]:
        """The packages, the weights, and each device: whether it is large enough, and whether it works."""
        return await asyncio.to_thread(self._look)

    async def close(self) -> None:
        with self._opening:
            desk = self._desk
        if desk:
            await asyncio.to_thread(desk.close)

    def _pieces(
        self, order: "_Order", batch: Batch, shots: tuple[Shot, ...], frame: bytes
    ) -> tuple[list[Piece], dict[str, object]]:
        """The shots as pieces, and what their metadata say of the references."""
        options = self.options
        size = largest_within(batch.size, options.max_pixels)
        arranged = arrange(batch, most=max(1, options.shown), cite=options.cite, first_frame=frame)
        pieces = [
            Piece(order, shot.index, worded(shot, batch, arranged), shot.seed, size, batch.size, arranged.files)
            for shot in shots
        ]
        return pieces, {"contact_sheet": arranged.sheet} if arranged.sheet else {}

    def _open(self) -> Desk:
        """The desk, with its devices. Raises Unavailable. Blocking."""
        with self._opening:
            if self._desk:
                return self._desk
            if problem := self._lacking():
                raise Unavailable(problem.reason)
            names = self.options.devices or tuple(device["id"] for device in self._devices())
            self._desk = Desk(
                Work(
                    self._command,
                    self._settings,
                    self.options.batch,
                    self.options.known.many_prompts,
                    self.options.start_limit_s,
                    self.options.hang_limit_s,
                )
            )
            self._desk.open(names)
            return self._desk

    def _devices(self) -> list[dict[str, Any]]:
        """What is here, asked once. Raises Unavailable."""
        if not self._found:
            found = probe(self._command, _PROBE_LIMIT_S)
            if "why" in found:
                raise Unavailable(str(found["why"]))
            self._found = found
        devices: list[dict[str, Any]] = self._found["devices"]
        return devices

    def _lacking(self) -> HealthCheck | None:
        """What must be installed or fetched first."""
        if any(importlib.util.find_spec(name) is None for name in _PACKAGES):
            return HealthCheck("packages", ok=False, reason=NOT_INSTALLED, advice='pip install "framehouse[diffusers]"')
        for model, revision in ((self.options.model, self.options.revision), (self.options.upscaler, "main")):
            try:
                if model:
                    _weights(model, revision)
            except Unavailable as error:
                do = "" if Path(model or "").is_absolute() else f"framehouse models pull {model}"
                return HealthCheck(told_name(model or ""), ok=False, reason=error.message, advice=do)
        return None

    def _settings(self) -> dict[str, Any]:
        """What a process is told. Raises Unavailable where the weights are gone."""
        options = self.options
        found = _weights(options.model, options.revision)
        return {
            "model": options.model_name,
            "folder": str(found.folder),
            "revision": found.revision,
            "dtype": options.dtype,
            "quantize": options.quantize,
            "offload": options.offload,
            "compile": options.compile,
            "steps": options.steps,
            "guidance": options.guidance,
            "guidance_name": options.known.guidance_name,
            "negative": options.negative_prompt,
            "least_steps": options.known.least_steps,
            "shown": options.shown,
            "upscaler": str(_weights(options.upscaler).folder) if options.upscaler else None,
            "upscaler_name": told_name(options.upscaler) if options.upscaler else None,
        }

    def _look(self) -> list[HealthCheck]:
        if lacking := self._lacking():
            return [lacking]
        try:
            with self._opening:
                found = {device["id"]: device for device in self._devices()}
        except Unavailable as error:
            return [HealthCheck("devices", ok=False, reason=error.message)]
        ram = self._found["ram_bytes"]
        found.setdefault("cpu", {"id": "cpu", "name": "the processor", "memory_bytes": ram})
        here = find_weights(self.options.model, self.options.revision)
        weight = device_memory.weight_of(self.options.known, here.numbers if here else {})
        checks = []
        unfit = {device.device: device.why for device in self._desk.devices} if self._desk else {}
        for name in self.options.devices or [name for name in found if name != "cpu"] or ["cpu"]:
            if unfit.get(name):
                checks.append(HealthCheck(name, ok=False, reason=unfit[name]))
            elif name not in found:
                told = f"is not here; torch finds {', '.join(found)}"
                checks.append(HealthCheck(name, ok=False, reason=told, advice="Correct devices, or check the driver."))
            else:
                checks.append(device_memory.judge(found[name], self.options, weight, ram_bytes=ram))
        return checks


class _Order:
    """One call of `generate`, as the devices' threads see it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.gone = False
        self.events: asyncio.Queue[GeneratedImage | Progress | Failed] = asyncio.Queue()
        self._loop = loop

    def tell(self, event: GeneratedImage | Progress | Failed) -> None:
        if not self.gone:
            with suppress(RuntimeError):  # the loop is closed, and nobody waits
                self._loop.call_soon_threadsafe(self.events.put_nowait, event)


def _weights(model: str, revision: str = "main") -> Weights:
    found = find_weights(model, revision)
    of = "" if revision == "main" else f" at {revision}"
    if found is None:
        if Path(model).is_absolute():
            raise Unavailable(f"the folder of {told_name(model)} is not on this machine")
        raise Unavailable(f"{model}{of} is not on this machine: framehouse models pull {model}")
    if found.missing:
        raise Unavailable(
            f"{told_name(model)}{of} is not complete, {found.missing} is missing: framehouse models pull {model}"
        )
    return found


def _as_file(generated: GeneratedImage) -> bytes:
    return png_file(Image.fromarray(generated.pixels))


def _cards_guessed() -> int:
    """How many cards there seem to be, without asking torch; at least one device."""
    if given := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return len(given.split(","))
    return max(1, sum(path.name[6:].isdecimal() for path in Path("/dev").glob("nvidia*")))
