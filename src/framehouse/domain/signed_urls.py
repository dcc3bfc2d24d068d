"""Signed URLs of images and of upstream callbacks. They cannot be guessed, so they need no authentication header."""

import hmac
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

_ONE_DAY_S = 86_400


def _sign(secret: str, text: str) -> str:
    return hmac.new(secret.encode(), text.encode(), "sha256").hexdigest()[:40]


@dataclass(frozen=True, slots=True)
class Links:
    """Creates and checks signed URLs.

    `secret` is shared by all processes. `base` is the URL at which clients reach the server.
    """

    secret: str
    base: str = ""

    def with_base(self, base: str) -> "Links":
        """The same links with another base URL, for example the one that a client used."""
        return Links(self.secret, base.rstrip("/"))

    def image_url(self, key: str, expires_at: datetime | None) -> str:
        """The URL of a stored image, valid until `expires_at`. With None, it is valid until the image is deleted."""
        expires = int(expires_at.timestamp()) if expires_at else 0
        query = urlencode({"expires": expires, "signature": _sign(self.secret, f"{key}:{expires}")})
        return f"{self.base}/{key}?{query}"

    def make_upstream_callback_url(self, batch: int) -> str | None:
        """The URL at which an upstream can wake the worker of this batch; None if `base` is empty."""
        return f"{self.base}/hasten/{batch}/{_sign(self.secret, f'hasten:{batch}')}" if self.base else None

    def check_upstream_callback_signature(self, batch: str, signature: str) -> bool:
        """Whether the signature in an upstream callback URL is valid."""
        if not batch.isascii() or not batch.isdecimal() or len(batch) > 19 or not signature.isascii():
            return False
        return hmac.compare_digest(_sign(self.secret, f"hasten:{batch}"), signature)

    def check(self, key: str, expires: str, signature: str, *, now: float) -> int:
        """Seconds for which an image URL remains valid; 0 if it has expired or its signature is wrong.

        The result is one day for a URL that does not expire. The signature is compared in constant time.
        """
        if not expires.isascii() or not expires.isdecimal() or len(expires) > 12 or not signature.isascii():
            return 0
        if not hmac.compare_digest(_sign(self.secret, f"{key}:{expires}"), signature):
            return 0
        return max(0, int(expires) - int(now)) if int(expires) else _ONE_DAY_S
