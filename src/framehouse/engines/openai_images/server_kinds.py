"""The kinds of servers: the limits of each kind, and the request fields that each kind accepts.

Sources: the code of SGLang 0.5.23, vLLM-Omni 0.30.0 and Xinference 4.1.0, and OpenAI's published types. The servers
accept more fields than this module lists, but the engine sends only the listed fields. For the kind `compatible`, the
options of the route determine the fields (`compatible_requests`).
"""

import json
from dataclasses import dataclass

from PIL import Image, ImageChops

from framehouse.domain.sizes import Size, largest_within
from framehouse.engines.expansion_canvas import MAX_INPAINT_PIXELS, canvas_size
from framehouse.engines.image_files import png_file


@dataclass(frozen=True, slots=True)
class ServerKind:
    """The limits and defaults of a kind of server.

    `max_pixels`: the largest number of pixels per image.
    `max_n`: the largest number of images per request. If `max_n` exceeds 1 and `seeds` is true, each image has its own
        seed.
    `concurrency`: the number of concurrent requests per server.
    `image_part`: the name of the form part that contains a reference.
    `health_path`: the path of the health check, relative to the root of the server.
    `seeds`: true if the same seed produces the same image.
    `tunable`: true if requests can specify the number of steps and the guidance.
    `paid`: true if requests cost money.
    `max_edge`: the longest allowed side in pixels. 0 means no limit.
    `negative_prompts`: true if requests to the server have a field for the negative prompt.
    `mask_part`: the name of the form part that contains the mask of an edit, or empty if the server uses no mask.
    `masked_references`: the largest number of references of an edit with a mask. The edited image counts as one.
    `probed`: true if the engine tests how the server uses references, unless the option `probe` is false.
    """

    name: str
    max_references: int
    max_pixels: int
    max_n: int
    concurrency: int
    image_part: str
    health_path: str
    seeds: bool
    tunable: bool = True
    paid: bool = False
    max_edge: int = 0
    negative_prompts: bool = False
    mask_part: str = ""
    masked_references: int = 1
    probed: bool = True


COMPATIBLE = "compatible"
KINDS = {
    kind.name: kind
    for kind in (
        # If a request has several images, the server increases the seed by one for each image, as Framehouse does for
        # each shot. The server accepts a mask but ignores it.
        ServerKind("sglang", 4, 2048 * 2048, 4, 1, "image[]", "/health", seeds=True, negative_prompts=True),
        # `max_n` is 1, because all images of a request share one random generator. If a request had several images,
        # only the first image would match its seed.
        ServerKind(
            "vllm_omni",
            4,
            2048 * 2048,
            1,
            1,
            "image[]",
            "/health",
            seeds=True,
            negative_prompts=True,
            mask_part="mask_image",
        ),
        # Edits accept no seed. With FLUX.2 klein, edits use only the first reference.
        ServerKind("xinference", 1, 2048 * 2048, 1, 1, "image", "/v1/models", seeds=False),
        ServerKind(
            "openai",
            16,
            3840 * 2160,
            4,
            8,
            "image[]",
            "/v1/models",
            seeds=False,
            tunable=False,
            paid=True,
            max_edge=3840,
            mask_part="mask",
            masked_references=16,
            probed=False,
        ),
        # The masks have the format of OpenAI.
        ServerKind(
            COMPATIBLE,
            0,
            2048 * 2048,
            1,
            4,
            "image[]",
            "",
            seeds=False,
            tunable=False,
            paid=True,
            mask_part="mask",
            masked_references=16,
            probed=False,
        ),
    )
}
_MAX_OPENAI_RATIO = 2.9  # OpenAI allows 3, but rounding the sides to multiples of 16 can increase the ratio
_OPENAI_FIXED_SIZES = (Size(1024, 1024), Size(1536, 1024), Size(1024, 1536))


