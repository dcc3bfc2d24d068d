"""Create the certificates with which images are signed if the operator has configured none."""

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_VALIDITY = timedelta(days=3650)
"""Without a time stamp, the signature of an image counts as expired when its certificate has expired."""
_CLOCK_TOLERANCE = timedelta(hours=1)
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


@dataclass(frozen=True, slots=True, repr=False)
class SigningIdentity:
    """A certificate and its private key.

    `chain` contains the certificate, and then the certificates of its issuers, as PEM. `key` is the private key as PEM
    (PKCS#8).
    """

    chain: str
    key: str

    @property
    def serial_number(self) -> int:
        """The serial number of the certificate."""
        return x509.load_pem_x509_certificate(self.chain.encode()).serial_number

    @property
    def expires_at(self) -> datetime:
        """The time at which the certificate expires."""
        return x509.load_pem_x509_certificate(self.chain.encode()).not_valid_after_utc

    @property
    def algorithm(self) -> str:
        """The name of the signature algorithm in C2PA that fits the key, such as `es256`."""
        return _algorithm(serialization.load_pem_private_key(self.key.encode(), password=None))


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """The names of a certificate's owner and issuer, and the time at which it expires."""

    subject: str
    issuer: str
    expires_at: datetime


def read_certificate(chain: str) -> CertificateFacts:
    """Return the facts about the first certificate of the chain, which is PEM text."""
    certificate = x509.load_pem_x509_certificate(chain.encode())
    subject, issuer = (name.rfc4514_string() for name in (certificate.subject, certificate.issuer))
    return CertificateFacts(subject, issuer, certificate.not_valid_after_utc)


def create_identity() -> SigningIdentity:
    """Create a certificate authority, and a certificate of this authority. The key of the authority is discarded."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = _name("Framehouse self-signed authority")
    authority = (
        _builder(authority_name, authority_name, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    certificate = (
        _builder(_name("Framehouse"), authority_name, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    chain = b"".join(c.public_bytes(serialization.Encoding.PEM) for c in (certificate, authority))
    private_key = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return SigningIdentity(chain.decode(), private_key.decode())


def read_identity(chain: bytes, key: bytes) -> SigningIdentity:
    """Return the identity of a configured certificate. The key may have any PEM format without a password.

    Raises ValueError if a file is invalid, if the key belongs to another certificate or has an unknown type, if the
    certificates are in the wrong order, or if the certificate has expired. The message does not contain the key.
    """
    try:
        certificates = x509.load_pem_x509_certificates(chain)
    except ValueError:
        raise ValueError("the certificate is not a certificate in PEM format") from None
    try:
        private_key = serialization.load_pem_private_key(key, password=None)
    except TypeError:
        raise ValueError("the key is encrypted; a key without a password is needed") from None
    except ValueError:
        raise ValueError("the key is not a private key in PEM format") from None
    certificate = certificates[0]
    if private_key.public_key() != certificate.public_key():
        raise ValueError("the key belongs to another certificate; the first certificate of the file must match")
    if not certificate.not_valid_before_utc <= datetime.now(UTC) <= certificate.not_valid_after_utc:
        raise ValueError(
            f"the certificate is only valid from {certificate.not_valid_before_utc:%Y-%m-%d} "
            f"to {certificate.not_valid_after_utc:%Y-%m-%d}"
        )
    for issued, issuer in itertools.pairwise(certificates):
        if issued.issuer != issuer.subject:
            raise ValueError("the certificates are in the wrong order; each certificate must precede its issuer")
    _algorithm(private_key)
    pem = private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return SigningIdentity(chain.decode(), pem.decode())


def _algorithm(key: object) -> str:
    """Return the name of the signature algorithm in C2PA. Raises ValueError if C2PA has no algorithm for the key."""
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    raise ValueError("the type of the key is not allowed in C2PA; use P-256, P-384, P-521, Ed25519 or RSA")


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Framehouse, self-signed"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    start = datetime.now(UTC) - _CLOCK_TOLERANCE
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + _VALIDITY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
