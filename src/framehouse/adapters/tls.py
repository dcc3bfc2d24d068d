"""The certificate authorities that Framehouse trusts when it connects to other servers.

The authorities are those of the package certifi, or those in the files that the environment variables `SSL_CERT_FILE`
and `SSL_CERT_DIR` name, as in OpenSSL. The setting `ca_certificates` adds authorities.
"""

import ssl
from functools import cache
from pathlib import Path

from framehouse.domain.fetch_problems import BAD_CERTIFICATE

_EXPIRED = 10
_HOST_NAME_MISMATCH, _ADDRESS_MISMATCH = 62, 64
_UNKNOWN_AUTHORITY = (2, 18, 19, 20, 21)
"""The error numbers of OpenSSL for certificates without a chain to a trusted authority."""


@cache
def tls_context() -> ssl.SSLContext:
    """Return the TLS context. The context is created once, because loading the certificates takes longer than a
    request."""
    import httpx

    return httpx.create_ssl_context(trust_env=True)


def trust_certificates(path: Path) -> None:
    """Trust the authorities in a PEM file, in addition to the other authorities.

    Raises OSError if the file cannot be read, or ValueError if it contains no certificate.
    """
    try:
        tls_context().load_verify_locations(cafile=path)
    except ssl.SSLError as error:
        raise ValueError("the file contains no certificate in PEM format") from error


def certificate_problem(error: BaseException, host: str) -> str | None:
    """Return the end of a sentence that describes the problem with a server's certificate.

    Returns None if neither `error` nor one of its causes is an error of a certificate.
    """
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, ssl.SSLCertVerificationError):
        seen = seen.__cause__ or seen.__context__
    if seen is None:
        return None
    match seen.verify_code:
        case code if code == _EXPIRED:
            return f"{BAD_CERTIFICATE} that has expired"
        case code if code in (_HOST_NAME_MISMATCH, _ADDRESS_MISMATCH):
            return f"{BAD_CERTIFICATE} that is not valid for {host}"
        case code if code in _UNKNOWN_AUTHORITY:
            return f"{BAD_CERTIFICATE} that was not issued by a trusted certificate authority"
    return f"{BAD_CERTIFICATE} that is not valid: {seen.verify_message}"
