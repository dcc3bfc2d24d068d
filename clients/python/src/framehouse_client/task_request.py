"""Build the requests that create tasks. The functions read image files, but send nothing.

The arguments of `create_request` determine the endpoint: a request with a negative prompt needs `generations`, and
every other request uses `omni-image`.
"""

import hashlib
import json
import os
import secrets
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

Kind = Literal["omni-image", "generations", "multi-image2image", "expand", "try-on"]
KINDS: tuple[Kind, ...] = get_args(Kind)
PATHS: Mapping[str, str] = {
    "omni-image": "/v1/images/omni-image",
    "generations": "/v1/images/generations",
    "multi-image2image": "/v1/images/multi-image2image",
    "expand": "/v1/images/editing/expand",
    "try-on": "/v1/images/kolors-virtual-try-on",
    "element": "/v1/general/advanced-custom-elements",
}
"""The path of the endpoint of each kind of task, without the prefix of the server."""
DEFAULT_MODEL = "kling-v3-omni"

ImageInput = str | os.PathLike[str] | bytes
"""An image: the path of a file, an http(s) or `data:` URL, or the content of a file."""


class TaskOptions(TypedDict, total=False):
    """The options of all requests that create tasks.

    model: the name of a model. The default is `kling-v3-omni`, or the server's default for the endpoint.
    watermark: whether the server also creates a watermarked copy of each image.
    seed: the seed of the first image (only Framehouse).
    callback_url: the URL that receives a POST request after each change of the status; see `verify_webhook`.
    external_task_id: an id that you choose; each id can be used once in an account. The default is a random id.
    idempotency_key: a request with the same key and the same arguments returns the first task instead of a new task.
    extra: further fields of the request, as the Kling API names them.
    """

    model: str | None
    watermark: bool
    seed: int | None
    callback_url: str | None
    external_task_id: str | None
    idempotency_key: str | None
    extra: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """A request that creates a task, or an element with the kind `element`. `body` does not contain the external id.

    `idempotency_key` is sent in the header of this name. `repeatable` is true if the caller chose the key, so that an
    earlier process may have sent the same request. `external_task_id` is the id with which a task can be found whose
    response was lost. `generated_id` is true if the client generated this id.
    """

    kind: str
    body: Mapping[str, Any] = field(repr=False)
    idempotency_key: str
    repeatable: bool
    external_task_id: str
    generated_id: bool

    @property
    def path(self) -> str:
        return PATHS[self.kind]


