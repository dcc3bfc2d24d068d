"""The metadata of an image file, which describes how the image was generated.

The most important part is an XMP packet. PNG, JPEG and WebP files can contain the packet.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr  # nosec B406 - this module writes XML and reads none

from framehouse.domain.provenance import IPTC_SOURCE_TYPES, SOURCE_DESCRIPTIONS, DigitalSourceType

_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:framehouse="https://framehouse.invalid/ns/1.0/"
 xmp:CreatorTool={software} Iptc4xmpExt:DigitalSourceType={source} framehouse:facts={facts}>
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{description}</rdf:li></rdf:Alt></dc:description>{label}
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>"""
_LABEL = '\n<TC260:AIGC xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/">{}</TC260:AIGC>'


@dataclass(frozen=True, slots=True)
class Metadata:
    """The metadata of a file: the name of the software, the facts as JSON text, and the XMP packet in UTF-8."""

    software: str
    facts: str
    xmp: bytes


def describe(
    facts: Mapping[str, object],
    *,
    software: str,
    source_type: DigitalSourceType,
    label: Mapping[str, str] | None = None,
) -> Metadata:
    """Return the metadata of an image. `facts` describe how the image was generated, such as its model and prompt.

    `software` is the name and version of this software. `label` is the implicit label (`domain.aigc_label`), or None.
    """
    description = SOURCE_DESCRIPTIONS[source_type]
    text = _one_line_json({**facts, "ai": description})
    packet = _PACKET.format(
        software=quoteattr(software),
        source=quoteattr(IPTC_SOURCE_TYPES + source_type),
        facts=quoteattr(text),
        description=escape(description),
        label=_LABEL.format(escape(_one_line_json(label))) if label else "",
    )
    return Metadata(software, text, packet.encode())


def _one_line_json(values: Mapping[str, object]) -> str:
    """Return the values as one line of JSON, in their original order.

    The two Unicode characters that JSON allows and XML forbids are escaped.
    """
    text = json.dumps(dict(values), ensure_ascii=False, separators=(",", ":"))
    return text.replace("\ufffe", r"\ufffe").replace("\uffff", r"\uffff")