@dataclass(frozen=True, slots=True)
class ServerRequest:
    """The content of one request: `n` images for one prompt.

    The first image has the seed `seed`. The seed of each further image is one higher than the seed of the previous
    image. `negative_prompt` must be empty if the kind of server does not support negative prompts. If `series` is true,
    the server must return the `n` images as a series.
    """

    model: str
    prompt: str
    size: Size
    n: int
    seed: int
    steps: int | None = None
    guidance: float | None = None
    quality: str = ""
    negative_prompt: str = ""
    series: bool = False


def request_fields(kind: ServerKind, request: ServerRequest, *, edit: bool) -> dict[str, object]:
    """Return the JSON fields of a generation, or the form fields of an edit. The files of an edit are not included."""
    fields: dict[str, object] = {
        "model": request.model,
        "prompt": request.prompt,
        "n": request.n,
        "size": f"{request.size.width}x{request.size.height}",
    }
    tuning: dict[str, object] = {
        name: value
        for name, value in (("num_inference_steps", request.steps), ("guidance_scale", request.guidance))
        if value is not None
    }
    match kind.name:
        case "sglang" | "vllm_omni":
            # The CPU generates the noise, because its noise is the same on every replica. Noise from a GPU depends on
            # the model of the GPU.
            fields |= {"response_format": "b64_json", "output_format": "png", "seed": request.seed}
            fields |= {"generator_device": "cpu"} | tuning
            if request.negative_prompt:
                fields["negative_prompt"] = request.negative_prompt
        case "xinference":
            fields |= {"response_format": "b64_json"}
            if not edit:
                fields["kwargs"] = json.dumps({"seed": request.seed} | tuning)
        case _:
            fields["output_format"] = "png"
            if request.quality:
                fields["quality"] = request.quality
    return fields


def generated_size(kind: ServerKind, model: str, size: Size, max_pixels: int) -> Size:
    """Return the size to request for an image of `size`.

    If `size` is within the limits, the result is `size`. Otherwise, the result is the largest allowed size with the
    same aspect ratio. OpenAI's models before gpt-image-2 support only three sizes. For these models, the result is the
    supported size whose aspect ratio is most similar to the aspect ratio of `size`.
    """
    if _has_fixed_sizes(kind, model):
        ratio = size.width / size.height
        return min(_OPENAI_FIXED_SIZES, key=lambda s: max(ratio / (s.width / s.height), s.width / s.height / ratio))
    if kind.max_edge:
        longer, shorter = max(size), min(size)
        max_pixels = min(max_pixels, kind.max_edge * kind.max_edge * shorter // longer)
    return largest_within(size, max_pixels)


def masked_size(kind: ServerKind, model: str, size: Size, max_pixels: int) -> Size:
    """Return the size to request for an image of `size` if the request has a mask. `size` may have sides of any length.

    The result can have a different aspect ratio than `size`. `expansion_canvas.draw_canvas` and
    `masked_canvas.draw_masked_canvas` handle the difference.
    """
    if _has_fixed_sizes(kind, model):
        return generated_size(kind, model, size, max_pixels)
    if kind.name == "openai":
        return canvas_size(size, max_pixels=max_pixels, max_edge=kind.max_edge, max_ratio=_MAX_OPENAI_RATIO)
    return canvas_size(size, max_pixels=min(max_pixels, MAX_INPAINT_PIXELS))


def mask_file(kind: ServerKind, mask: Image.Image) -> bytes:
    """Return the PNG file of a mask for this kind of server.

    `mask` is white where the server must generate the image. In a file for OpenAI or for the kind `compatible`, this
    area is transparent instead.
    """
    if kind.name not in ("openai", COMPATIBLE):
        return png_file(mask)
    image = Image.new("RGBA", mask.size)
    image.putalpha(ImageChops.invert(mask))
    return png_file(image)


def _has_fixed_sizes(kind: ServerKind, model: str) -> bool:
    return kind.name == "openai" and model.startswith(("gpt-image-1", "chatgpt-image"))
