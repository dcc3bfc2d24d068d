"""URLs that need no header, for they cannot be guessed: of pictures, and those by which an upstream hastens us."""

import hmac
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

_ONE_DAY_S = 86_400


def _sign(secret: str, text: str) -> str:
    return hmac.new(secret.encode(), text.encode(), "sha256").hexdigest()[:40]


@dataclass(frozen=True, slots=True)
class Links:
    """Makes and checks image URLs. `secret` is shared by all processes; `base` is where clients reach the server."""

    secret: str
    base: str = ""

    def at(self, base: str) -> "Links":
        """The same under the address that a client used."""
        return Links(self.secret, base.rstrip("/"))

    def make(self, key: str, expires_at: datetime | None) -> str:
        """The URL of a stored picture, valid until it expires; None: for as long as the picture is there."""
        expires = int(expires_at.timestamp()) if expires_at else 0
        query = urlencode({"expires": expires, "signature": _sign(self.secret, f"{key}:{expires}")})
        return f"{self.base}/{key}?{query}"

    def make_upstream_callback_signature(self, batch: int) -> str | None:
        """Where an upstream may say that something of this batch happened; None where nobody can reach us."""
        return f"{self.base}/hasten/{batch}/{_sign(self.secret, f'hasten:{batch}')}" if self.base else None

    def check_upstream_callback_signature(self, batch: str, signature: str) -> bool:
        """Whether such a URL is of our making."""
        if not batch.isascii() or not batch.isdecimal() or len(batch) > 19 or not signature.isascii():
            return False
        return hmac.compare_digest(_sign(self.secret, f"hasten:{batch}"), signature)

    def check(self, key: str, expires: str, signature: str, *, now: float) -> int:
        """Seconds that the URL is still good for; 0 for one that is expired or not of our making. In constant time."""
        if not expires.isascii() or not expires.isdecimal() or len(expires) > 12 or not signature.isascii():
            return 0
        if not hmac.compare_digest(_sign(self.secret, f"{key}:{expires}"), signature):
            return 0
        return max(0, int(expires) - int(now)) if int(expires) else _ONE_DAY_S
