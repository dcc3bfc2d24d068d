"""Creates tiny pipelines with random weights, as folders that the real code can load. It needs no network.

It runs as a separate program (`python -m tests.support.tiny_models FOLDER`), because the test process must not import
torch.
"""

import importlib.util
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_SPECIAL_TOKENS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>",
    "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>",
    "<|quad_start|>", "<|quad_end|>",
    "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip
_CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif c['type'] == 'text' %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
"""The part of Qwen3's chat template that the pipelines need."""


def alphabet() -> list[str]:
    """The characters that stand for the 256 byte values in byte-level tokenizers, in order of the bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    codes = {byte: byte for byte in plain}
    codes |= {byte: 256 + n for n, byte in enumerate(b for b in range(256) if b not in codes)}
    return [chr(codes[byte]) for byte in range(256)]


def create_tokenizer(length: int) -> Any:
    from transformers import Qwen2Tokenizer

    vocabulary = {character: number for number, character in enumerate([*alphabet(), *_SPECIAL_TOKENS])}
    return Qwen2Tokenizer(
        vocab=vocabulary, merges=[], unk_token=None, bos_token=None,
        eos_token="<|im_end|>", pad_token="<|endoftext|>", additional_special_tokens=_SPECIAL_TOKENS[1:],
        chat_template=_CHAT_TEMPLATE, model_max_length=length,
    )  # fmt: skip


def create_text_encoder(tokenizer: Any, layers: int) -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=layers,
        num_attention_heads=2, num_key_value_heads=1, head_dim=8, max_position_embeddings=1024,
        tie_word_embeddings=True, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    ))  # fmt: skip


def klein() -> Any:
    """FLUX.2 klein, distilled. The text encoder has 29 layers, because the pipeline reads the 27th layer."""
    from diffusers import (
        AutoencoderKLFlux2,
        FlowMatchEulerDiscreteScheduler,
        Flux2KleinPipeline,
        Flux2Transformer2DModel,
    )

    tokenizer = create_tokenizer(512)
    transformer = Flux2Transformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=48, timestep_guidance_channels=16, axes_dims_rope=[4, 4, 4, 4], guidance_embeds=False,
    )  # fmt: skip
    vae = AutoencoderKLFlux2(
        sample_size=64, in_channels=3, out_channels=3, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 4, 8, 8), layers_per_block=1, norm_num_groups=2,
        use_quant_conv=False, use_post_quant_conv=False,
    )  # fmt: skip
    scheduler = FlowMatchEulerDiscreteScheduler(
        num_train_timesteps=1000, shift=3.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15,
        base_image_seq_len=256, max_image_seq_len=4096, time_shift_type="exponential",
    )  # fmt: skip
    return Flux2KleinPipeline(
        scheduler=scheduler, vae=vae, text_encoder=create_text_encoder(tokenizer, 29), tokenizer=tokenizer,
        transformer=transformer, is_distilled=True,
    )  # fmt: skip


def edit_plus() -> Any:
    """Qwen-Image-Edit-2509 and 2511."""
    from diffusers import (
        AutoencoderKLQwenImage,
        FlowMatchEulerDiscreteScheduler,
        QwenImageEditPlusPipeline,
        QwenImageTransformer2DModel,
    )
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    from framehouse.engines.diffusers.pipeline_loading import build_image_only_processor

    tokenizer = create_tokenizer(4096)
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>")
           for name in ("image_pad", "video_pad", "vision_start", "vision_end", "vision_pad")}  # fmt: skip
    text_encoder = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 8192,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2]},
            "pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None,
        },
        vision_config={
            "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16,
            "patch_size": 14, "spatial_merge_size": 2, "window_size": 112, "fullatt_block_indexes": [0],
        },
        image_token_id=ids["image_pad"], video_token_id=ids["video_pad"], vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"], vision_token_id=ids["vision_pad"], tie_word_embeddings=True,
    ))  # fmt: skip
    transformer = QwenImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, guidance_embeds=False, axes_dims_rope=(8, 4, 4),
    )  # fmt: skip
    vae = AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True],
        latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
    )  # fmt: skip
    scheduler = FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, base_shift=0.5, max_shift=0.9, base_image_seq_len=256, max_image_seq_len=8192,
        shift=1.0, shift_terminal=0.02, time_shift_type="exponential",
    )  # fmt: skip
    images = Qwen2VLImageProcessorPil(
        patch_size=14, merge_size=2, temporal_patch_size=2, min_pixels=56 * 56, max_pixels=28 * 28 * 64
    )
    return QwenImageEditPlusPipeline(
        scheduler=scheduler, vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, transformer=transformer,
        processor=build_image_only_processor(images, tokenizer),
    )  # fmt: skip


def z_image() -> Any:
    """Z-Image-Turbo."""
    import torch
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel

    tokenizer = create_tokenizer(512)
    transformer = ZImageTransformer2DModel(
        all_patch_size=(2,), all_f_patch_size=(1,), in_channels=16, dim=32, n_layers=2, n_refiner_layers=1, n_heads=2,
        n_kv_heads=2, qk_norm=True, cap_feat_dim=16, rope_theta=256.0, t_scale=1000.0, axes_dims=[8, 4, 4],
        axes_lens=[256, 128, 128],
    )  # fmt: skip
    with torch.no_grad():  # the constructor leaves these tensors uninitialized
        transformer.x_pad_token.zero_()
        transformer.cap_pad_token.zero_()
    vae = AutoencoderKL(
        in_channels=3, out_channels=3, down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4, block_out_channels=[8, 8, 8, 8], layers_per_block=1,
        latent_channels=16, norm_num_groups=8, sample_size=32, scaling_factor=0.3611, shift_factor=0.1159,
        use_quant_conv=False, use_post_quant_conv=False,
    )  # fmt: skip
    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0), vae=vae,
        text_encoder=create_text_encoder(tokenizer, 2), tokenizer=tokenizer, transformer=transformer,
    )  # fmt: skip


def swin2sr() -> Any:
    """An upscaler that doubles width and height."""
    from transformers import Swin2SRConfig, Swin2SRForImageSuperResolution

    return Swin2SRForImageSuperResolution(Swin2SRConfig(
        image_size=64, patch_size=1, num_channels=3, embed_dim=12, depths=[1], num_heads=[2], window_size=8,
        mlp_ratio=2.0, upscale=2, upsampler="pixelshuffledirect", num_channels_out=3,
    ))  # fmt: skip


MODELS: dict[str, Callable[[], Any]] = {
    "klein": klein,
    "edit_plus": edit_plus,
    "z_image": z_image,
    "swin2sr": swin2sr,
}
_LORA_LAYERS = {"klein": "proj_out", "edit_plus": "transformer_blocks.0.img_mod.1"}
"""The layers that the LoRAs change. Only Qwen-Image has a layer `img_mod`."""


def save_lora(path: Path, pipeline: Any, name: str) -> None:
    """Save a LoRA that changes the layer `name` of the pipeline's transformer."""
    import torch
    from safetensors.torch import save_file

    rows, columns = pipeline.transformer.get_submodule(name).weight.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    key = f"transformer.{name}.lora_"
    save_file({f"{key}A.weight": torch.randn(4, columns), f"{key}B.weight": torch.randn(rows, 4)}, path)


