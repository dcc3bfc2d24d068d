"""Accounts and their API keys."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

KEY_PREFIX = "fh_"
DEFAULT_ACCOUNT = "default"
DEFAULT_CONCURRENCY = 100


class Account(NamedTuple):
    """An account with its quota.

    `concurrency` is the maximum value of `images_in_flight`. `units_limit` is None if the account may use any number of
    units. `callback_secret_old` contains the previous callback secrets, separated by spaces. `weight` is the account's
    share of the workers: while other accounts wait, an account with the weight 2 gets twice as many images as an
    account with the weight 1.
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
    weight: float
    created_at: datetime


class Key(NamedTuple):
    """An API key without its secrets.

    If `jwt` is true, clients use the key to sign JWTs. `models` lists the models that clients may use with the key;
    None means all models.
    """

    id: int
    prefix: str
    jwt: bool
    models: list[str] | None
    created_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Caller:
    """The account and the key of a request.

    `models` lists the models that clients may use with the key; None means all models. `key_id` is None for
    Framehouse's own commands, which send no key.
    """

    account_id: int
    account_name: str
    models: tuple[str, ...] | None = None
    key_id: int | None = None

    def may_use(self, model: str) -> bool:
        return self.models is None or model in self.models
