"""Result URLs: no header needed, unguessable, and the same at every poll."""

import time
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.requests import Request

from framehouse.domain.task import Task
from framehouse.entrypoints.auth import sign, signed


@dataclass(frozen=True, slots=True)
class Links:
    """Makes and checks image URLs. Without a `public_url` they name the host that the client asked."""

    secret: str
    public_url: str = ""

    def base(self, request: Request) -> str:
        return self.public_url.rstrip("/") or str(request.base_url).rstrip("/")

    def make(self, base: str, key: str, task: Task) -> str:
        """The URL of a stored picture, valid until the task's pictures expire."""
        expires = int(task.expires_at.timestamp()) if task.expires_at else 0
        query = urlencode({"expires": expires, "signature": sign(self.secret, f"{key}:{expires}")})
        return f"{base}/{key}?{query}"

    def check(self, key: str, expires: str, signature: str) -> int:
        """Seconds that the URL stays valid; 0 for one that is expired or not of our making."""
        if not expires.isascii() or not expires.isdecimal() or len(expires) > 12:
            return 0
        if not signed(self.secret, f"{key}:{expires}", signature):
            return 0
        return max(0, int(expires) - int(time.time()))
