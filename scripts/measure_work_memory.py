"""Measure the memory that one step and one decoding need in addition to the weights, without a GPU and without weights.

Run it with the packages of the engine diffusers: `.venv/bin/python scripts/measure_work_memory.py`. The estimates in
`engines/diffusers/device_memory.py` and `model_defaults.py` are based on its output.

The models have the configurations of the published models, in bfloat16, on torch's `meta` device, which calculates the
sizes of tensors but no values. The script adds up the tensors that exist at the same time. It assumes an attention
kernel that needs memory only for its result, such as FlashAttention. The CUDA context and the workspaces of libraries
are not included.
"""

import warnings
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

MEGAPIXEL_TOKENS = 4096
GB = 1e9


class LiveTensors(TorchDispatchMode):  # type: ignore[misc]
    """Adds up the sizes of the tensors that exist at the same time, except the weights of a model."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.live: int = 0
        self.peak: int = 0
        tensors = [*model.parameters(), *model.buffers()]
        self._sizes = {tensor.untyped_storage()._cdata: 0 for tensor in tensors}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        return result

    def _add(self, storage: Any) -> None:
        key = storage._cdata
        if key in self._sizes:
            return
        self._sizes[key] = storage.nbytes()
        self.live += self._sizes[key]
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._remove, key)

    def _remove(self, key: int) -> None:
        self.live -= self._sizes.pop(key, 0)


def measure(model: torch.nn.Module, call: Callable[[], object]) -> float:
    with torch.no_grad(), LiveTensors(model) as tensors:
        call()
    peak: int = tensors.peak
    return peak / GB


def empty(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


def measure_decoding() -> None:
    import diffusers

    with torch.device("meta"):
        models = {
            "FLUX.2": diffusers.AutoencoderKLFlux2(),
            "Z-Image, FLUX.1": diffusers.AutoencoderKL(
                down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
                block_out_channels=[128, 256, 512, 512], layers_per_block=2, latent_channels=16, sample_size=1024,
                use_quant_conv=False, use_post_quant_conv=False,
            ),
            "Qwen-Image": diffusers.AutoencoderKLQwenImage(),
        }  # fmt: skip
    for name, model in models.items():
        model.to(torch.bfloat16).eval()
        channels = getattr(model.config, "latent_channels", None) or model.config.z_dim
        for side in (1024, 2048):
            frames = (1,) if name == "Qwen-Image" else ()
            latents = empty(1, channels, *frames, side // 8, side // 8)
            model.disable_tiling()
            whole = measure(model, lambda model=model, latents=latents: model.decode(latents))  # type: ignore[misc]
            model.enable_tiling()
            tiled = measure(model, lambda model=model, latents=latents: model.decode(latents))  # type: ignore[misc]
            print(f"decode {name} at {side}x{side}: {whole:.2f} GB, in tiles {tiled:.2f} GB")


def measure_steps() -> None:
    import diffusers

    with torch.device("meta"):
        flux = diffusers.Flux2Transformer2DModel(
            num_layers=5, num_single_layers=20, num_attention_heads=24, joint_attention_dim=7680, guidance_embeds=False
        )
        qwen = diffusers.QwenImageTransformer2DModel(num_layers=60)
        z_image = diffusers.ZImageTransformer2DModel()
    for model in (flux, qwen, z_image):
        model.to(torch.bfloat16).eval()
    for images, megapixels in ((1, 1), (1, 4), (4, 1)):
        tokens = MEGAPIXEL_TOKENS * megapixels
        side = 128 * int(megapixels**0.5)
        rotary = tuple(empty(count, 64, dtype=torch.complex64) for count in (tokens, 512))
        qwen.pos_embed.forward = lambda *_, rotary=rotary, **__: rotary
        calls: dict[str, tuple[torch.nn.Module, Callable[[], object]]] = {
            "FLUX.2 klein 4B": (flux, lambda images=images, tokens=tokens: flux(  # type: ignore[misc]
                hidden_states=empty(images, tokens, 128), encoder_hidden_states=empty(images, 512, 7680),
                timestep=empty(images), img_ids=empty(images, tokens, 4), txt_ids=empty(images, 512, 4))),
            "Qwen-Image": (qwen, lambda images=images, tokens=tokens: qwen(  # type: ignore[misc]
                hidden_states=empty(images, tokens, 64), encoder_hidden_states=empty(images, 512, 3584),
                timestep=empty(images), img_shapes=[[(1, 64, 64)]] * images)),
            "Z-Image": (z_image, lambda images=images, side=side: z_image(  # type: ignore[misc]
                x=[empty(16, 1, side, side)] * images, t=empty(images), cap_feats=[empty(512, 2560)] * images)),
        }  # fmt: skip
        for name, (model, call) in calls.items():
            print(f"step {name}, {images} images of {megapixels} megapixels: {measure(model, call):.2f} GB")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.nn.functional.scaled_dot_product_attention = lambda query=None, *_, **__: torch.empty_like(query)
    measure_decoding()
    measure_steps()
