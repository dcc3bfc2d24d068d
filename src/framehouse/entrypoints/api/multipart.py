"""Read the file of a form (multipart/form-data), which browsers and `curl --form` send."""

from typing import BinaryIO

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

_PIECE_BYTES = 1_000_000


class NoFile(Exception):
    """Raised when a form contains no file, or is invalid. The message is for the client."""


def file_of_form(content_type: str, body: BinaryIO, *, field: str) -> bytes:
    """Return the content of the first part of a form that has the name `field`. This function blocks.

    Raises NoFile.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise NoFile("the Content-Type has no boundary")
    reader = _FormReader(field)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_header_field": reader.read_header_name,
                "on_header_value": reader.read_header_value,
                "on_header_end": reader.end_header,
                "on_part_data": reader.read_data,
                "on_part_end": reader.end_part,
            },
        )
        while piece := body.read(_PIECE_BYTES):
            parser.write(piece)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise NoFile("the body is not a valid form (multipart/form-data)") from error
    if not reader.complete:
        raise NoFile(f"the form has no file with the name {field}")
    return bytes(reader.content)


class _FormReader:
    """The callbacks of the parser. Parts with other names are not kept."""

    def __init__(self, field: str) -> None:
        self.content = bytearray()
        self.complete = False
        self._field = field.encode()
        self._name, self._value = b"", b""
        self._wanted = False

    def read_header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def read_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def end_header(self) -> None:
        if self._name.lower() == b"content-disposition" and not self.complete:
            self._wanted = parse_options_header(self._value)[1].get(b"name") == self._field
        self._name = self._value = b""

    def read_data(self, data: bytes, start: int, end: int) -> None:
        if self._wanted:
            self.content += data[start:end]

    def end_part(self) -> None:
        self.complete = self.complete or self._wanted
        self._wanted = False
