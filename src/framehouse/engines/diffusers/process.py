"""The program of a child process. It loads a model and generates images. Only child processes import torch.

The process reads commands from standard input and writes events to standard output. `wire` defines their format. The
output of libraries is redirected to standard error, which the engine copies into its log. The process exits when
standard input is closed, because this means that the engine has exited.
"""

import gc
import inspect
import os
import platform
import queue
import resource
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from framehouse.domain.errors import Broken
from framehouse.engines.diffusers import device_memory, wire
from framehouse.engines.diffusers.call_errors import LoadFailed, is_out_of_memory, kind_of_failure, reason_of
from framehouse.engines.diffusers.pipeline_arguments import PipelineArguments
from framehouse.engines.diffusers.pipeline_classes import as_event
from framehouse.engines.diffusers.pipeline_inspection import describe
from framehouse.engines.diffusers.pipeline_loading import load_pipeline
from framehouse.engines.diffusers.upscaling import Upscaler
from framehouse.engines.image_files import decode_reference_rgb


class Cancelled(BaseException):
    """Raised when a call is cancelled. Pipelines that catch Exception do not catch this BaseException."""


class Process:
    """The main loop of the child process.

    The loop executes either a probe command, or a load command and then any number of generate commands.
    """

    def __init__(self, commands: BinaryIO, events: BinaryIO) -> None:
        self._commands = commands
        self._events = events
        self._inbox: queue.SimpleQueue[tuple[dict[str, Any], list[bytes]]] = queue.SimpleQueue()
        self._cancelled_call = 0
        self._call = 0

    def run(self) -> None:
        command, _ = wire.read(self._commands)
        threading.Thread(target=self._read_commands, daemon=True).start()
        if command["command"] == "probe":
            self.send({"event": "devices", **find_devices()})
            return
        try:
            pipeline = self.load(command)
        except LoadFailed as error:
            self.send({"event": "load_failed", "reason": str(error)})
            return
        self.send({"event": "loaded", **pipeline.description})
        while True:
            command, files = self._inbox.get()
            self._call = command["call"]
            self._generate(pipeline, command, files)

    def load(self, settings: dict[str, Any]) -> "LoadedPipeline":
        return LoadedPipeline(settings)

    def send(self, event: dict[str, Any], *files: bytes | memoryview) -> None:
        wire.write(self._events, event, files)

    def _read_commands(self) -> None:
        try:
            while True:
                command, files = wire.read(self._commands)
                if command["command"] == "cancel":
                    self._cancelled_call = command["call"]
                else:
                    self._inbox.put((command, files))
        except (EOFError, OSError, ValueError):
            os._exit(0)

    def _generate(self, pipeline: "LoadedPipeline", command: dict[str, Any], files: list[bytes]) -> None:
        end: dict[str, Any] = {"event": "done"}
        try:
            references = [decode_reference_rgb(file) for file in files]
            mask = references.pop().convert("L") if command["mask"] else None
            images = pipeline.generate(command, references, self._report_progress, mask=mask)
            for position, final_size in enumerate(command["final_sizes"]):
                pixels, facts = pipeline.finish(images[position], final_size, self._check_cancelled)
                facts = pipeline.facts | facts | {"batch": len(images)}
                height, width = pixels.shape[:2]
                event = {"event": "image", "position": position, "width": width, "height": height, "facts": facts}
                self.send(event, np.ascontiguousarray(pixels).data.cast("B"))
        except Cancelled:
            end = {"event": "cancelled"}
        except Exception as error:  # noqa: BLE001 - a pipeline may raise any error; the next call may still succeed
            end = {"event": kind_of_failure(error), "reason": reason_of(error)}
        if end["event"] not in ("done", "device_fault"):
            try:
                pipeline.free_memory()
            except Exception as error:  # noqa: BLE001 - the device is in an unknown state
                end = {"event": "device_fault", "reason": reason_of(error)}
        if end["event"] == "done":
            end["peak_bytes"] = pipeline.peak_bytes()
        self.send(end)

    def _report_progress(self, share: float) -> None:
        self.send({"event": "progress", "share": share})
        self._check_cancelled()

    def _check_cancelled(self) -> None:
        if self._cancelled_call == self._call:
            raise Cancelled


