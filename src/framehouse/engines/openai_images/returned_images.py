"""Decode the images in a response of the Images API."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pybase64
from numpy.typing import NDArray
from pydantic_core import from_json

from framehouse.domain.errors import Broken
from framehouse.engines.image_files import Png, read_answer


@dataclass(frozen=True, slots=True)
class ReturnedImage:
    """An image from the server. `prompt` is the prompt that the server used, or empty if it is not reported."""

    image: NDArray[np.uint8] | Png
    prompt: str = ""


def decode_images(body: bytes, count: int) -> Sequence[ReturnedImage]:
    """Return the images in a response with status 200, in order. Blocks the calling thread.

    Raises Broken unless the response contains exactly `count` images and each image can be decoded.
    """
    try:
        data = from_json(body)["data"]  # from_json parses base64 images ten times as fast as the json module
        items = [(item.get("b64_json"), item.get("revised_prompt"), item.get("url")) for item in data]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise Broken("the model server's response does not have the format of the Images API") from error
    if len(items) != count:
        raise Broken(f"the model server returned {len(items)} images instead of {count}")
    decoded = []
    for content, prompt, url in items:
        if not isinstance(content, str) or not content:
            raise Broken(f"the model server returned {'a URL instead of an image' if url else 'no image'}")
        try:
            file = pybase64.b64decode(content, validate=True)
        except ValueError as error:
            raise Broken("the model server returned an image that is not valid base64") from error
        decoded.append(ReturnedImage(read_answer(file), prompt if isinstance(prompt, str) else ""))
    return decoded
