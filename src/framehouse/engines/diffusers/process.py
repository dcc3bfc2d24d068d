"""What runs in the spawned process: the only place where torch is loaded.

It reads requests from standard input and answers on standard output (`wire`); all else that is printed goes to standard
error, which becomes our log. It ends when its input does, for then nobody is there any more.
"""

import gc
import inspect
import os
import platform
import queue
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from framehouse.domain.errors import Broken
from framehouse.engines.diffusers import wire
from framehouse.engines.diffusers.upscaling import Upscaler
from framehouse.engines.image_files import upright

_REASON_CHARACTERS = 300
_HEAVY = ("transformer", "text_encoder", "unet")


class Cancelled(BaseException):
    """Nobody waits for this call any more. Not an Exception: no pipeline may take it for one of its own."""


class Unfit(Exception):
    """The model cannot be loaded; the message says why in one sentence."""


class Process:
    """The conversation with the engine."""

    def __init__(self, requests: BinaryIO, answers: BinaryIO) -> None:
        self._requests = requests
        self._answers = answers
        self._inbox: queue.SimpleQueue[tuple[dict[str, Any], list[bytes]]] = queue.SimpleQueue()
        self._cancelled = 0
        self._call = 0

    def run(self) -> None:
        settings, _ = wire.read(self._requests)
        threading.Thread(target=self._listen, daemon=True).start()
        if settings["do"] == "probe":
            self.say({"event": "devices", **find_devices()})
            return
        try:
            painter = self.load(settings)
        except Unfit as error:
            self.say({"event": "unfit", "why": str(error)})
            return
        self.say({"event": "loaded", **painter.told})
        while True:
            request, files = self._inbox.get()
            self._call = request["call"]
            self._generate(painter, request, files)

    def load(self, settings: dict[str, Any]) -> "Painter":
        return Painter(settings)

    def say(self, message: dict[str, Any], *files: bytes | memoryview) -> None:
        wire.write(self._answers, message, files)

    def _listen(self) -> None:
        try:
            while True:
                request, files = wire.read(self._requests)
                if request["do"] == "cancel":
                    self._cancelled = request["call"]
                else:
                    self._inbox.put((request, files))
        except (EOFError, OSError, ValueError):
            os._exit(0)

    def _generate(self, painter: "Painter", request: dict[str, Any], files: list[bytes]) -> None:
        ending: dict[str, Any] = {"event": "done"}
        try:
            references = [upright(file) for file in files]
            images = painter.generate(request, references, self._on_share)
            for place, wanted in enumerate(request["wanted"]):
                pixels, facts = painter.enlarge(images[place], wanted, self._on_piece)
                facts = painter.facts | facts | {"batch": len(images)}
                height, width = pixels.shape[:2]
                told = {"event": "picture", "place": place, "width": width, "height": height, "facts": facts}
                self.say(told, np.ascontiguousarray(pixels).data.cast("B"))
        except Cancelled:
            ending = {"event": "cancelled"}
        except Exception as error:  # noqa: BLE001 - whatever a pipeline raises, the engine is told, and the next call may work
            ending = {"event": "oom" if out_of_memory(error) else "failed", "why": reason(error)}
        if ending["event"] != "done":
            painter.tidy()
        self.say(ending)

    def _on_share(self, share: float) -> None:
        self.say({"event": "progress", "share": share})
        self._on_piece()

    def _on_piece(self) -> None:
        if self._cancelled == self._call:
            raise Cancelled