class LoadedPipeline:
    """A diffusers pipeline on its device, and the arguments for its calls.

    Creating an instance raises LoadFailed if the model cannot be loaded.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._device = settings["device"]
        try:
            import torch

            self._dtype = getattr(torch, settings["dtype"])
            device = find_devices(self._device)["devices"][0]
            self._pipe = load_pipeline(settings, self._dtype)
            described = describe(type(self._pipe))
            self._one_image_per_call = described.one_image_per_call
            self._inpaint_pipe: Any = None
            self._inpaint_class = described.inpaint_pipeline
            self._arguments = PipelineArguments(self._pipe, described, settings)
            self._upscaler = Upscaler(settings["upscaler"], self._device) if settings["upscaler"] else None
            free = self.free_bytes()
            self._max_whole_pixels = (
                sys.maxsize
                if free is None
                else device_memory.max_whole_pixels(free, settings["decode_gb"], settings["dtype"])
            )
            """Images with more pixels are decoded in tiles."""
        except LoadFailed:
            raise
        except ModuleNotFoundError as error:
            missing = f'the package {error.name} is not installed; run: pip install "framehouse[diffusers]"'
            raise LoadFailed(missing) from error
        except Exception as error:  # errors during loading have no common base class
            reason = reason_of(error, settings["folder"])
            if is_out_of_memory(error):
                too_large = f"{settings['model']} does not fit into the memory of this device: {reason}"
                raise LoadFailed(too_large) from error
            raise LoadFailed(f"{settings['model']} cannot be loaded: {reason}") from error
        self.description = device | {"pipeline": type(self._pipe).__name__, "abilities": as_event(described)}

    @property
    def facts(self) -> dict[str, object]:
        """The metadata that all images of this pipeline share."""
        settings = self._settings
        facts = {"model": settings["model"]} | self._arguments.facts
        if settings["loras"]:
            facts["loras"] = ", ".join(f"{lora['name']} ({lora['weight']:g})" for lora in settings["loras"])
        if self._tiled(self._pipe):
            facts["decoded_in_tiles"] = True
        formats = ["gguf"] * bool(settings["gguf"]) + [settings["quantize"]] * bool(settings["quantize"])
        facts["dtype"] = settings["dtype"] + "".join(f", {name} weights" for name in formats)
        if settings["revision"]:
            facts["revision"] = settings["revision"][:12]
        return facts

    def generate(
        self,
        command: dict[str, Any],
        references: list[Image.Image],
        on_progress: Callable[[float], None],
        *,
        mask: Image.Image | None = None,
    ) -> list[NDArray[np.float32]]:
        """Generate the images of one call, one image per seed.

        Each image is an array of shape (height, width, 3) with values from 0 to 1. If the pipeline supports callbacks,
        `on_progress` is called after each step with the completed fraction. An exception from `on_progress` stops the
        call.

        If there is a mask, the model replaces the area of the first reference where the mask is white. The pixels
        outside this area may differ slightly from the reference.

        Raises Unsupported if the pipeline cannot use the references, and Broken if it generates NaN or infinite values.
        Exceptions of the pipeline are propagated.
        """
        import torch

        pipe = self._pipe if mask is None else self._inpainting()
        seeds, width, height = command["seeds"], command["width"], command["height"]
        calls = [[shot] for shot in range(len(seeds))] if self._one_image_per_call else [list(range(len(seeds)))]
        images: list[NDArray[np.float32]] = []
        for number, shots in enumerate(calls):
            arguments = self._arguments.for_call(pipe, command, shots, references, mask)
            arguments["generator"] = [torch.Generator("cpu").manual_seed(seeds[shot]) for shot in shots]
            if _reports_progress(pipe):
                steps = arguments.get("num_inference_steps", 1)
                arguments["callback_on_step_end"] = _progress_callback(on_progress, steps, number, len(calls))
            torch.manual_seed(seeds[shots[0]])  # some pipelines draw a part of their random numbers without a generator
            images += [_rgb(image) for image in self.call(pipe, **arguments)]
        if pipe is not self._pipe:
            self._pipe.maybe_free_model_hooks()  # only self._pipe can move offloaded parts back to RAM
        if not all(np.isfinite(image).all() for image in images):
            raise Broken(
                f"{self._settings['model']} generated NaN or infinite values with dtype = "
                f'"{self._settings["dtype"]}"; try another dtype'
            )
        if mask is None:
            images = [crop_to_ratio(image, width, height) for image in images]
        return [_resize(image, width, height) for image in images]

    def call(self, pipe: Any, **arguments: Any) -> Any:
        """Call a pipeline, and return its images.

        Images are decoded in tiles if they are too large for the memory that was free after loading. If a call for a
        single image runs out of memory and the pipeline can decode in tiles, the call is repeated and its image is
        decoded in tiles. From then on, all images are decoded in tiles.
        """
        vae = getattr(pipe, "vae", None)
        if vae is not None and hasattr(vae, "use_tiling"):
            tile = arguments["width"] * arguments["height"] > self._max_whole_pixels
            (vae.enable_tiling if tile else vae.disable_tiling)()
        try:
            return _images_of(pipe(**arguments))
        except Exception as error:
            tiled = getattr(vae, "use_tiling", True)
            if not is_out_of_memory(error) or len(arguments["generator"]) > 1 or tiled:
                raise
        self.free_memory()
        self._max_whole_pixels = 0
        assert vae is not None
        vae.enable_tiling()
        message = "an image was too large to decode in one piece; all images are now decoded in tiles"
        print(message, file=sys.stderr)  # noqa: T201 - the engine copies standard error into its log
        arguments["generator"] = [g.manual_seed(g.initial_seed()) for g in arguments["generator"]]
        return _images_of(pipe(**arguments))

    def peak_bytes(self) -> int:
        """Return the largest amount of memory that this process has used: of the GPU, or of the RAM without a GPU."""
        if self._device == "cuda":
            import torch

            return int(torch.cuda.max_memory_reserved())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024

    def free_bytes(self) -> int | None:
        """Return the free memory of the device. None if it is not an NVIDIA GPU."""
        if self._device != "cuda":
            return None
        import torch

        unused = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return int(torch.cuda.mem_get_info()[0] + unused)

    @staticmethod
    def _tiled(pipe: Any) -> bool:
        return bool(getattr(getattr(pipe, "vae", None), "use_tiling", False))

    def _inpainting(self) -> Any:
        """Return the inpainting pipeline, which uses the same weights. The first call creates the pipeline."""
        if self._inpaint_class == type(self._pipe).__name__:
            return self._pipe
        if self._inpaint_pipe is None:
            import diffusers

            kind = getattr(diffusers, self._inpaint_class)
            available = {**self._pipe.config, **self._pipe.components}
            names = inspect.signature(kind.__init__).parameters
            self._inpaint_pipe = kind(**{name: available[name] for name in names if name in available})
            self._inpaint_pipe.set_progress_bar_config(disable=True)
        return self._inpaint_pipe

    def finish(
        self, image: NDArray[np.float32], final_size: tuple[int, int], on_tile: Callable[[], None]
    ) -> tuple[NDArray[np.uint8], dict[str, object]]:
        """Convert an image to 8-bit values. Returns the converted image and additional metadata.

        If the image is smaller than `final_size` and the route has an upscaler, the image is first upscaled. `on_tile`
        is called before each tile is upscaled. An exception from `on_tile` stops the upscaler.
        """
        height, width = image.shape[:2]
        facts: dict[str, object] = {}
        if width < final_size[0] or height < final_size[1]:
            facts["generated_size"] = f"{width}x{height}"
            if self._upscaler:
                image = self._upscaler.enlarge(image, on_tile)
                facts["upscaled_by"] = self._settings["upscaler_name"]
        return (image * 255).round().clip(0, 255).astype(np.uint8), facts

    def free_memory(self) -> None:
        """Reset the pipeline's offloading and free the device's memory after a call has failed or has been
        cancelled."""
        import torch

        if self._settings["offload"] == "model":
            self._pipe.maybe_free_model_hooks()
        gc.collect()
        if self._device == "cuda":
            torch.cuda.empty_cache()
        elif self._device == "mps":
            torch.mps.empty_cache()


def _reports_progress(pipe: Any) -> bool:
    return "callback_on_step_end" in inspect.signature(pipe.__call__).parameters


def _progress_callback(
    on_progress: Callable[[float], None], steps: int, call: int, calls: int
) -> Callable[..., dict[str, Any]]:
    """Return the function that a pipeline calls after each step. `call` is the number of the call, counted from 0."""

    def on_step(pipe: Any, step: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        share = (step + 1) / max(1, getattr(pipe, "num_timesteps", steps))
        on_progress((call + min(1, share)) / calls)
        return tensors

    return on_step


def _images_of(output: Any) -> Any:
    """Return the images in the output of a pipeline. The output of some pipelines has the attribute `image`."""
    images = getattr(output, "images", None)
    return output.image if images is None else images


def _rgb(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an RGB image. A transparent image is drawn on a white background."""
    if image.shape[-1] != 4:
        return image
    alpha = image[..., 3:]
    return image[..., :3] * alpha + (1 - alpha)


