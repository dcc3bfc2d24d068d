"""The facts of the making, in the file itself: an XMP packet that PNG, JPEG and WebP all carry."""

import json
from collections.abc import Mapping
from xml.sax.saxutils import escape, quoteattr  # nosec B406 - these write XML, nothing here reads any

MADE_BY_AI = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's word for a picture made by a trained model, which browsers, phones and platforms read."""

_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:framehouse="https://framehouse.invalid/ns/1.0/"
 xmp:CreatorTool={tool} Iptc4xmpExt:DigitalSourceType={source} framehouse:facts={facts}>
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{description}</rdf:li></rdf:Alt></dc:description>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>"""


def facts_json(facts: Mapping[str, object]) -> str:
    """The facts as one line of JSON, in the order given."""
    return json.dumps(dict(facts), ensure_ascii=False, separators=(",", ":"))


def xmp_packet(facts: Mapping[str, object], *, tool: str) -> bytes:
    """An XMP packet with the facts and the mark "made by AI". UTF-8."""
    packet = _PACKET.format(
        tool=quoteattr(tool),
        source=quoteattr(MADE_BY_AI),
        facts=quoteattr(facts_json(facts)),
        description=escape("made by AI"),
    )
    return packet.encode()
