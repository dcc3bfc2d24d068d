"""Accounts and their API keys."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

KEY_PREFIX = "fh_"
DEFAULT_ACCOUNT = "default"
DEFAULT_CONCURRENCY = 100


class Account(NamedTuple):
    """An account with its quota.

    `concurrency` limits `images_in_flight`. `units_limit` is None if the account has no limit. `callback_secret_old`
    contains the previous secrets, separated by spaces.
    """

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
    """An API key without its secrets.

    With `jwt`, clients use the key to sign their own tokens. `models` lists the models that the key may use; None means
    all models.
    """

    id: int
    prefix: str
    jwt: bool
    models: list[str] | None
    created_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Caller:
    """The account that sends a request, and the models that its key may use; None means all models.

    `key_id` is None for Framehouse's own commands, which need no key.
    """

    account_id: int
    account_name: str
    models: tuple[str, ...] | None = None
    key_id: int | None = None

    def may_use(self, model: str) -> bool:
        return self.models is None or model in self.models
