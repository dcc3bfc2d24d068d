"""An image on the command line: a path or a URL."""

from base64 import b64encode
from pathlib import Path

from framehouse.cli.output import Problem
from framehouse.domain.reference import is_url


def image_to_send(value: str) -> str:
    """A URL as it is; a file as base64, as every server of the contract takes it."""
    if is_url(value):
        return value
    try:
        return b64encode(Path(value).read_bytes()).decode()
    except OSError as error:
        raise Problem(f"Cannot read the image {value}: {error.strerror}.") from error