def new_request(
    kind: str,
    fields: Mapping[str, Any],
    *,
    model: str | None = None,
    watermark: bool = False,
    seed: int | None = None,
    callback_url: str | None = None,
    external_task_id: str | None = None,
    idempotency_key: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> TaskRequest:
    """Return a request with these fields. Fields that are None are omitted.

    If the caller chose an idempotency key, the generated external id depends only on the key and the body. The client
    therefore recognizes a repeated request even if the server does not.
    """
    optional = {"model_name": model, **fields, "seed": seed, "callback_url": callback_url}
    body: dict[str, Any] = {name: value for name, value in optional.items() if value is not None}
    if kind != "element":
        body["watermark_info"] = {"enabled": watermark}
    body |= extra or {}
    key = idempotency_key or secrets.token_hex(16)
    if idempotency_key and not (idempotency_key.isascii() and idempotency_key.isprintable()):
        raise ValueError("idempotency_key must consist of printable ASCII characters")
    chosen_id = external_task_id or body.pop("external_task_id", None)
    return TaskRequest(kind, body, key, bool(idempotency_key), chosen_id or _external_id(key, body), not chosen_id)


def create_request(
    prompt: str,
    *,
    images: Iterable[ImageInput] = (),
    elements: Iterable[object] = (),
    n: int | None = None,
    series: int | bool | Literal["auto"] | None = None,
    aspect_ratio: str | None = None,
    resolution: str | None = None,
    negative_prompt: str | None = None,
    options: TaskOptions | None = None,
) -> TaskRequest:
    """Return a request for single images or a series. See `Client.create`.

    Raises ValueError if the arguments contradict each other, and OSError if a file cannot be read.
    """
    options = options.copy() if options else {}
    if series and n is not None:
        raise ValueError("use series or n, not both; for a series of five images: series=5")
    if series and negative_prompt:
        raise ValueError("negative_prompt and series cannot be used together, because they need different endpoints")
    encoded = [encode_image(image) for image in _listed(images, "images")]
    fields: dict[str, Any] = {
        "prompt": prompt,
        "negative_prompt": negative_prompt,
        "aspect_ratio": aspect_ratio,
        "resolution": resolution,
    }
    if elements := _listed(elements, "elements"):
        fields["element_list"] = [{"element_id": _element_id(element)} for element in elements]
    if negative_prompt:
        # The Kling API allows only one image in this request. Sending more than one image is an extension.
        if len(encoded) == 1:
            fields["image"] = encoded[0]
        elif encoded:
            fields["image_list"] = [{"image": image} for image in encoded]
        return new_request("generations", fields | {"n": n or 1}, **options)
    if encoded:
        fields["image_list"] = [{"image": image} for image in encoded]
    if series:
        fields |= {"result_type": "series", "series_amount": "auto" if series is True else series}
    else:
        fields |= {"result_type": "single", "n": n or 1}
    options["model"] = options.get("model") or DEFAULT_MODEL
    return new_request("omni-image", fields, **options)


def expand_request(
    image: ImageInput,
    *,
    left: float = 0,
    right: float = 0,
    up: float = 0,
    down: float = 0,
    prompt: str | None = None,
    n: int | None = None,
    options: TaskOptions | None = None,
) -> TaskRequest:
    """Return a request that expands an image. See `Client.expand`."""
    ratios = {"up": up, "down": down, "left": left, "right": right}
    fields: dict[str, object] = {"prompt": prompt, "n": n or 1, "image": encode_image(image)}
    fields |= {f"{side}_expansion_ratio": ratio for side, ratio in ratios.items()}
    return new_request("expand", fields, **options or {})


def combine_request(
    subjects: Iterable[ImageInput],
    *,
    scene: ImageInput | None = None,
    style: ImageInput | None = None,
    prompt: str | None = None,
    n: int | None = None,
    aspect_ratio: str | None = None,
    options: TaskOptions | None = None,
) -> TaskRequest:
    """Return a request that combines subjects in a new image. See `Client.combine`."""
    fields = {
        "prompt": prompt,
        "aspect_ratio": aspect_ratio,
        "n": n or 1,
        "subject_image_list": [{"subject_image": encode_image(image)} for image in _listed(subjects, "subjects")],
        "scene_image": None if scene is None else encode_image(scene),
        "style_image": None if style is None else encode_image(style),
    }
    return new_request("multi-image2image", fields, **options or {})


def try_on_request(human: ImageInput, cloth: ImageInput, *, options: TaskOptions | None = None) -> TaskRequest:
    """Return a request that shows a person in clothes. See `Client.try_on`."""
    return new_request(
        "try-on", {"human_image": encode_image(human), "cloth_image": encode_image(cloth)}, **options or {}
    )


def element_request(
    name: str,
    description: str,
    images: Iterable[ImageInput],
    *,
    tags: Iterable[str] = (),
    external_task_id: str | None = None,
    idempotency_key: str | None = None,
) -> TaskRequest:
    """Return a request that creates an element. See `Elements.create`."""
    encoded = [encode_image(image) for image in _listed(images, "images")]
    if not encoded:
        raise ValueError("images must contain at least one image: the frontal image of the element")
    fields: dict[str, Any] = {
        "element_name": name,
        "element_description": description,
        "reference_type": "image_refer",
        "element_image_list": {
            "frontal_image": encoded[0],
            "refer_images": [{"image_url": image} for image in encoded[1:]],
        },
    }
    if tags := list(tags):
        fields["tag_list"] = [{"tag_id": tag} for tag in tags]
    return new_request("element", fields, external_task_id=external_task_id, idempotency_key=idempotency_key)


def encode_image(image: ImageInput) -> str:
    """Return an image as requests contain it: the URL itself, or the content in base64.

    Raises OSError if the file cannot be read.
    """
    if isinstance(image, str) and is_url(image):
        return image
    return b64encode(read_image(image)).decode()


def read_image(image: ImageInput) -> bytes:
    """Return the content of an image that is not a URL. Raises OSError if the file cannot be read."""
    return image if isinstance(image, bytes) else Path(image).read_bytes()


def is_url(image: ImageInput) -> bool:
    return isinstance(image, str) and image[:8].lower().startswith(("http://", "https://", "data:"))


def _listed(values: Iterable[Any], name: str) -> list[Any]:
    """Return the values as a list. A single string or bytes object is a mistake, because its elements are no images."""
    if isinstance(values, str | bytes | os.PathLike):
        raise TypeError(f"{name} must be a list, for example {name}=[{str(values)[:40]!r}]")
    return list(values)


def _element_id(element: object) -> object:
    return getattr(element, "id", element)


def _external_id(key: str, body: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps([key, body], sort_keys=True, default=str).encode())
    return f"fh-{digest.hexdigest()[:40]}"
