"""Accounts and the keys that open them."""

from dataclasses import dataclass

KEY_PREFIX = "fh_"
DEFAULT_ACCOUNT = "default"
DEFAULT_CONCURRENCY = 100


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
