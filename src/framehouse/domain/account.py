"""Accounts and the keys that open them."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

KEY_PREFIX = "fh_"
DEFAULT_ACCOUNT = "default"
DEFAULT_CONCURRENCY = 100


class Account(NamedTuple):
    """An account with its quota. No units limit: None. `callback_secret_old` holds earlier secrets, between spaces."""

    id: int
    name: str
    disabled: bool
    concurrency: int
    images_in_flight: int
    units_limit: int | None
    units_reserved: int
    units_used: int
    callback_secret: str
    callback_secret_old: str | None
    created_at: datetime


class Key(NamedTuple):
    """An API key without its secrets. `jwt`: the client signs its tokens itself. `models` None: all."""

    id: int
    prefix: str
    jwt: bool
    models: list[str] | None
    created_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking: the account behind a key, and the models that key may use (None: all). `key_id` is None for our
    own commands, which need no key."""

    account_id: int
    account_name: str
    models: tuple[str, ...] | None = None
    key_id: int | None = None

    def may_use(self, model: str) -> bool:
        return self.models is None or model in self.models
