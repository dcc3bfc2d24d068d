"""What each kind of server takes: its limits, and exactly the fields that it is sent.

Read in the sources of SGLang 0.5.23, vLLM-Omni 0.30.0 and Xinference 4.1.0, and in OpenAI's published types. All take
more than this; what is not listed here is never sent.
"""

import json
from dataclasses import dataclass

from framehouse.domain.sizes import Size, largest_within


@dataclass(frozen=True, slots=True)
class Kind:
    """`most_n`: pictures per request that keep the promise of seeds. `image_part`: the name of a reference in the form.
    `health`: the path that tells whether it is well, below the server's root. `tuned`: takes steps and guidance."""

    name: str
    max_references: int
    max_pixels: int
    most_n: int
    concurrency: int
    image_part: str
    health: str
    seeds: bool
    tuned: bool = True
    paid: bool = False
    max_edge: int = 0


KINDS = {
    kind.name: kind
    for kind in (
        # seeds count up from the one sent, as ours do
        Kind("sglang", 4, 2048 * 2048, 4, 1, "image[]", "/health", seeds=True),
        # one generator makes all pictures of a request, so only the first would be that of its seed
        Kind("vllm_omni", 4, 2048 * 2048, 1, 1, "image[]", "/health", seeds=True),
        # edits take no seed, and those of FLUX.2 klein look at the first reference alone
        Kind("xinference", 1, 2048 * 2048, 1, 1, "image", "/v1/models", seeds=False),
        Kind(
            "openai",
            16,
            3840 * 2160,
            4,
            8,
            "image[]",
            "/v1/models",
            seeds=False,
            tuned=False,
            paid=True,
            max_edge=3840,
        ),
    )
}
_OPENAI_FIXED = (Size(1024, 1024), Size(1536, 1024), Size(1024, 1536))


@dataclass(frozen=True, slots=True)
class Order:
    """One request: `n` pictures of one prompt, whose seeds count up from `seed`."""

    model: str
    prompt: str
    size: Size
    n: int
    seed: int
    steps: int | None = None
    guidance: float | None = None
    quality: str = ""


def fields(kind: Kind, order: Order, *, edit: bool) -> dict[str, object]:
    """The JSON of a generation, or the form of an edit without its pictures."""
    sent: dict[str, object] = {
        "model": order.model,
        "prompt": order.prompt,
        "n": order.n,
        "size": f"{order.size.width}x{order.size.height}",
    }
    tuning: dict[str, object] = {
        name: value
        for name, value in (("num_inference_steps", order.steps), ("guidance_scale", order.guidance))
        if value is not None
    }
    match kind.name:
        case "sglang" | "vllm_omni":
            # noise from the CPU is the same whatever card a replica has
            sent |= {"response_format": "b64_json", "output_format": "png", "seed": order.seed}
            sent |= {"generator_device": "cpu"} | tuning
        case "xinference":
            sent |= {"response_format": "b64_json"}
            if not edit:
                sent["kwargs"] = json.dumps({"seed": order.seed} | tuning)
        case _:
            sent["output_format"] = "png"
            if order.quality:
                sent["quality"] = order.quality
    return sent


def best_size(kind: Kind, model: str, size: Size, max_pixels: int) -> Size:
    """What is asked of the server for a picture of `size`: that, or the largest of its shape that it paints. OpenAI's
    models before gpt-image-2 know three sizes; theirs is the nearest in shape."""
    if kind.name == "openai" and model.startswith(("gpt-image-1", "chatgpt-image")):
        shape = size.width / size.height
        return min(_OPENAI_FIXED, key=lambda s: max(shape / (s.width / s.height), s.width / s.height / shape))
    if kind.max_edge:
        longer, shorter = max(size), min(size)
        max_pixels = min(max_pixels, kind.max_edge * kind.max_edge * shorter // longer)
    return largest_within(size, max_pixels)
