"""Creates tiny pipelines of further classes with random weights, as `tiny_models` does.

It runs as a separate program (`python -m tests.support.tiny_pipelines FOLDER NAME…`).
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support import tiny_models
from tests.support.tiny_models import alphabet, create_text_encoder, create_tokenizer


def _flow_scheduler(**settings: Any) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, **settings)


def _vae(latents: int, **settings: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        in_channels=3, out_channels=3, down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4, block_out_channels=[8, 8, 8, 8], layers_per_block=1,
        latent_channels=latents, norm_num_groups=8, sample_size=32, **settings,
    )  # fmt: skip


def _flow_vae(latents: int) -> Any:
    return _vae(latents, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False)


def _clip_tokenizer() -> Any:
    from transformers import CLIPTokenizer

    characters = alphabet()
    entries = [*characters, *(f"{c}</w>" for c in characters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={entry: number for number, entry in enumerate(entries)}, merges=[], model_max_length=77)


def _clip(tokenizer: Any, kind: str = "CLIPTextModel") -> Any:
    import transformers

    return getattr(transformers, kind)(transformers.CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        projection_dim=16, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    ))  # fmt: skip


def _t5(tokenizer: Any) -> Any:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(T5Config(
        vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, pad_token_id=0,
    ))  # fmt: skip


def _qwen3(tokenizer: Any, layers: int = 2) -> Any:
    """The text encoder without the head that predicts tokens."""
    return create_text_encoder(tokenizer, layers).model


def _unet(text_width: int, **settings: Any) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, block_out_channels=(8, 16), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4, attention_head_dim=2, cross_attention_dim=text_width, **settings,
    )  # fmt: skip


def _ddim() -> Any:
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, clip_sample=False
    )


def klein_kv() -> Any:
    """FLUX.2 klein KV has the parts of FLUX.2 klein."""
    from diffusers import Flux2KleinKVPipeline

    return Flux2KleinKVPipeline(**tiny_models.klein().components, is_distilled=True)


def qwen_image() -> Any:
    """Qwen-Image has the parts of Qwen-Image-Edit, except for the processor."""
    from diffusers import QwenImagePipeline

    parts = tiny_models.edit_plus().components
    del parts["processor"]
    return QwenImagePipeline(**parts)


def krea2() -> Any:
    """Krea-2-Turbo."""
    from diffusers import AutoencoderKLQwenImage, Krea2Pipeline, Krea2Transformer2DModel
    from transformers import Qwen3VLConfig, Qwen3VLModel

    tokenizer = create_tokenizer(512)
    transformer = Krea2Transformer2DModel(
        in_channels=16, num_layers=1, attention_head_dim=16, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=32, timestep_embed_dim=16, text_hidden_dim=16, num_text_layers=2,
        text_num_attention_heads=2, text_num_key_value_heads=1, text_intermediate_size=16,
        num_layerwise_text_blocks=1, num_refiner_text_blocks=1, axes_dims_rope=(8, 4, 4),
    )  # fmt: skip
    vae = AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True],
        latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
    )  # fmt: skip
    text_encoder = Qwen3VLModel(Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 1024,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 1, 1]},
        },
        vision_config={
            "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16,
            "patch_size": 16, "num_position_embeddings": 16, "deepstack_visual_indexes": [],
        },
    ))  # fmt: skip
    return Krea2Pipeline(
        scheduler=_flow_scheduler(use_dynamic_shifting=True), vae=vae, text_encoder=text_encoder, tokenizer=tokenizer,
        transformer=transformer, text_encoder_select_layers=(1, 2), is_distilled=True,
    )  # fmt: skip


def ovis() -> Any:
    from diffusers import OvisImagePipeline, OvisImageTransformer2DModel

    tokenizer = create_tokenizer(1024)
    transformer = OvisImageTransformer2DModel(
        in_channels=16, out_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=16, axes_dims_rope=(8, 4, 4),
    )  # fmt: skip
    return OvisImagePipeline(
        scheduler=_flow_scheduler(use_dynamic_shifting=True), vae=_flow_vae(4), text_encoder=_qwen3(tokenizer),
        tokenizer=tokenizer, transformer=transformer,
    )  # fmt: skip


def ernie() -> Any:
    """ERNIE-Image without its prompt enhancer."""
    from diffusers import ErnieImagePipeline, ErnieImageTransformer2DModel

    tokenizer = create_tokenizer(512)
    transformer = ErnieImageTransformer2DModel(
        hidden_size=32, num_attention_heads=2, num_layers=1, ffn_hidden_size=32, in_channels=16, out_channels=16,
        text_in_dim=16, rope_axes_dim=(8, 4, 4),
    )  # fmt: skip
    return ErnieImagePipeline(
        transformer=transformer, vae=tiny_models.klein().vae, text_encoder=_qwen3(tokenizer), tokenizer=tokenizer,
        scheduler=_flow_scheduler(shift=3.0),
    )  # fmt: skip


def _flux(kind: str) -> Any:
    import diffusers

    clip, tokenizer = _clip_tokenizer(), create_tokenizer(512)
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, pooled_projection_dim=16, guidance_embeds=True, axes_dims_rope=(8, 4, 4),
    )  # fmt: skip
    return getattr(diffusers, kind)(
        scheduler=_flow_scheduler(use_dynamic_shifting=True), vae=_flow_vae(4), text_encoder=_clip(clip),
        tokenizer=clip, text_encoder_2=_t5(tokenizer), tokenizer_2=tokenizer, transformer=transformer,
    )  # fmt: skip


def flux() -> Any:
    return _flux("FluxPipeline")


def kontext() -> Any:
    return _flux("FluxKontextPipeline")


def sd() -> Any:
    from diffusers import StableDiffusionPipeline

    clip = _clip_tokenizer()
    return StableDiffusionPipeline(
        vae=_vae(4), text_encoder=_clip(clip), tokenizer=clip, unet=_unet(16), scheduler=_ddim(), safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def sdxl() -> Any:
    from diffusers import StableDiffusionXLPipeline

    clip = _clip_tokenizer()
    unet = _unet(
        32, addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=64
    )
    return StableDiffusionXLPipeline(
        vae=_vae(4), text_encoder=_clip(clip), text_encoder_2=_clip(clip, "CLIPTextModelWithProjection"),
        tokenizer=clip, tokenizer_2=clip, unet=unet, scheduler=_ddim(), add_watermarker=False,
    )  # fmt: skip


MODELS: dict[str, Callable[[], Any]] = {
    "klein_kv": klein_kv,
    "qwen_image": qwen_image,
    "krea2": krea2,
    "ovis": ovis,
    "ernie": ernie,
    "flux": flux,
    "kontext": kontext,
    "sd": sd,
    "sdxl": sdxl,
}

if __name__ == "__main__":
    tiny_models.build(Path(sys.argv[1]), {name: (MODELS | tiny_models.MODELS)[name] for name in sys.argv[2:]})
