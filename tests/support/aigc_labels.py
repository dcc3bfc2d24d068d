"""Read the implicit labels of GB 45438-2025 from image files."""

import io
import json
import shutil
import subprocess
from xml.etree import ElementTree

from PIL import Image

from tests.support.system_packages import skip_missing

LABEL_TAG = "{http://www.tc260.org.cn/ns/AIGC/1.0/}AIGC"


def labels_in(content: bytes) -> list[dict[str, str]]:
    """Return all labels in the metadata of a file: in its XMP packet, and in text chunks whose key contains AIGC."""
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        info = dict(image.info)
    packet = info.get("xmp", b"")
    assert b"<?xpacket begin" not in packet[10:], "the file contains several XMP packets"
    texts = [element.text or "" for element in ElementTree.fromstring(packet).iter(LABEL_TAG)]
    texts += [str(value) for name, value in info.items() if "AIGC" in str(name)]
    return [json.loads(text) for text in texts]


def labels_by_exiftool(content: bytes) -> list[dict[str, str]]:
    """Return the labels that exiftool finds, including duplicates. Exiftool shows them as `Aigc`."""
    (found,) = json.loads(_run("exiftool", "libimage-exiftool-perl", "-json", "-a", "-G1:4", "-", input=content))
    return [json.loads(value) for name, value in found.items() if name.rpartition(":")[2].lower() == "aigc"]


def label_count_by_xmllint(content: bytes) -> int:
    """Return the number of labels that xmllint finds in the XMP packet, which exiftool extracts."""
    packet = _run("exiftool", "libimage-exiftool-perl", "-xmp", "-b", "-", input=content)
    xpath = f'count(//*[local-name()="AIGC" and namespace-uri()="{LABEL_TAG[1:].partition("}")[0]}"])'
    return int(_run("xmllint", "libxml2-utils", "--xpath", xpath, "-", input=packet))


def _run(program: str, package: str, *words: str, input: bytes) -> bytes:
    if shutil.which(program) is None:
        skip_missing(program, package)
    done = subprocess.run([program, *words], input=input, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert not done.stderr, done.stderr.decode()
    return done.stdout
