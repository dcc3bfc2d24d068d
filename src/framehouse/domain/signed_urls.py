"""Signed URLs for images and upstream callbacks.

Requests to a signed URL need no API key, because the signature cannot be guessed.
"""

import hmac
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

_ONE_DAY_S = 86_400


def _sign(secret: str, text: str) -> str:
    return hmac.new(secret.encode(), text.encode(), "sha256").hexdigest()[:40]


@dataclass(frozen=True, slots=True)
class Links:
    """A factory that creates signed URLs and checks their signatures.

    All processes share the same `secret`. `base` is the URL at which clients reach the server.
    """

    secret: str
    base: str = ""

    def with_base(self, base: str) -> "Links":
        """Return a copy of this factory with another base URL, for example the base URL that a client used."""
        return Links(self.secret, base.rstrip("/"))

    def image_url(self, key: str, expires_at: datetime | None) -> str:
        """Return the URL of a stored image. If `expires_at` is None, the URL is valid until the image is deleted."""
        expires = int(expires_at.timestamp()) if expires_at else 0
        query = urlencode({"expires": expires, "signature": _sign(self.secret, f"{key}:{expires}")})
        return f"{self.base}/{key}?{query}"

    def make_upstream_callback_url(self, batch: int) -> str | None:
        """Return the URL that an upstream calls to wake the worker of this batch. Returns None if `base` is empty."""
        return f"{self.base}/hasten/{batch}/{_sign(self.secret, f'hasten:{batch}')}" if self.base else None

    def check_upstream_callback_signature(self, batch: str, signature: str) -> bool:
        """Return whether the signature in an upstream callback URL is valid."""
        if not batch.isascii() or not batch.isdecimal() or len(batch) > 19 or not signature.isascii():
            return False
        return hmac.compare_digest(_sign(self.secret, f"hasten:{batch}"), signature)

    def check(self, key: str, expires: str, signature: str, *, now: float) -> int:
        """Return the remaining lifetime of an image URL, in seconds.

        Returns 0 if the URL has expired or its signature is wrong. Returns one day if the URL does not expire. The
        signature is compared in constant time.
        """
        if not expires.isascii() or not expires.isdecimal() or len(expires) > 12 or not signature.isascii():
            return 0
        if not hmac.compare_digest(_sign(self.secret, f"{key}:{expires}"), signature):
            return 0
        return max(0, int(expires) - int(now)) if int(expires) else _ONE_DAY_S
