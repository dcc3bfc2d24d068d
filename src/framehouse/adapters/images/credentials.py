"""Read and validate the content credentials (C2PA) of an image file.

The content of the files is not trusted, so only the process of `decode` calls this module. The c2pa library could fetch
URLs that a file names; its settings prevent that.
"""

import io
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from c2pa import C2paError, Context, Reader, Settings
from cryptography import x509

from framehouse.adapters.content_credentials.credential_signer import reading_settings
from framehouse.adapters.content_credentials.manifests import GENERATION
from framehouse.adapters.images.file_metadata import generation_of, text_of
from framehouse.domain.provenance import IPTC_SOURCE_TYPES
from framehouse.domain.verification import SOURCE_TYPES, ContentCredentials, Generation, SignerName, UsedFile

_MANIFEST_STORE = b"jumbc2pa"
"""A part of the header of each C2PA manifest store."""
_MAX_USED_FILES = 10
_CERTIFICATE_FAILURES = frozenset(
    ("signingCredential.untrusted", "signingCredential.expired", "claimSignature.outsideValidity")
)
"""The failures that concern the certificate, and do not mean that the file was changed."""
_DAMAGED = ContentCredentials(None, authentic=False, intact=False, signed_here=False)


def read_credentials(content: bytes, anchors: bytes) -> ContentCredentials | None:
    """Read the credentials of a PNG, JPEG, WebP, AVIF or HEIC file. Returns None if the file has none.

    `anchors` contains the certificates of this deployment as PEM: the authorities, and the certificates with which it
    signs or has signed. If `anchors` contains only authorities, all their certificates belong to this deployment.
    """
    try:
        reader = Reader.try_create(None, io.BytesIO(content), context=_context(anchors))
        store = json.loads(reader.json()) if reader else None
    except (C2paError, ValueError, RecursionError):
        return _DAMAGED if _has_manifest(content) else None
    try:
        return None if store is None else _credentials(store, anchors)
    except (KeyError, TypeError, AttributeError):
        return _DAMAGED


@cache
def _context(anchors: bytes) -> Context:
    return Context(Settings.from_dict(reading_settings(anchors.decode())))


@cache
def _own_serial_numbers(anchors: bytes) -> frozenset[str]:
    """Return the serial numbers of the certificates in `anchors` that are not authorities."""
    return frozenset(
        str(certificate.serial_number)
        for certificate in (x509.load_pem_x509_certificates(anchors) if anchors else ())
        if not _is_authority(certificate)
    )


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _has_manifest(content: bytes) -> bool:
    return _MANIFEST_STORE in content or b"jumdc2pa" in content


def _credentials(store: Mapping[str, Any], anchors: bytes) -> ContentCredentials:
    manifest = store["manifests"][store["active_manifest"]]
    results = store["validation_results"]["activeManifest"]
    valid = {entry["code"] for entry in results["success"]}
    failures = {(entry["code"], str(entry.get("url", ""))) for entry in results["failure"]}
    codes = {code for code, _ in failures}
    authentic = "claimSignature.validated" in valid and not codes & {
        "claimSignature.mismatch",
        "claimSignature.missing",
    }
    trusted = authentic and "signingCredential.trusted" in valid
    signature = manifest.get("signature_info") or {}
    own = _own_serial_numbers(anchors)
    changed = {url.rpartition("/")[2] for code, url in failures if code.startswith("assertion.hashedURI")}
    assertions = {entry["label"]: entry["data"] for entry in manifest["assertions"] if entry["label"] not in changed}
    generation, source_type = _generation(assertions, str(signature.get("time") or ""))
    return ContentCredentials(
        signer=SignerName(text_of(signature.get("common_name")), text_of(signature.get("issuer")), trusted),
        authentic=authentic,
        intact=authentic and not codes - _CERTIFICATE_FAILURES,
        signed_here=trusted and (not own or str(signature.get("cert_serial_number")) in own),
        generation=generation,
        source_type=source_type,  # type: ignore[arg-type]
        used_files=tuple(_used_file(entry) for entry in manifest.get("ingredients", [])[:_MAX_USED_FILES]),
    )


def _generation(assertions: Mapping[str, Any], signed_at: str) -> tuple[Generation, str]:
    """Return how an image was generated, and its source type. Assertions whose content was changed are not used."""
    lists = (data.get("actions") for name, data in assertions.items() if name.startswith("c2pa.actions"))
    actions: list[Any] = next(filter(None, lists), [])
    first = actions[0] if actions and isinstance(actions[0], dict) else {}
    agent = first.get("softwareAgent")
    stated = generation_of(dict(assertions.get(GENERATION, {})), task="task_id")
    source_type = str(first.get("digitalSourceType", "")).removeprefix(IPTC_SOURCE_TYPES)
    return (
        Generation(
            task_id=stated.task_id,
            index=stated.index,
            model=stated.model or text_of(agent.get("name") if isinstance(agent, dict) else agent),
            engine=stated.engine,
            created_at=text_of(first.get("when")) or text_of(signed_at),
        ),
        source_type if source_type in SOURCE_TYPES else "",
    )


def _used_file(ingredient: Mapping[str, Any]) -> UsedFile:
    results = (ingredient.get("validation_results") or {}).get("activeManifest")
    altered = None
    if ingredient.get("active_manifest") and isinstance(results, dict):
        altered = any(entry["code"] not in _CERTIFICATE_FAILURES for entry in results.get("failure", []))
    return UsedFile(text_of(ingredient.get("title")), text_of(ingredient.get("relationship")), altered)
