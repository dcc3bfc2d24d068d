"""The accounts that pay for orders, and their limits on images in flight."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress

from framehouse.domain.errors import Unavailable
from framehouse.engines.cooldown import Cooldown
from framehouse.engines.option_checks import BadOption, check_integer

DEFAULT_CONCURRENCY = 9
_TOKEN_LIFETIME_S, _CLOCK_SKEW_S = 1800, 5
_LIMIT_RAISE_S = 60.0
_OPERATOR_COOLDOWN_S = 300.0


class UpstreamAccount:
    """One account at an upstream. `name` appears in logs and in saved orders, and contains no secret."""

    def __init__(
        self, *, name: str, concurrency: int, orders_per_minute: int, api_key: str, access_key: str, secret_key: str
    ) -> None:
        self.name = name
        self.concurrency = concurrency
        self.orders_per_minute = orders_per_minute
        self._api_key, self._access_key, self._secret_key = api_key, access_key, secret_key
        self.in_flight = 0
        self.cooldown = Cooldown()
        self.limit_cooldown = Cooldown()
        self.shared_cooldown = Cooldown(first_s=0.5, longest_s=2.0)
        """The pause after the orders of all workers together have reached a limit of the account."""
        self._learned_limit = concurrency
        self._learned_at = 0.0

    def authorization(self) -> str:
        """Return the value of the Authorization header for a request that is sent now."""
        if self._api_key:
            return f"Bearer {self._api_key}"
        import jwt

        now = int(time.time())
        claims = {"iss": self._access_key, "exp": now + _TOKEN_LIFETIME_S, "nbf": now - _CLOCK_SKEW_S}
        return f"Bearer {jwt.encode(claims, self._secret_key, algorithm='HS256')}"

    @property
    def limit(self) -> int:
        """The estimated number of images that the account may have in flight.

        The estimate decreases when the upstream refuses an order because too many images are in flight. Afterwards, the
        estimate increases by one image per minute, up to `concurrency`.
        """
        raised_by = int((time.monotonic() - self._learned_at) / _LIMIT_RAISE_S)
        return min(self.concurrency, self._learned_limit + raised_by)

    def reach_concurrency_limit(self, others: int) -> None:
        """Record that the upstream refused an order because too many images are in flight.

        The new limit is `others`, the number of the account's other images in flight. If there are no other images, the
        limit does not change.
        """
        if others > 0:
            self._learned_limit, self._learned_at = others, time.monotonic()
        self.limit_cooldown.start("reports that the account is at its limit")

    @property
    def pause_s(self) -> float:
        """The number of seconds until no cooldown of the account is left."""
        return max(c.remaining_s for c in (self.cooldown, self.limit_cooldown, self.shared_cooldown))

    def reach_rate_limit(self) -> None:
        """Record that the upstream refused an order because the account sends too many requests per second."""
        self.limit_cooldown.start("reports too many requests")

    def end_cooldowns(self) -> None:
        """End the cooldowns of the account, because the upstream has accepted an order."""
        self.cooldown.end()
        self.limit_cooldown.end()

    def start_cooldown(self, reason: str, *, needs_operator: bool = False) -> None:
        """Stop using the account for a while, or for at least five minutes if only an operator can fix the problem."""
        self.cooldown.start(reason, at_least_s=_OPERATOR_COOLDOWN_S if needs_operator else 0.0)

    def has_free_slots(self, images: int) -> bool:
        """Return whether an order of `images` images may be sent now.

        During a cooldown, no order may be sent. At other times, an order of any size may be sent if no images are in
        flight. If images are in flight, the order must fit within the limit.
        """
        return (
            not self.cooldown.remaining_s
            and not self.limit_cooldown.remaining_s
            and not self.shared_cooldown.remaining_s
            and self.in_flight + images <= max(self.limit, images)
        )


class UpstreamAccounts:
    """The accounts of a route. Use an object of this class from one event loop only."""

    def __init__(self, settings: Sequence[Mapping[str, object]]) -> None:
        self.all = [_read_account(index, settings[index]) for index in range(len(settings))]
        if not self.all:
            raise BadOption("accounts must contain an account with api_key, or with access_key and secret_key")
        names = [account.name for account in self.all]
        if len(set(names)) < len(names):
            raise BadOption("two accounts have the same key or name")
        self._queue = asyncio.Lock()
        self._slots_released = asyncio.Event()

    @property
    def max_concurrency(self) -> int:
        """The largest `concurrency` of all accounts, as a number of images."""
        return max(account.concurrency for account in self.all)

    def find(self, name: str) -> UpstreamAccount | None:
        return next((account for account in self.all if account.name == name), None)

    @asynccontextmanager
    async def acquire(self, images: int, *, timeout_s: float, only: str = "") -> AsyncIterator[UpstreamAccount]:
        """Reserve `images` slots on one account for the duration of the `async with` block.

        The method chooses an account with enough free slots. If there are several such accounts, it chooses the account
        that would then use the smallest fraction of its limit. If no account has enough free slots, the call waits.
        If `only` is set, only the account with this name is used.
        Raises Unavailable if all accounts are in a cooldown that is not caused by a limit, or if no account has enough
        free slots within `timeout_s`.
        """
        end = time.monotonic() + timeout_s
        accounts = [account for account in self.all if only in ("", account.name)]
        async with self._queue:  # calls are served in order, so that small orders cannot starve a large order
            while not (free := [account for account in accounts if account.has_free_slots(images)]):
                if all(account.cooldown.remaining_s for account in accounts):
                    raise Unavailable(
                        "; ".join(
                            f"account {account.name}: the upstream {account.cooldown.reason}" for account in accounts
                        )
                    )
                if time.monotonic() >= end:
                    raise Unavailable("all accounts are at their limit")
                waits = [wait_s for account in accounts if (wait_s := account.pause_s)]
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.01, min([*waits, end - time.monotonic()]))):
                        await self._slots_released.wait()
                self._slots_released.clear()
            account = min(free, key=lambda account: (account.in_flight + images) / account.limit)
            account.in_flight += images
        try:
            yield account
        finally:
            self._release(account, images)

    @contextmanager
    def count_in_flight(self, account: UpstreamAccount, images: int) -> Iterator[None]:
        """Count an order of `images` images as in flight, even beyond the limit of the account.

        The limit does not apply, because the upstream may already be generating these images.
        """
        account.in_flight += images
        try:
            yield
        finally:
            self._release(account, images)

    def _release(self, account: UpstreamAccount, images: int) -> None:
        account.in_flight -= images
        self._slots_released.set()


def _read_account(index: int, settings: Mapping[str, object]) -> UpstreamAccount:
    where = f"accounts[{index}]"
    if not isinstance(settings, Mapping):
        raise BadOption(f"{where} must be a table")
    known = {"name", "concurrency", "orders_per_minute", "api_key", "access_key", "secret_key"}
    if unknown := set(settings) - known:
        raise BadOption(f"{where} has no option {sorted(unknown)[0]}; its options are {', '.join(sorted(known))}")
    values = {key: settings.get(key, "") for key in ("name", "api_key", "access_key", "secret_key")}
    texts = {key: value for key, value in values.items() if isinstance(value, str)}
    if len(texts) < len(values) or not all(value.isascii() and value.isprintable() for value in texts.values()):
        raise BadOption(f"{where}: keys and name must be ASCII text")
    concurrency = settings.get("concurrency", DEFAULT_CONCURRENCY)
    if not isinstance(concurrency, int) or isinstance(concurrency, bool) or not 1 <= concurrency <= 100_000:
        raise BadOption(f"{where}.concurrency must be a number of images from 1 to 100,000")
    per_minute = check_integer(f"{where}.orders_per_minute", settings.get("orders_per_minute", 0), 0, 100_000)
    pair = bool(texts["access_key"]) + bool(texts["secret_key"])
    if pair == 1 or bool(texts["api_key"]) == (pair == 2):
        raise BadOption(f"{where} needs either api_key, or access_key and secret_key")
    secret = texts["api_key"] or texts["access_key"]
    texts["name"] = texts["name"] or f"#{hashlib.sha256(secret.encode()).hexdigest()[:8]}"
    return UpstreamAccount(concurrency=concurrency, orders_per_minute=per_minute, **texts)
