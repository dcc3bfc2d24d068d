"""Image files with content credentials, signed with certificates that only exist in the test."""

import datetime
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from c2pa import Builder, C2paSignerInfo, Context, Settings, Signer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from numpy.typing import NDArray
from PIL import Image

from framehouse.adapters.images.encode import MEDIA_TYPES, encode
from framehouse.adapters.images.image_metadata import describe
from framehouse.domain.provenance import IPTC_SOURCE_TYPES
from framehouse.domain.task import OutputFormat
from tests.support.image_files import png_chunk

_USAGES = (
    "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign crl_sign "
    "encipher_only decipher_only"
).split()
FACTS = {"model": "kling-v3-omni", "engine": "previz", "task": "019a0000-0000-7000-8000-000000000001", "index": 0}


@dataclass(frozen=True)
class Identity:
    """A certificate with its authority, as PEM, and the private key of the certificate."""

    authority: bytes
    certificate: bytes
    key: bytes


@cache
def identity(organization: str = "Framehouse self-signed", name: str = "Framehouse") -> Identity:
    """The same arguments return the same identity."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = _name(organization, f"{name} authority")
    authority = (
        _builder(authority_name, authority_name, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    certificate = (
        _builder(_name(organization, name), authority_name, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    private_key = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Identity(_pem(authority), _pem(certificate), private_key)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _name(organization: str, name: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=10))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*allowed: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in allowed for usage in _USAGES})


def pixels(seed: int = 0, width: int = 400, height: int = 320) -> NDArray[np.uint8]:
    """A smooth image that depends on the seed. Images of different seeds look different."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def unsigned(seed: int = 0, format: OutputFormat = "png", facts: dict[str, Any] | None = None) -> bytes:
    """An image file with the XMP metadata of a generated image."""
    metadata = describe(FACTS if facts is None else facts, software="Framehouse test", source_type="algorithmicMedia")
    return encode(pixels(seed), format, metadata).content


def with_text(png: bytes) -> bytes:
    """The PNG file with a text that was added to it. The pixels are the same."""
    end = png.rindex(b"IEND") - 4
    return png[:end] + png_chunk(b"tEXt", b"Comment\0changed") + png[end:]


def signed(
    content: bytes,
    signer: Identity | None = None,
    *,
    format: OutputFormat = "png",
    generation: dict[str, Any] | None = None,
    used: Sequence[tuple[bytes, str]] = (),
) -> bytes:
    """The file with content credentials. `used` contains files from which the image was made, and their titles."""
    signer = signer or identity()
    context = Context(
        Settings.from_dict(
            {"builder": {"thumbnail": {"enabled": False}}, "trust": {"user_anchors": signer.authority.decode()}}
        ),
        Signer.from_info(C2paSignerInfo(b"es256", signer.certificate + signer.authority, signer.key, None)),
    )
    labels = [f"input {number}" for number in range(len(used))]
    created: dict[str, Any] = {
        "action": "c2pa.created",
        "digitalSourceType": IPTC_SOURCE_TYPES + "algorithmicMedia",
        "softwareAgent": {"name": "previz"},
    }
    if labels:
        created["parameters"] = {"ingredientIds": labels}
    stated = generation or {
        "task_id": FACTS["task"],
        "index": FACTS["index"],
        "model": FACTS["model"],
        "engine": FACTS["engine"],
        "prompt_sha256": "ab" * 32,
    }
    builder = Builder(
        {
            "claim_generator_info": [{"name": "Framehouse", "version": "test"}],
            "assertions": [
                {"label": "c2pa.actions.v2", "created": True, "data": {"actions": [created]}},
                {"label": "org.framehouse.generation", "created": True, "data": stated},
            ],
        },
        context,
    )
    for label, (file, title) in zip(labels, used, strict=True):
        ingredient = json.dumps({"title": title, "relationship": "inputTo", "label": label})
        builder.add_ingredient(ingredient, "image/png", io.BytesIO(file))
    out = io.BytesIO()
    builder.sign(MEDIA_TYPES[format], io.BytesIO(content), out)
    return out.getvalue()
