"""Read forms (multipart/form-data), which browsers, `curl --form` and the clients of OpenAI's API send.

The complete body is in a file before this module reads it. The boundaries are found by searching bytes. A streaming
parser such as the one of python-multipart compares byte by byte, and needs minutes for a body that consists of line
breaks.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

from python_multipart.multipart import parse_options_header

from framehouse.adapters.spool import part_of
from framehouse.domain.reference import Content

FORM = "multipart/form-data"
_WINDOW_BYTES = 1_000_000
_MAX_TEXT_BYTES = 1_000_000
_MAX_HEAD_BYTES = 16_384
_MAX_PARTS = 200
_MAX_BOUNDARY_BYTES = 200
_DISPOSITION = re.compile(rb"^content-disposition:[ \t]*(.*)$", re.IGNORECASE | re.MULTILINE)
_LINE_END = b"\r\n"


class NotAForm(Exception):
    """Raised when a body is not a valid form, or when the form has too many or too large fields.

    The message is for the client.
    """


def is_form(content_type: str) -> bool:
    return content_type.split(";")[0].strip().lower() == FORM


def read_form(content_type: str, open_body: Callable[[], BinaryIO]) -> list[tuple[str, str | Content]]:
    """Return the names and values of a form's fields, in order. The value of a file is its content.

    The content of a file is read from the body when it is needed. This function blocks. Raises NotAForm.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not 0 < len(boundary) <= _MAX_BOUNDARY_BYTES:
        raise NotAForm("the Content-Type has no valid boundary")
    fields: list[tuple[str, str | Content]] = []
    text_bytes = 0
    with open_body() as body:
        for part_start, end in _parts(body, boundary):
            name, is_file, head_bytes = _read_head(body, part_start, end)
            start = part_start + head_bytes
            size = end - start
            if is_file:
                content = Content(size, _sha256(body, start, end), part_of(open_body, start, size))
                fields.append((name, content))
                continue
            text_bytes += size
            if text_bytes > _MAX_TEXT_BYTES:
                raise NotAForm("the text fields of the form are too large; send images as files")
            fields.append((name, _read(body, start, end).decode(errors="replace")))
    return fields


def _parts(body: BinaryIO, boundary: bytes) -> Iterator[tuple[int, int]]:
    """Yield the positions of the start and the end of each part, including its headers. Raises NotAForm."""
    opened = -1
    for number, (start, end, closes) in enumerate(_boundaries(body, boundary)):
        if number > _MAX_PARTS:
            raise NotAForm(f"the form has more than {_MAX_PARTS} fields")
        if opened >= 0:
            yield opened, start
        if closes:
            return
        opened = end
    raise NotAForm(f"the body is not a valid form ({FORM}), or ends too early")


def _boundaries(body: BinaryIO, boundary: bytes) -> Iterator[tuple[int, int, bool]]:
    """Yield the start and the end of each boundary line, and whether the line ends the form."""
    line = re.compile(rb"(?:\r\n|\A)--" + re.escape(boundary) + rb"(\r\n|--)")
    overlap_bytes = len(boundary) + 6
    at = 0
    while True:
        body.seek(at)
        window = body.read(_WINDOW_BYTES + overlap_bytes)
        searched = 0
        while match := line.search(window, searched):
            # a boundary without a line break before it is only allowed at the start of the body
            if at + match.start() == 0 or match[0].startswith(_LINE_END):
                yield at + match.start(), at + match.end(), match[1] == b"--"
            # the line break after a boundary can also be the line break before the next boundary
            searched = match.end() - len(_LINE_END)
        if len(window) < _WINDOW_BYTES + overlap_bytes:
            return
        at += max(searched, _WINDOW_BYTES)


def _read_head(body: BinaryIO, start: int, end: int) -> tuple[str, bool, int]:
    """Return the name of a part, whether the part is a file, and the size of its headers in bytes. Raises NotAForm."""
    head = _read(body, start, min(end, start + _MAX_HEAD_BYTES))
    size = head.find(_LINE_END * 2)
    if size == -1:
        raise NotAForm("a field of the form has no headers, or its headers are too large")
    disposition = _DISPOSITION.search(head[:size].replace(_LINE_END, b"\n"))
    options = parse_options_header(disposition[1])[1] if disposition else {}
    name = options.get(b"name", b"").decode(errors="replace")
    return name, b"filename" in options or b"filename*" in options, size + 2 * len(_LINE_END)


def _sha256(body: BinaryIO, start: int, end: int) -> str:
    digest = hashlib.sha256()
    body.seek(start)
    while start < end and (piece := body.read(min(_WINDOW_BYTES, end - start))):
        digest.update(piece)
        start += len(piece)
    return digest.hexdigest()


def _read(body: BinaryIO, start: int, end: int) -> bytes:
    body.seek(start)
    return body.read(max(0, end - start))
