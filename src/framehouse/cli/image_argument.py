"""Command-line arguments that specify an image, as the path of a file or as a URL."""

from base64 import b64encode
from pathlib import Path

from framehouse.cli.output import Problem
from framehouse.domain.reference import is_url


def image_to_send(value: str) -> str:
    """Return the image for a request body: a URL unchanged, or the content of a file as base64.

    Raises Problem if the file cannot be read.
    """
    if is_url(value):
        return value
    try:
        return b64encode(Path(value).read_bytes()).decode()
    except OSError as error:
        raise Problem(f"Cannot read the image {value}: {error.strerror}.") from error
