"""Store the certificates with which this deployment signs images.

All workers share one certificate. The certificates of earlier years are kept, so that their images can be verified.
"""

import json
from datetime import UTC, datetime, timedelta

from framehouse.adapters.content_credentials.certificates import SigningIdentity, create_identity
from framehouse.adapters.postgres.pool import Database

_OWN_IDENTITY = "signing_identity"
_CHAIN_PREFIX = "signing_chain "
_RENEW_BEFORE = timedelta(days=365)


async def stored_identity(db: Database) -> SigningIdentity | None:
    """Return the certificate that Framehouse has created itself, and its key, or None if it has created none."""
    stored = await db.value("select value from settings where name = :name", name=_OWN_IDENTITY)
    return SigningIdentity(**json.loads(stored)) if stored else None


async def own_identity(db: Database) -> SigningIdentity:
    """Return the certificate that Framehouse has created itself, and its key.

    The first call creates the certificate. A certificate that expires within a year is replaced by a new one.
    """
    while True:
        stored = await db.value("select value from settings where name = :name", name=_OWN_IDENTITY)
        if stored:
            identity = SigningIdentity(**json.loads(stored))
            if identity.expires_at - datetime.now(UTC) > _RENEW_BEFORE:
                return identity
        created = create_identity()
        # if several processes create a certificate at the same time, all of them use the one that is stored first
        await db.value(
            "insert into settings (name, value) values (:name, :value) on conflict (name) do update "
            "set value = excluded.value where settings.value = :stored returning 1",
            name=_OWN_IDENTITY,
            value=json.dumps({"chain": created.chain, "key": created.key}),
            stored=stored or "",
        )


async def remember_chain(db: Database, identity: SigningIdentity) -> None:
    """Store the certificate chain, without its key, as one with which this deployment signs images."""
    await db.value(
        "insert into settings (name, value) values (:name, :value) on conflict (name) do nothing returning 1",
        name=f"{_CHAIN_PREFIX}{identity.serial_number:x}",
        value=identity.chain,
    )


async def known_chains(db: Database) -> list[str]:
    """Return the certificate chains with which this deployment has ever signed images, as PEM."""
    rows = await db.rows("select value from settings where starts_with(name, :prefix)", prefix=_CHAIN_PREFIX)
    return [str(row["value"]) for row in rows]
