"""The account that pays for the requests of a route: its cooldown, and its limit on concurrent requests."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from framehouse.domain.errors import Unavailable
from framehouse.engines.cooldown import Cooldown
from framehouse.engines.http_exchange import NotAccepted, OutcomeUnknown
from framehouse.engines.interface import HealthCheck

log = logging.getLogger(__name__)


class PaidAccount:
    """One account at a service. Use an object of this class from one event loop only.

    `service` is the name of the service, with which all messages begin.
    """

    def __init__(self, service: str, *, concurrency: int) -> None:
        self.service = service
        self.cooldown = Cooldown()
        self._fixed = False
        self._slots = asyncio.Semaphore(concurrency)

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[None]:
        """Occupy one slot for the duration of the `async with` block. Waits if all slots are occupied.

        Raises Unavailable during a cooldown.
        """
        self._check_cooldown()
        async with self._slots:
            self._check_cooldown()  # the cooldown may have started while this call waited for its slot
            yield

    def _check_cooldown(self) -> None:
        if self.cooldown.remaining_s:
            raise Unavailable(f"{self.service} {self.cooldown.reason}")

    def start_cooldown(self, error: NotAccepted | OutcomeUnknown) -> None:
        """Stop using the account for a while. A cooldown with a minimum length does not end early."""
        at_least_s = error.cooldown_s if isinstance(error, NotAccepted) else 0.0
        if not self.cooldown.remaining_s:
            log.warning("cooldown started: %s %s", self.service, error.reason)
            self._fixed = False
        self._fixed = self._fixed or at_least_s > 0
        self.cooldown.start(error.reason, at_least_s=at_least_s)

    def end_cooldown(self) -> None:
        """End the cooldown, unless it has a minimum length and is still running."""
        if not (self._fixed and self.cooldown.remaining_s):
            self.cooldown.end()

    def health(self, subject: str, error: NotAccepted | OutcomeUnknown | None, *, healthy: str) -> HealthCheck:
        """Return the result of a health check whose request raised `error`, or succeeded if `error` is None.

        `healthy` is the reason of a successful check. A failed check starts a cooldown, and a successful check ends it.
        """
        if error is not None:
            self.start_cooldown(error)
            advice = "Check the options of the route, the network and the account."
            return HealthCheck(subject, ok=False, reason=f"{self.service} {error.reason}", advice=advice)
        self.end_cooldown()
        if remaining_s := self.cooldown.remaining_s:
            reason = f"{self.service} {self.cooldown.reason}; it will not be used for the next {remaining_s:.0f} s"
            return HealthCheck(subject, ok=False, reason=reason, advice="Wait, or check the account.")
        return HealthCheck(subject, ok=True, reason=healthy)
