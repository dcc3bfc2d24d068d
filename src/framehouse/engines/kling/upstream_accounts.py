"""Who pays for an order: bought accounts, each with so many pictures at once, and what its refusals teach."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress

from framehouse.domain.errors import Unavailable
from framehouse.engines.cooldown import Cooldown
from framehouse.engines.option_checks import BadOption

DEFAULT_CONCURRENCY = 9
_TOKEN_S, _EARLY_S = 1800, 5
_RELEARN_S = 60.0
_LONG_REST_S = 300.0


class Account:
    """One account of an upstream. `name` is told and written down; it holds no secret."""

    def __init__(self, *, name: str, concurrency: int, api_key: str, access_key: str, secret_key: str) -> None:
        self.name = name
        self.concurrency = concurrency
        self._api_key, self._access_key, self._secret_key = api_key, access_key, secret_key
        self.in_flight = 0
        self.cooldown = Cooldown()
        self.full = Cooldown()
        self._learned = concurrency
        self._learned_at = 0.0

    def authorization(self) -> str:
        """The header for a request that is sent now."""
        if self._api_key:
            return f"Bearer {self._api_key}"
        import jwt

        now = int(time.time())
        claims = {"iss": self._access_key, "exp": now + _TOKEN_S, "nbf": now - _EARLY_S}
        return f"Bearer {jwt.encode(claims, self._secret_key, algorithm='HS256')}"

    @property
    def limit(self) -> int:
        """How many pictures it takes at once, as far as is known. What a refusal taught is forgotten bit by bit."""
        forgotten = int((time.monotonic() - self._learned_at) / _RELEARN_S)
        return min(self.concurrency, self._learned + forgotten)

    def refused(self, images: int) -> None:
        """It said that this was too much at once: it takes no more than what is in flight beside it, for now."""
        beside = self.in_flight - images
        if beside > 0:
            self._learned, self._learned_at = beside, time.monotonic()
        self.full.start("is at its limit")

    def took(self) -> None:
        """It took an order."""
        self.cooldown.end()
        self.full.end()

    def unfit(self, why: str, *, long: bool = False) -> None:
        """It cannot be used for a while; `long` where only a person can mend it."""
        self.cooldown.start(why, at_least_s=_LONG_REST_S if long else 0.0)

    def has_room(self, images: int) -> bool:
        """Whether so many more pictures may be asked of it now. One that is idle may always be asked."""
        return (
            not self.cooldown.remaining_s
            and not self.full.remaining_s
            and self.in_flight + images <= max(self.limit, images)
        )


class Accounts:
    """The accounts of a route, of which the least loaded one is taken. One event loop's."""

    def __init__(self, settings: Sequence[Mapping[str, object]]) -> None:
        self.all = [_read(index, settings[index]) for index in range(len(settings))]
        if not self.all:
            raise BadOption("accounts is empty; name at least one, with api_key or with access_key and secret_key")
        names = [account.name for account in self.all]
        if len(set(names)) < len(names):
            raise BadOption("two accounts have the same key or name")
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    @property
    def most(self) -> int:
        """How many pictures the largest account takes at once."""
        return max(account.concurrency for account in self.all)

    def find(self, name: str) -> Account | None:
        return next((account for account in self.all if account.name == name), None)

    @asynccontextmanager
    async def take(self, images: int, *, patience_s: float) -> AsyncIterator[Account]:
        """The account with the smallest share in use that has room, held with its slots. Waits where all are merely
        full; raises Unavailable where none can be used, or none had room in time."""
        end = time.monotonic() + patience_s
        async with self._turn:  # first come, first served: many small orders must not starve a large one
            while not (free := [account for account in self.all if account.has_room(images)]):
                if all(account.cooldown.remaining_s for account in self.all):
                    raise Unavailable(
                        "; ".join(f"account {account.name} {account.cooldown.reason}" for account in self.all)
                    )
                if time.monotonic() >= end:
                    raise Unavailable("all accounts are at their limit")
                waits = [
                    left
                    for account in self.all
                    if (left := max(account.cooldown.remaining_s, account.full.remaining_s))
                ]
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.01, min([*waits, end - time.monotonic()]))):
                        await self._freed.wait()
                self._freed.clear()
            account = min(free, key=lambda account: (account.in_flight + images) / account.limit)
            account.in_flight += images
        try:
            yield account
        finally:
            self._give_back(account, images)

    @contextmanager
    def hold(self, account: Account, images: int) -> Iterator[None]:
        """Count these pictures as in flight, also where there is no room: they are under way already."""
        account.in_flight += images
        try:
            yield
        finally:
            self._give_back(account, images)

    def _give_back(self, account: Account, images: int) -> None:
        account.in_flight -= images
        self._freed.set()


def _read(index: int, settings: Mapping[str, object]) -> Account:
    where = f"accounts[{index}]"
    if not isinstance(settings, Mapping):
        raise BadOption(f"{where} must be a table")
    known = {"name", "concurrency", "api_key", "access_key", "secret_key"}
    if unknown := set(settings) - known:
        raise BadOption(f"{where} has no option {sorted(unknown)[0]}; there are {', '.join(sorted(known))}")
    words = {key: settings.get(key, "") for key in ("name", "api_key", "access_key", "secret_key")}
    texts = {key: value for key, value in words.items() if isinstance(value, str)}
    if len(texts) < len(words) or not all(value.isascii() and value.isprintable() for value in texts.values()):
        raise BadOption(f"{where}: keys and name must be ASCII text")
    concurrency = settings.get("concurrency", DEFAULT_CONCURRENCY)
    if not isinstance(concurrency, int) or isinstance(concurrency, bool) or not 1 <= concurrency <= 100_000:
        raise BadOption(f"{where}.concurrency must be a number of pictures, 1 or more")
    pair = bool(texts["access_key"]) + bool(texts["secret_key"])
    if pair == 1 or bool(texts["api_key"]) == (pair == 2):
        raise BadOption(f"{where} needs either api_key, or access_key and secret_key")
    secret = texts["api_key"] or texts["access_key"]
    texts["name"] = texts["name"] or f"#{hashlib.sha256(secret.encode()).hexdigest()[:8]}"
    return Account(concurrency=concurrency, **texts)
