"""The address of a server, the credentials, and what the client has learned about the server."""

import base64
import hmac
import json
import os
import time
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

from framehouse_client.effects import NoResponse, Response

FRAMEHOUSE_HEADER = "x-framehouse"
"""Framehouse sends this header with each response of its API. The header means that the server recognizes repeated
requests by their `Idempotency-Key`. Kling and its resellers ignore this request header."""
_JWT_VALID_S = 1800
_JWT_RENEW_S = 300
"""A JWT is replaced this time before it expires."""


@dataclass(slots=True)
class Connection:
    """A server and the credentials for it.

    `reached` is true after the first connection. `is_framehouse` is true after a response with `FRAMEHOUSE_HEADER`.
    `retry_s` is the time in seconds for which a request is repeated after temporary errors.
    """

    base_url: str
    key: str = field(default="", repr=False)
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    retry_s: float = 120.0
    reached: bool = False
    is_framehouse: bool = False
    _token: str = field(default="", repr=False)
    _token_until: float = field(default=0.0, repr=False)

    def url(self, path: str) -> str:
        """Return the URL of a path such as `/v1/images/omni-image`."""
        return self.base_url + path

    def absolute(self, url: str) -> str:
        """Return an absolute URL. Some servers send URLs that are relative to their own address."""
        return url if url.startswith("data:") else urljoin(f"{self.base_url}/", url)

    def headers(self, now: float | None = None) -> dict[str, str]:
        """Return the header with the key. A JWT is signed again before it expires."""
        if self.key:
            return {"Authorization": f"Bearer {self.key}"}
        now = time.time() if now is None else now
        if now > self._token_until - _JWT_RENEW_S:
            self._token_until = now + _JWT_VALID_S
            self._token = sign_jwt(self.access_key, self.secret_key, now)
        return {"Authorization": f"Bearer {self._token}"}

    def learn(self, outcome: Response | NoResponse) -> None:
        """Remember what the outcome of a request shows about the server."""
        if isinstance(outcome, Response):
            self.reached = True
            self.is_framehouse = self.is_framehouse or FRAMEHOUSE_HEADER in outcome.headers
        elif outcome.sent:
            self.reached = True


def open_connection(
    url: str | None, key: str | None, access_key: str | None, secret_key: str | None, retry_s: float
) -> Connection:
    """Return a connection. FRAMEHOUSE_URL and FRAMEHOUSE_KEY replace missing arguments. Raises ValueError."""
    url = url or os.environ.get("FRAMEHOUSE_URL", "")
    if not url:
        raise ValueError("the URL of the server is missing: pass url=, or set FRAMEHOUSE_URL")
    if bool(access_key) != bool(secret_key):
        raise ValueError("access_key and secret_key must be used together")
    if key and access_key:
        raise ValueError("use key, or access_key and secret_key, not both")
    if not access_key:
        key = key or os.environ.get("FRAMEHOUSE_KEY", "")
        if not key:
            raise ValueError("the API key is missing: pass key=, or set FRAMEHOUSE_KEY")
    token = key or access_key or ""
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("the API key contains characters that are not allowed in an API key")
    return Connection(base_url(url), key or "", access_key or "", secret_key or "", retry_s)


def base_url(url: str) -> str:
    """Return the URL to which a path such as `/v1/images/omni-image` is appended. Raises ValueError.

    A URL without a path gets the path `/kling`, which Framehouse and most resellers use, unless the host belongs to
    Kling. Every other path is kept, except for a final `/v1`. `https://example.com/v1` therefore means a server whose
    paths start with `/v1`.
    """
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f'the URL of the server must look like "http://127.0.0.1:8000", not "{url}"')
    _ = parts.port  # raises ValueError if the port is not a number
    path = parts.path.rstrip("/")
    if not path and not _is_kling(parts.hostname):
        path = "/kling"
    return f"{parts.scheme}://{parts.netloc}{path.removesuffix('/v1')}"


def sign_jwt(access_key: str, secret_key: str, now: float) -> str:
    """Return a JWT (HS256) as Kling documents it: valid for half an hour, from five seconds ago."""
    claims = {"iss": access_key, "exp": int(now) + _JWT_VALID_S, "nbf": int(now) - 5}
    parts = [_encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    signature = hmac.digest(secret_key.encode(), ".".join(parts).encode(), "sha256")
    return ".".join([*parts, _encoded(signature)])


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _is_kling(host: str) -> bool:
    return any(host == domain or host.endswith(f".{domain}") for domain in ("klingai.com", "kling.ai"))
