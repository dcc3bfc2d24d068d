"""The `framehouse certificate` command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from framehouse.cli.options import data_options, json_option
from framehouse.cli.output import Problem, echo, print_json

if TYPE_CHECKING:
    from framehouse.adapters.postgres.pool import Database

_NO_CERTIFICATE = (
    "This deployment has no certificate yet. The first start of framehouse serve creates a certificate. "
    "To use your own certificate, set signing_certificate and signing_key."
)


@click.command()
@click.option("--all", "every", is_flag=True, help="Also print the certificates that signed earlier images.")
@data_options
@json_option
def certificate(every: bool, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """Print the certificate that signs images, and its issuers, as PEM.

    Others can use this output to check that an image is from this deployment. The output contains no private key. The
    command creates neither a certificate nor a database.
    """
    from framehouse.adapters.content_credentials.certificates import read_certificate
    from framehouse.adapters.postgres.embedded import EmbeddedPostgres
    from framehouse.adapters.postgres.signing_identities import known_chains, stored_identity
    from framehouse.cli.local_database import with_database
    from framehouse.settings import load_settings
    from framehouse.wiring import read_signing_files

    settings = load_settings(config, data_dir=data_dir)
    configured = read_signing_files(settings)
    has_database = bool(settings.database_url) or EmbeddedPostgres(settings.data_dir).exists

    async def work(db: Database) -> list[str]:
        current = configured or await stored_identity(db)
        earlier = [chain for chain in await known_chains(db) if current is None or chain != current.chain]
        return ([current.chain] if current else []) + (earlier if every else [])

    chains = [configured.chain] if configured else []
    if has_database and (every or not configured):
        chains = with_database(data_dir, config, work)
    if not chains:
        raise Problem(_NO_CERTIFICATE)
    if as_json:
        facts = [read_certificate(chain) for chain in chains]
        print_json(
            [
                {
                    "subject": fact.subject,
                    "issuer": fact.issuer,
                    "expires_at": fact.expires_at.isoformat(),
                    "chain": chain,
                }
                for fact, chain in zip(facts, chains, strict=True)
            ]
        )
        return
    echo("".join(f"{chain.strip()}\n" for chain in chains).rstrip())
