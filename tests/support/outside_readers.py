"""Programs that read image files and were not written for Framehouse: c2pa, encypher-c2pa, exiftool and xmllint."""

import io
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import encypher_c2pa
from c2pa import Context, Reader, Settings

from framehouse.adapters.content_credentials.credential_signer import reading_settings
from tests.support.system_packages import skip_missing

_FOR_A_CONFORMANCE_PROGRAM = {
    "com.encypher.conformance.revocationInformationMissing",
    "com.encypher.conformance.trustedTimeStampMissing",
}
"""What encypher-c2pa misses in a file with a self-made certificate. C2PA itself does not require it."""
_PACKET_START, _PACKET_END = b"<?xpacket begin", b'<?xpacket end="r"?>'


def read_manifests(content: bytes, anchors: str = "") -> dict[str, Any]:
    """The report of the c2pa library about a file. `anchors` contains the trusted certificates as PEM."""
    report: dict[str, Any] = json.loads(
        Reader(None, io.BytesIO(content), context=Context(Settings.from_dict(reading_settings(anchors)))).json()
    )
    return report


def active_manifest(content: bytes, anchors: str = "") -> dict[str, Any]:
    """The manifest that describes the file itself, as the c2pa library reads it."""
    report = read_manifests(content, anchors)
    manifest: dict[str, Any] = report["manifests"][report["active_manifest"]]
    return manifest


def assertion(manifest: Mapping[str, Any], label: str) -> Any:
    """The data of the only assertion with this label."""
    (found,) = [assertion["data"] for assertion in manifest["assertions"] if assertion["label"] == label]
    return found


def signature_problems(content: bytes, media_type: str, anchors: str) -> list[str]:
    """The problems that both C2PA readers find in a file; empty if both trust the signature and all hashes match."""
    problems = []
    try:
        report = read_manifests(content, anchors)
        if report["validation_state"] != "Trusted":
            problems.append(f"c2pa: {report['validation_state']} {report.get('validation_status')}")
    except Exception as error:  # noqa: BLE001 - the library reports a damaged manifest with several exceptions
        problems.append(f"c2pa: {error}")
    try:
        other = encypher_c2pa.verify(
            content,
            media_type,
            telemetry=False,
            online=False,
            no_default_trust=True,
            trust_pem=anchors,
            strict_conformance=True,
        )
    except ValueError as error:
        return [*problems, f"encypher-c2pa: {error}"]
    verdict = (other["present"], other["integrity"], other["signature"], other["hard_binding"])
    codes = {failure["code"] for failure in other["validation_results"]["failure"]} - _FOR_A_CONFORMANCE_PROGRAM
    if verdict != (True, "valid", "valid", "match") or codes:
        problems.append(f"encypher-c2pa: {verdict} {sorted(codes)}")
    return problems


def exiftool(files: Sequence[Path]) -> list[dict[str, Any]]:
    """The metadata of each file by `group:name`, and the result of the validation."""
    program = shutil.which("exiftool")
    if program is None:
        skip_missing("exiftool", "libimage-exiftool-perl")
    words = [program, "-json", "-struct", "-G1", "-validate", "-a", "-all", "-warning", "-error", *map(str, files)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    read: list[dict[str, Any]] = json.loads(done.stdout)
    return read


def xmp_packets(content: bytes) -> list[bytes]:
    """All XMP packets of a file. None of the writers compresses them."""
    return [_PACKET_START + part.partition(_PACKET_END)[0] + _PACKET_END for part in content.split(_PACKET_START)[1:]]


def xmllint(packets: Sequence[bytes], folder: Path) -> None:
    """Raises AssertionError if xmllint refuses one of the XMP packets."""
    program = shutil.which("xmllint")
    if program is None:
        skip_missing("xmllint", "libxml2-utils")
    files = [folder / f"{number}.xmp" for number in range(len(packets))]
    for file, packet in zip(files, packets, strict=True):
        file.write_bytes(packet)
    done = subprocess.run([program, "--noout", *map(str, files)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
