"""Create the XMP packet that describes how an image was generated. PNG, JPEG and WebP files can contain the packet.

The packet contains facts about the image, such as the model, the prompt and the seed.
"""

import json
from collections.abc import Mapping
from xml.sax.saxutils import escape, quoteattr  # nosec B406 - this module writes XML and reads none

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""The IPTC digital source type for AI-generated images. Browsers, phones and online platforms read this value."""

_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:framehouse="https://framehouse.invalid/ns/1.0/"
 xmp:CreatorTool={tool} Iptc4xmpExt:DigitalSourceType={source} framehouse:facts={facts}>
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{description}</rdf:li></rdf:Alt></dc:description>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>"""


def facts_json(facts: Mapping[str, object]) -> str:
    """Return the facts as one line of JSON, in their original order.

    The two Unicode characters that JSON allows and XML forbids are escaped.
    """
    text = json.dumps(dict(facts), ensure_ascii=False, separators=(",", ":"))
    return text.replace("\ufffe", r"\ufffe").replace("\uffff", r"\uffff")


def xmp_packet(facts: Mapping[str, object], *, tool: str) -> bytes:
    """Return an XMP packet in UTF-8. The packet contains the facts, and states that the image was made by AI."""
    packet = _PACKET.format(
        tool=quoteattr(tool),
        source=quoteattr(DIGITAL_SOURCE_TYPE),
        facts=quoteattr(facts_json(facts)),
        description=escape("made by AI"),
    )
    return packet.encode()
