"""Build the requests for the kind `compatible`, as the options of the route specify."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pybase64

from framehouse.domain.shot import Shot
from framehouse.domain.sizes import Size
from framehouse.engines.interface import Batch
from framehouse.engines.openai_images.compatible_options import MAX_SERIES_IMAGES, CompatibleOptions
from framehouse.engines.openai_images.server_kinds import ServerRequest

_SIMILAR = 0.05
"""Two aspect ratios are similar if their logarithms differ by at most this number."""
_MAX_1K_PIXELS = 1_200_000
_JSON = {"Content-Type": "application/json"}


def compatible_fields(options: CompatibleOptions, request: ServerRequest) -> dict[str, object]:
    """Return the fields of a request, without its references."""
    fields: dict[str, object] = {"model": request.model, "prompt": request.prompt}
    if request.n > 1 and not request.series:
        fields["n"] = request.n
    if options.ratios:
        fields["aspect_ratio"] = nearest_ratio_name(options.ratios, request.size)
        fields["resolution"] = "1k" if request.size.width * request.size.height <= _MAX_1K_PIXELS else "2k"
    else:
        fields["size"] = f"{request.size.width}x{request.size.height}"
    if options.response_format:
        fields["response_format"] = options.response_format
    if options.native_series:
        fields["sequential_image_generation"] = "auto" if request.series else "disabled"
        if request.series:
            fields["sequential_image_generation_options"] = {"max_images": request.n}
    return {**fields, **options.extra}


def compatible_body(
    options: CompatibleOptions, fields: Mapping[str, object], files: Sequence[bytes]
) -> tuple[str, dict[str, Any]]:
    """Return the path below the base URL, and the body and headers of a JSON request. Blocks the calling thread."""
    path, content = "generations", dict(fields)
    if files and options.references_as == "objects":
        objects = [{"type": "image_url", "url": _data_url(file)} for file in files]
        path = "edits"
        content |= {"image": objects[0]} if len(objects) == 1 else {"images": objects}
    elif files:
        encode = _data_url if options.references_as == "data_urls" else _base64
        entries = [encode(file) for file in files]
        content[options.reference_field] = entries[0] if len(entries) == 1 else entries
    return path, {"content": json.dumps(content).encode(), "headers": _JSON}


def form_value(value: object) -> str:
    """Return the value of a form field. A value that is not a string is written as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def nearest_size(sizes: Sequence[Size], size: Size) -> Size:
    """Return the allowed size that is nearest to `size`.

    If several sizes have an aspect ratio that is similar to the best aspect ratio, the result is the smallest of them
    that is at least as large as `size`, or else the largest of them.
    """
    best = min(_distance(other, size) for other in sizes)
    similar = [other for other in sizes if _distance(other, size) <= best + _SIMILAR]
    covering = [other for other in similar if min(other.width / size.width, other.height / size.height) >= 1 - _SIMILAR]
    if covering:
        return min(covering, key=lambda other: (other.width * other.height, _distance(other, size)))
    return max(similar, key=lambda other: (other.width * other.height, -_distance(other, size)))


def nearest_ratio_name(ratios: Mapping[str, float], size: Size) -> str:
    """Return the name of the allowed aspect ratio that is nearest to the aspect ratio of `size`."""
    return min(ratios, key=lambda name: abs(math.log(ratios[name] * size.height / size.width)))


def series_length(batch: Batch, shots: Sequence[Shot], max_references: int, *, first_frame: bool) -> int:
    """Return the number of the first `shots` that fit in one request for a series."""
    inputs = len(batch.references) + sum(len(element.images) for element in batch.elements) + first_frame
    return min(len(shots), max(1, MAX_SERIES_IMAGES - min(inputs, max_references)))


def series_shot(shots: Sequence[Shot]) -> Shot:
    """Return a shot whose prompt describes all `shots` as the frames of one series."""
    first = shots[0]
    start = f"A series of {len(shots)} images with the same people, things, place and style"
    if all(shot.prompt == first.prompt for shot in shots):
        frames = "; ".join(f"frame {number}: {shot.framing}" for number, shot in enumerate(shots, 1) if shot.framing)
        return Shot(first.index, f"{first.prompt}\n{start}{f': {frames}' if frames else ''}.", "", first.seed)
    frames = "\n".join(
        f"Frame {number}{f' ({shot.framing})' if shot.framing else ''}: {shot.prompt}"
        for number, shot in enumerate(shots, 1)
    )
    return Shot(first.index, f"{start}.\n{frames}", "", first.seed)


def _distance(one: Size, other: Size) -> float:
    return abs(math.log(one.width * other.height / (one.height * other.width)))


def _data_url(file: bytes) -> str:
    media_type = "image/png" if file.startswith(b"\x89PNG") else "image/jpeg"
    return f"data:{media_type};base64,{_base64(file)}"


def _base64(file: bytes) -> str:
    return pybase64.b64encode(file).decode()
