"""Command-line arguments that specify an image by a file path or a URL."""

from base64 import b64encode
from pathlib import Path

from framehouse.cli.output import Problem
from framehouse.domain.reference import is_url


def image_to_send(value: str) -> str:
    """Return the value for a request body: the URL itself, or the content of the file in base64.

    Raises Problem if the file cannot be read.
    """
    if is_url(value):
        return value
    try:
        return b64encode(Path(value).read_bytes()).decode()
    except OSError as error:
        raise Problem(f"Cannot read the image {value}: {error.strerror}.") from error
