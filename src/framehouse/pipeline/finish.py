"""Convert a generated image to signed files: resize the image, add a watermark, and encode it with metadata."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from framehouse.adapters.content_credentials.manifests import Claims, Ingredient, SigningFailed
from framehouse.adapters.images.encode import MEDIA_TYPES, Encoded, build_png, encode
from framehouse.adapters.images.image_metadata import describe
from framehouse.adapters.images.image_upscaler import UPSCALER
from framehouse.adapters.images.preview import PREVIEW_TYPE, create_preview
from framehouse.adapters.images.resize import resize_and_crop
from framehouse.adapters.images.watermark import add_watermark
from framehouse.adapters.reference_files.file_types import has_manifest
from framehouse.domain.provenance import DigitalSourceType, finished_source_type
from framehouse.domain.shot import FinishedImage
from framehouse.domain.sizes import Size
from framehouse.domain.task import OutputFormat
from framehouse.domain.watermark_text import watermark_text_for
from framehouse.engines.image_files import ImageFile, Png
from framehouse.pipeline.original_pixels import Original, insert_original

if TYPE_CHECKING:
    from framehouse.adapters.content_credentials.credential_signer import CredentialSigner

log = logging.getLogger(__name__)
ExplicitLabel = Literal["watermark", "always"]


@dataclass(frozen=True, slots=True)
class Finishing:
    """The settings for finishing images.

    `software` is the name and version of this software in the metadata. `watermark_logo` is the content of an image
    file. If `watermark_logo` is empty, the watermark is `watermark_text`. If both are empty, the watermark is a text in
    the language of the prompt. `label_producer` is the code of the operator for the implicit label. If this code is
    empty, files have no implicit label. If `explicit_label` is `always`, the watermark is in all files of an image.

    `signer` signs the files, unless it is None. If `require_signature` is true, an image that cannot be signed is not
    finished. If `show_prompt` is true, the metadata contains the text of the prompt, and otherwise its SHA-256.
    """

    software: str
    format: OutputFormat = "png"
    quality: int = 92
    watermark_text: str = ""
    watermark_logo: bytes = b""
    label_producer: str = ""
    explicit_label: ExplicitLabel = "watermark"
    signer: "CredentialSigner | None" = None
    require_signature: bool = False
    show_prompt: bool = False


def finish(
    image: NDArray[np.uint8] | ImageFile,
    size: Size,
    facts: Mapping[str, object],
    finishing: Finishing,
    *,
    source_type: DigitalSourceType,
    watermark: bool,
    prompt: str = "",
    label: Mapping[str, str] | None = None,
    original: Original | None = None,
    upscaled: NDArray[np.uint8] | None = None,
    inputs: Sequence[Ingredient] = (),
) -> FinishedImage:
    """Convert an image of any size to a file of exactly `size` pixels.

    The metadata of the file contains `facts`, which describe how the image was generated, and the source type of the
    finished image. `source_type` is the source type that the engine states. If `watermark` is true, the result also
    contains a second file with a watermark. If the image is an expanded image or an edit with a mask, the pixels of
    `original` replace a part of its pixels (`original_pixels`). The result also contains a preview. `inputs` are the
    references of the task. Those that contain a C2PA manifest become ingredients of the manifest of the image.

    `label` is the implicit label in the metadata of all files, or None. If `finishing.explicit_label` is `always`, the
    image and the preview also have the watermark, and the second file is identical to the first. `prompt` is the prompt
    of the task, which determines the language of the watermark.

    `upscaled` is the image after a neural network has enlarged it, or None. These pixels are resized to `size`.

    This function blocks, so call it in a thread. A PNG of the right size is not encoded again if the output format is
    PNG, `original` is None, and no file has a watermark.

    An image that cannot be signed is finished without a signature, and its metadata states this. If the settings
    require a signature, SigningFailed is raised instead.
    """
    finish_with = partial(
        _finish,
        image,
        size,
        source_type=source_type,
        watermark=watermark,
        text=finishing.watermark_text or watermark_text_for(prompt),
        label=label,
        original=original,
        upscaled=upscaled,
        inputs=[file for file in inputs if finishing.signer and has_manifest(file.content)],
    )
    image_facts = facts if finishing.show_prompt else _without_prompts(facts)
    try:
        return finish_with(image_facts, finishing)
    except SigningFailed as error:
        if finishing.require_signature:
            raise
        log.warning("image %s of task %s is not signed: %s", facts.get("index"), facts.get("task"), error)
    return finish_with({**image_facts, "not_signed": "the image could not be signed"}, replace(finishing, signer=None))


def _finish(
    image: NDArray[np.uint8] | ImageFile,
    size: Size,
    facts: Mapping[str, object],
    finishing: Finishing,
    *,
    source_type: DigitalSourceType,
    watermark: bool,
    text: str,
    label: Mapping[str, str] | None,
    original: Original | None,
    upscaled: NDArray[np.uint8] | None,
    inputs: Sequence[Ingredient],
) -> FinishedImage:
    """Finish an image as described in `finish`. `text` is the text of the watermark. Raises SigningFailed."""
    always = finishing.explicit_label == "always"
    parent = None
    if isinstance(image, ImageFile) and has_manifest(image.file):
        parent = Ingredient(image.file, "the image of the upstream")
    sign = partial(_sign, finishing, parent=parent, inputs=inputs)
    pixels = image.decoded() if isinstance(image, ImageFile) else image
    facts = dict(facts)
    generated_height, generated_width = pixels.shape[:2]
    enlarged = generated_width < size.width and generated_height < size.height
    if (generated_width, generated_height) != size:
        facts["resized_from"] = f"{generated_width}x{generated_height}"
    if upscaled is not None:
        facts["upscaled_by"] = UPSCALER
    pixels = resize_and_crop(pixels if upscaled is None else upscaled, size)
    if original:
        pixels = insert_original(pixels, original)
    finished_type = finished_source_type(source_type, has_original=original is not None, upscaled=upscaled is not None)
    metadata = describe(facts, software=finishing.software, source_type=finished_type, label=label)
    claims = replace(
        _claims(facts, finishing, finished_type),
        expanded=original is not None and original.box is not None,
        masked=original is not None and original.box is None,
    )
    media_type = MEDIA_TYPES[finishing.format]
    encode_file = partial(
        encode, format=finishing.format, metadata=metadata, quality=finishing.quality, enlarged=enlarged
    )
    if always:
        pixels, _ = add_watermark(pixels, text, finishing.watermark_logo)
        claims = replace(claims, labelled=True)
    unchanged = finishing.format == "png" and (generated_width, generated_height) == size
    if unchanged and isinstance(image, Png) and not (watermark or always or original):
        clean = Encoded(build_png(image.data, *size, metadata))
    else:
        clean = encode_file(pixels)
    preview, thumb_hash, perceptual_hash = create_preview(pixels, metadata.xmp)
    file, preview = sign(clean.content, media_type, claims), sign(preview, PREVIEW_TYPE, claims)
    watermarked = file if watermark else b""
    if watermark and not always:
        copy, rows = add_watermark(pixels, text, finishing.watermark_logo)
        marked = encode_file(copy, like=clean, changed_rows=rows)
        watermarked = sign(marked.content, media_type, replace(claims, labelled=True))
    return FinishedImage(file, watermarked, media_type, size, preview, thumb_hash, perceptual_hash)


def finish_partial(
    pixels: NDArray[np.uint8],
    facts: Mapping[str, object],
    finishing: Finishing,
    *,
    source_type: DigitalSourceType,
    prompt: str,
    label: Mapping[str, str] | None,
) -> bytes:
    """Return the preview of an unfinished image as a WebP file, with the same marks as the preview of an image.

    `pixels` has the shape (height, width, 3). The other arguments are those of `finish`. This function blocks, so call
    it in a thread. Raises SigningFailed.
    """
    facts = {**(facts if finishing.show_prompt else _without_prompts(facts)), "partial_image": True}
    metadata = describe(facts, software=finishing.software, source_type=source_type, label=label)
    claims = _claims(facts, finishing, source_type)
    if finishing.explicit_label == "always":
        text = finishing.watermark_text or watermark_text_for(prompt)
        pixels, _ = add_watermark(pixels, text, finishing.watermark_logo)
        claims = replace(claims, labelled=True)
    preview, _, _ = create_preview(pixels, metadata.xmp)
    return _sign(finishing, preview, PREVIEW_TYPE, claims, parent=None, inputs=())


def _sign(
    finishing: Finishing,
    content: bytes,
    media_type: str,
    claims: Claims,
    *,
    parent: Ingredient | None,
    inputs: Sequence[Ingredient],
) -> bytes:
    """Return the signed file, or the same file if there is no signer. Raises SigningFailed."""
    if finishing.signer is None:
        return content
    try:
        return finishing.signer.sign(content, media_type, claims, parent=parent, inputs=inputs)
    except SigningFailed:
        raise
    except Exception as error:  # an image that may have been paid for must not be lost because of a manifest
        raise SigningFailed(f"{type(error).__name__}: {error}") from error


def _claims(facts: Mapping[str, object], finishing: Finishing, source_type: DigitalSourceType) -> Claims:
    """Return what the manifest of the image states."""
    stated = ("index", "model", "engine", "seed", "prompt", "prompt_sha256")
    generation = {name: facts[name] for name in stated if facts.get(name) is not None}
    generator = facts.get("generated_by") or facts.get("upstream_model") or facts.get("engine") or "unknown"
    return Claims(
        finishing.software.rpartition(" ")[2],
        source_type,
        str(generator),
        generation | {"task_id": facts.get("task", ""), "digital_source_type": source_type},
        resized_from=str(facts.get("resized_from", "")),
        upscaled_by=str(facts.get("upscaled_by", "")),
    )


def _without_prompts(facts: Mapping[str, object]) -> dict[str, object]:
    """Return the facts with the SHA-256 of the prompt instead of its text."""
    shown = {name: value for name, value in facts.items() if name not in ("prompt", "revised_prompt")}
    if isinstance(prompt := facts.get("prompt"), str):
        shown["prompt_sha256"] = hashlib.sha256(prompt.encode()).hexdigest()
    return shown