def crop_to_ratio(image: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """Crop an image around its centre to the aspect ratio of a size. Some pipelines generate other aspect ratios."""
    rows, columns = image.shape[:2]
    scale = min(columns / width, rows / height)
    new_columns, new_rows = round(width * scale), round(height * scale)
    left, top = (columns - new_columns) // 2, (rows - new_rows) // 2
    return image[top : top + new_rows, left : left + new_columns]


def _resize(image: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """Resize an image of shape (height, width, 3) to the requested size. Some pipelines generate other sizes."""
    if image.shape[:2] == (height, width):
        return image
    import torch

    planes = torch.from_numpy(image).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(planes, (height, width), mode="bicubic", antialias=True)
    array: NDArray[np.float32] = resized[0].permute(1, 2, 0).clamp(0, 1).numpy()
    return array


def find_devices(kind: str = "") -> dict[str, Any]:
    """List the devices of a kind (`cuda`, `mps`, `cpu`), or of the best available kind if `kind` is empty.

    The result contains `devices`, `ram_bytes` and the version of `torch`. If torch cannot be imported, the result
    contains only `reason`. Raises LoadFailed if there is no device of this kind.
    """
    try:
        import torch
    except ImportError as error:
        return {"reason": f'torch cannot be loaded ({reason_of(error)}); run: pip install "framehouse[diffusers]"'}
    ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    devices: list[dict[str, Any]] = []
    if kind in ("", "cuda") and torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(number)
            devices.append({"id": f"cuda:{number}", "name": gpu.name, "memory_bytes": gpu.total_memory,
                            "capability": f"{gpu.major}.{gpu.minor}"})  # fmt: skip
            with suppress(RuntimeError):  # the GPU may be full or faulty
                devices[-1]["free_bytes"] = torch.cuda.mem_get_info(number)[0]
    elif kind in ("", "mps") and torch.backends.mps.is_available():
        devices.append({"id": "mps", "name": f"Apple {platform.machine()}", "memory_bytes": ram, "capability": ""})
    elif kind in ("", "cpu"):
        name = f"{os.cpu_count()} CPU cores"
        devices.append({"id": "cpu", "name": name, "memory_bytes": ram, "capability": ""})
    if not devices:
        raise LoadFailed(f'torch {torch.__version__} finds no device of the kind "{kind}"')
    return {"devices": devices, "ram_bytes": ram, "torch": torch.__version__}


def main(kind: type[Process] = Process) -> None:
    warnings.simplefilter("ignore")
    events = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # so that libraries cannot write between the events
    kind(sys.stdin.buffer, events).run()


if __name__ == "__main__":
    main()