def save_gguf(path: Path, pipeline: Any) -> None:
    """Save the weights of the pipeline's transformer as a GGUF file: 8-bit blocks for matrices, if their shape allows
    it."""
    import gguf

    writer = gguf.GGUFWriter(str(path), "flux")
    for name, tensor in pipeline.transformer.state_dict().items():
        values = tensor.float().numpy()
        kind = gguf.GGMLQuantizationType.Q8_0 if values.ndim == 2 and values.shape[1] % 32 == 0 else None
        writer.add_tensor(name, gguf.quantize(values, kind) if kind else values, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def build(folder: Path, models: Mapping[str, Callable[[], Any]]) -> None:
    """Save each model in a subfolder with its name."""
    import torch

    torch.set_num_threads(1)
    for name, create in models.items():
        torch.manual_seed(0)
        pipeline = create()
        pipeline.save_pretrained(folder / name)
        if layer := _LORA_LAYERS.get(name):
            save_lora(folder / "loras" / f"{name}-4steps.safetensors", pipeline, layer)
        if name == "klein" and importlib.util.find_spec("gguf"):
            save_gguf(folder / "klein.gguf", pipeline)
    if "edit_plus" not in models:
        return
    for path in (
        folder / "edit_plus" / "model_index.json",
        folder / "edit_plus" / "processor" / "processor_config.json",
    ):
        # the published model, which was saved with torchvision, names this class
        config = json.loads(path.read_text())
        config |= {"processor": ["transformers", "Qwen2VLProcessor"]} if "processor" in config else {}
        config |= {"processor_class": "Qwen2VLProcessor"} if "processor_class" in config else {}
        path.write_text(json.dumps(config))


if __name__ == "__main__":
    build(Path(sys.argv[1]), MODELS)