class Painter:
    """A loaded pipeline, and how it is called. Raises Unfit where it cannot be loaded."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._device = settings["device"]
        try:
            import torch

            self._dtype = getattr(torch, settings["dtype"])
            device = find_devices(self._device)["devices"][0]
            self._pipe = _load(settings, self._dtype)
            self._takes = inspect.signature(self._pipe.__call__).parameters
            self._arguments = self._fixed_arguments()
            self._upscaler = Upscaler(settings["upscaler"], self._device) if settings["upscaler"] else None
        except Unfit:
            raise
        except ModuleNotFoundError as error:
            raise Unfit(f'the package {error.name} is not installed: pip install "framehouse[diffusers]"') from error
        except Exception as error:  # what loading a model may raise has no common root
            why = reason(error, settings["folder"])
            if out_of_memory(error):
                raise Unfit(f"{settings['model']} does not fit on this device: {why}") from error
            raise Unfit(f"{settings['model']} cannot be loaded: {why}") from error
        self.told = device | {"pipeline": type(self._pipe).__name__}

    @property
    def facts(self) -> dict[str, object]:
        """What each picture's metadata say of its making."""
        settings = self._settings
        facts = {"model": settings["model"], "steps": self._arguments["num_inference_steps"]}
        if settings["guidance_name"] in self._arguments:
            facts["guidance"] = self._arguments[settings["guidance_name"]]
        facts["dtype"] = settings["dtype"] + (f", {settings['quantize']} weights" if settings["quantize"] else "")
        if settings["revision"]:
            facts["revision"] = settings["revision"][:12]
        return facts

    def generate(
        self, request: dict[str, Any], references: list[Image.Image], on_share: Callable[[float], None]
    ) -> list[NDArray[np.float32]]:
        """The pictures of one call, as many as it has seeds: (height, width, 3) from 0 to 1."""
        import torch

        prompts, count = request["prompts"], len(request["seeds"])
        arguments = self._arguments | {
            "generator": [torch.Generator("cpu").manual_seed(seed) for seed in request["seeds"]],
            "width": request["width"],
            "height": request["height"],
            "output_type": "np",
        }
        if len(set(prompts)) == 1 and "num_images_per_prompt" in self._takes:
            arguments |= {"prompt": prompts[0], "num_images_per_prompt": count}
        else:
            arguments["prompt"] = prompts if count > 1 else prompts[0]
        if references:
            name = next((name for name in ("image", "images") if name in self._takes), None)
            if name is None:
                raise Broken(f"{self._settings['model']} paints from words alone; its route needs max_references = 0")
            arguments[name] = references if self._settings["shown"] > 1 else references[0]
        if "callback_on_step_end" in self._takes:

            def on_step(pipe: Any, step: int, _time: Any, kept: dict[str, Any]) -> dict[str, Any]:
                on_share((step + 1) / max(1, getattr(pipe, "num_timesteps", arguments["num_inference_steps"])))
                return kept

            arguments["callback_on_step_end"] = on_step
        images = list(self.call(**arguments))
        if not all(np.isfinite(image).all() for image in images):
            raise Broken(
                f"{self._settings['model']} painted no numbers in {self._settings['dtype']}; try another dtype"
            )
        return images

    def call(self, **arguments: Any) -> Any:
        """The pipeline's own call. Where one picture is too large to be decoded at once, it is decoded in tiles."""
        vae = getattr(self._pipe, "vae", None)
        try:
            return self._pipe(**arguments).images
        except Exception as error:
            tiled = getattr(vae, "use_tiling", True)
            if not out_of_memory(error) or len(arguments["generator"]) > 1 or tiled:
                raise
        self.tidy()
        assert vae is not None
        vae.enable_tiling()
        print("a picture was too large to be decoded at once; from now on they are decoded in tiles", file=sys.stderr)  # noqa: T201 - becomes the log
        arguments["generator"] = [g.manual_seed(g.initial_seed()) for g in arguments["generator"]]
        return self._pipe(**arguments).images

    def enlarge(
        self, image: NDArray[np.float32], wanted: tuple[int, int], on_tile: Callable[[], None]
    ) -> tuple[NDArray[np.uint8], dict[str, object]]:
        """The picture as bytes, upscaled where it is smaller than wanted and there is an upscaler."""
        height, width = image.shape[:2]
        facts: dict[str, object] = {}
        if width < wanted[0] or height < wanted[1]:
            facts["painted_size"] = f"{width}x{height}"
            if self._upscaler:
                image = self._upscaler.enlarge(image, on_tile)
                facts["upscaled_by"] = self._settings["upscaler_name"]
        return (image * 255).round().clip(0, 255).astype(np.uint8), facts

    def tidy(self) -> None:
        """After a call that did not end well: the pipeline as it was, and the device's memory free."""
        import torch

        if self._settings["offload"] == "model":
            self._pipe.maybe_free_model_hooks()
        gc.collect()
        if self._device == "cuda":
            torch.cuda.empty_cache()
        elif self._device == "mps":
            torch.mps.empty_cache()

    def _fixed_arguments(self) -> dict[str, Any]:
        """What every call has. Steps and guidance of a distilled klein are not its pipeline's defaults."""
        settings, takes = self._settings, self._takes
        steps, guidance = settings["steps"], settings["guidance"]
        if (distilled := getattr(self._pipe.config, "is_distilled", None)) is not None:
            steps = steps or (4 if distilled else 50)
            guidance = guidance if guidance is not None else (1.0 if distilled else 4.0)
        steps = max(settings["least_steps"], steps or takes["num_inference_steps"].default)
        arguments: dict[str, Any] = {"num_inference_steps": steps}
        if guidance is not None:
            if settings["guidance_name"] not in takes:
                raise Unfit(f"{settings['model']} has no {settings['guidance_name']}: leave out guidance")
            arguments[settings["guidance_name"]] = guidance
        if settings["negative"] is not None:
            if "negative_prompt" not in takes:
                raise Unfit(f"{settings['model']} takes no negative prompt: leave out negative_prompt")
            arguments["negative_prompt"] = settings["negative"]
        return arguments


