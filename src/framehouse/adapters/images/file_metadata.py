"""Read the metadata that Framehouse and the law of China put into image files: XMP packets and PNG texts.

The content of the files is not trusted, so only the process of `decode` calls this module.
"""

import json
import struct
import zlib
from collections.abc import Iterator
from xml.etree.ElementTree import Element  # nosec B405 - only the type; defusedxml parses

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from framehouse.adapters.reference_files.clean_file import jpeg_segments, png_chunks
from framehouse.adapters.reference_files.file_types import HEAD_BYTES, image_type
from framehouse.domain.provenance import IPTC_SOURCE_TYPES
from framehouse.domain.verification import SOURCE_TYPES, AigcLabel, Generation

_MAX_PACKET_BYTES = 1_000_000
MAX_CHARACTERS = 120
"""The maximum length of a text that is read from a file. Longer texts are truncated."""
_FACTS = "{https://framehouse.invalid/ns/1.0/}facts"
_AIGC = "{http://www.tc260.org.cn/ns/AIGC/1.0/}AIGC"
_SOURCE_TYPE = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_APP1 = 0xE1


class FileMetadata:
    """The values of the metadata. A value is None, or an empty text, if it is missing or invalid."""

    def __init__(self, content: bytes) -> None:
        packets = [packet for raw in _xmp_packets(content) if (packet := _parse(raw)) is not None]
        values = {name: value for packet in packets for name, value in _values(packet)}
        self.facts = _generation(values.get(_FACTS, ""))
        source_type = values.get(_SOURCE_TYPE, "").removeprefix(IPTC_SOURCE_TYPES)
        self.source_type = next((known for known in SOURCE_TYPES if known == source_type), "")
        self.label = _label(values.get(_AIGC, "")) or next(filter(None, map(_label, _png_texts(content, "AIGC"))), None)


def _xmp_packets(content: bytes) -> Iterator[bytes]:
    kind = image_type(content[:HEAD_BYTES])
    if kind == "png":
        yield from (text.encode() for text in _png_texts(content, "XML:com.adobe.xmp"))
    elif kind == "jpg":
        for marker, start, end in jpeg_segments(content):
            if marker == _APP1 and content.startswith(_JPEG_XMP, start + 4):
                yield content[start + 4 + len(_JPEG_XMP) : end]
    elif kind == "webp":
        at = 12
        while at + 8 <= len(content):
            name, length = struct.unpack_from("<4sI", content, at)
            if name == b"XMP ":
                yield content[at + 8 : at + 8 + length]
            at += 8 + length + length % 2


def _png_texts(content: bytes, keyword: str) -> Iterator[str]:
    """Yield the texts with a keyword in the chunks tEXt, zTXt and iTXt of a PNG file."""
    if image_type(content[:HEAD_BYTES]) != "png":
        return
    prefix = keyword.encode() + b"\0"
    for name, start, end in png_chunks(content):
        if name not in (b"tEXt", b"zTXt", b"iTXt") or not content.startswith(prefix, start + 8):
            continue
        body = content[start + 8 + len(prefix) : end - 4]
        compressed = name == b"zTXt"
        if name == b"iTXt" and len(body) > 2:
            compressed = body[0] == 1
            # the language and the translated keyword end with a zero byte each
            body = body[2:].split(b"\0", 2)[-1]
        elif name == b"zTXt":
            body = body[1:]
        if compressed:
            try:
                body = zlib.decompressobj().decompress(body, _MAX_PACKET_BYTES + 1)
            except zlib.error:
                continue
        yield body[: _MAX_PACKET_BYTES + 1].decode("latin-1" if name != b"iTXt" else "utf-8", "replace")


def _parse(packet: bytes) -> Element | None:
    """Parse an XMP packet. Returns None if it is too large, is not XML, or contains a DTD or entities."""
    if len(packet) > _MAX_PACKET_BYTES:
        return None
    try:
        root: Element = fromstring(
            packet.strip(b"\0 \t\r\n"), forbid_dtd=True, forbid_entities=True, forbid_external=True
        )
    except (DefusedXmlException, ParseError, ValueError, LookupError):
        return None
    return root


def _values(packet: Element) -> Iterator[tuple[str, str]]:
    """Yield the names and the values of all properties. XMP writes a property as an attribute or as an element."""
    for element in packet.iter():
        yield from element.attrib.items()
        if element.text and element.text.strip():
            yield str(element.tag), element.text.strip()


def _generation(facts: str) -> Generation | None:
    values = json_object(facts)
    if values is None or not text_of(values.get("engine")):
        return None
    return generation_of(values, task="task")


def generation_of(values: dict[str, object], *, task: str) -> Generation:
    """Return how an image was generated. `task` is the name of the entry with the task id."""
    index = values.get("index")
    valid = isinstance(index, int) and not isinstance(index, bool) and 0 <= index < 1000
    return Generation(
        task_id=text_of(values.get(task)),
        index=index if valid and isinstance(index, int) else -1,
        model=text_of(values.get("model")),
        engine=text_of(values.get("engine")),
    )


def _label(text: str) -> AigcLabel | None:
    values = json_object(text)
    if values is None or "Label" not in values:
        return None
    return AigcLabel(text_of(values["Label"]), text_of(values.get("ContentProducer")))


def json_object(text: str) -> dict[str, object] | None:
    """Parse a JSON object. Returns None if the text is not a JSON object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def text_of(value: object) -> str:
    """Return a value as one line of printable text, truncated to MAX_CHARACTERS. Returns "" if it is not a text."""
    if not isinstance(value, str):
        return ""
    return "".join(c if c.isprintable() else "\ufffd" for c in value[:MAX_CHARACTERS])
