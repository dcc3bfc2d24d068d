"""Command-line arguments that specify an image by a file path or a URL."""

from framehouse.cli.output import Problem
from framehouse_client.task_request import encode_image


def image_to_send(value: str) -> str:
    """Return the value for a request body: the URL itself, or the content of the file in base64.

    Raises Problem if the file cannot be read.
    """
    try:
        return encode_image(value)
    except OSError as error:
        raise cannot_read(error) from error


def cannot_read(error: OSError) -> Problem:
    """Return the error message for an image file that cannot be read."""
    return Problem(f"Cannot read the image {error.filename}: {error.strerror}.")