def _load(settings: dict[str, Any], dtype: Any) -> Any:
    """The pipeline on its device, from files that are here and hold nothing but numbers."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()  # what they warn of quotes prompts
        library.utils.logging.disable_progress_bar()
    device, offload = settings["device"], settings["offload"]
    if offload and device == "cpu":
        raise Unfit("offload is for cards, and this device is the processor: leave it out")
    folder = Path(settings["folder"])
    given: dict[str, Any] = {}
    if (folder / "processor").is_dir() and not _has_torchvision():
        given["processor"] = still_processor(folder / "processor")
    if settings["quantize"] == "int8":
        given["quantization_config"] = _int8(folder)
    pipe = diffusers.DiffusionPipeline.from_pretrained(
        str(folder), dtype=dtype, local_files_only=True, use_safetensors=True, **given
    )
    if settings["quantize"] == "fp8":
        import torch

        _heaviest(pipe).enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)
    if offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    elif offload == "sequential":
        pipe.enable_sequential_cpu_offload(device=device)
    else:
        pipe.to(device)
    pipe.set_progress_bar_config(disable=True)
    if hasattr(getattr(pipe, "vae", None), "enable_slicing"):
        pipe.vae.enable_slicing()  # pictures of one call are decoded one by one
    if settings["compile"]:
        _heaviest(pipe).compile_repeated_blocks(dynamic=True)
    return pipe


def _heaviest(pipe: Any) -> Any:
    part = getattr(pipe, "transformer", None) or getattr(pipe, "unet", None)
    if part is None:
        raise Unfit("this pipeline has no transformer: leave out quantize and compile")
    return part


def _int8(folder: Path) -> Any:
    """Weights of the large parts as 8 bit integers, each library's parts by its own configuration."""
    import diffusers
    import torchao.quantization
    import transformers

    eight = torchao.quantization.Int8WeightOnlyConfig()
    index = diffusers.DiffusionPipeline.load_config(str(folder), local_files_only=True)
    configs = {"diffusers": diffusers.TorchAoConfig(eight), "transformers": transformers.TorchAoConfig(eight)}
    parts = {name: configs[index[name][0]] for name in _HEAVY if name in index and index[name][0] in configs}
    return diffusers.PipelineQuantizationConfig(quant_mapping=parts)


def _has_torchvision() -> bool:
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):  # RuntimeError: it was built for another torch
        return False
    return True


def still_processor(folder: Path) -> Any:
    """Qwen2-VL's processor from a folder, for pictures alone: the whole one needs torchvision, for videos that nobody
    sends."""
    from transformers import Qwen2Tokenizer
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    # nothing is downloaded here: what is in the folder was pinned to a commit and checked by hub.py
    images = Qwen2VLImageProcessorPil.from_pretrained(str(folder), local_files_only=True)  # nosec B615
    tokenizer = Qwen2Tokenizer.from_pretrained(str(folder), local_files_only=True)  # nosec B615
    return still_processor_of(images, tokenizer)


def still_processor_of(images: Any, tokenizer: Any) -> Any:
    """The same of its two parts."""
    from transformers import Qwen2VLProcessor
    from transformers.processing_utils import ProcessorMixin

    class Still(Qwen2VLProcessor):  # type: ignore[misc]
        def __init__(self, image_processor: Any = None, tokenizer: Any = None, **_: Any) -> None:
            for kind in ("image", "video"):
                token = getattr(tokenizer, f"{kind}_token", f"<|{kind}_pad|>")
                setattr(self, f"{kind}_token", token)
                setattr(self, f"{kind}_token_id", tokenizer.convert_tokens_to_ids(token))
            ProcessorMixin.__init__(self, image_processor, tokenizer)

    return Still(images, tokenizer)


def find_devices(kind: str = "") -> dict[str, Any]:
    """The devices of the given kind, or of the best kind there is, and this machine's memory; or `why` there is no
    telling."""
    try:
        import torch
    except ImportError as error:
        return {"why": f'torch cannot be loaded ({reason(error)}): pip install "framehouse[diffusers]"'}
    ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    devices: list[dict[str, Any]] = []
    if kind in ("", "cuda") and torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(number)
            devices.append({"id": f"cuda:{number}", "name": card.name, "memory_bytes": card.total_open_order,
                            "capability": f"{card.major}.{card.minor}"})  # fmt: skip
    elif kind in ("", "mps") and torch.backends.mps.is_available():
        devices.append({"id": "mps", "name": f"Apple {platform.machine()}", "memory_bytes": ram, "capability": ""})
    elif kind in ("", "cpu"):
        name = f"{os.cpu_count()} processor cores"
        devices.append({"id": "cpu", "name": name, "memory_bytes": ram, "capability": ""})
    if not devices:
        raise Unfit(f"torch {torch.__version__} finds no device of the kind {kind}")
    return {"devices": devices, "ram_bytes": ram, "torch": torch.__version__}


def out_of_memory(error: BaseException) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "out of memory" in str(error).lower()


def reason(error: BaseException, folder: str = "") -> str:
    """The first line that says something, and not where a folder is on this machine."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = lines[0] if lines else type(error).__name__
    return (line.replace(folder, Path(folder).name) if folder else line)[:_REASON_CHARACTERS]


def main(kind: type[Process] = Process) -> None:
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not get among the answers
    kind(sys.stdin.buffer, answers).run()


if __name__ == "__main__":
    main()
