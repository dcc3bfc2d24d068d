"""Certificates and keys for signing images, which are valid or have one fault."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

Key = ec.EllipticCurvePrivateKey


def pem(key: Key, password: bytes = b"") -> bytes:
    """The key as PKCS#8."""
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def issue(
    *,
    purposes: Sequence[ObjectIdentifier] = (ExtendedKeyUsageOID.EMAIL_PROTECTION,),
    valid_days: float = 90,
    curve: ec.EllipticCurve | None = None,
) -> tuple[list[bytes], Key]:
    """A certificate of "Example Authority" and its issuer, both as PEM, and the key of the certificate.

    The certificate is valid from yesterday, or from 100 days before its end if it has expired.
    """
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(curve or ec.SECP256R1())
    end = datetime.now(UTC) + timedelta(days=valid_days)
    start = min(datetime.now(UTC) - timedelta(days=1), end - timedelta(days=100))
    names = [
        x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name), x509.NameAttribute(NameOID.COMMON_NAME, name)])
        for name in ("Example Studio", "Example Authority")
    ]
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    certificates = []
    for subject, public_key, is_authority in (
        (names[0], key.public_key(), False),
        (names[1], authority_key.public_key(), True),
    ):
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
        )
        builder = (
            x509.CertificateBuilder(names[1], subject, public_key, x509.random_serial_number(), start, end)
            .add_extension(x509.BasicConstraints(is_authority, 0 if is_authority else None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=not is_authority,
                    key_cert_sign=is_authority,
                    crl_sign=is_authority,
                    decipher_only=False,
                    **usage,
                ),
                critical=True,
            )
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        )
        if is_authority:
            builder = builder.add_extension(identifier, critical=False)
        else:
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        certificates.append(builder.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return certificates, key


def write(folder: Path, chain: bytes, key: bytes) -> dict[str, str]:
    """Write both files. Returns the environment variables of the settings that name them."""
    (folder / "chain.pem").write_bytes(chain)
    (folder / "key.pem").write_bytes(key)
    return {
        "FRAMEHOUSE_SIGNING_CERTIFICATE": str(folder / "chain.pem"),
        "FRAMEHOUSE_SIGNING_KEY": str(folder / "key.pem"),
    }
