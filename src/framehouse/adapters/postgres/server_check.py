"""Whether a PostgreSQL server that somebody else runs is one that we can use, found out before anything leans on it."""

import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

import asyncpg

_OLDEST = 14
_PATIENCE_S = 10


class BadServer(Exception):
    """The database server cannot be used as it is set; the message says what to do, and never holds the password."""


@dataclass(frozen=True, slots=True)
class Server:
    """What a connection to the server showed. `tls` is of the connection that passes the pooler."""

    version: str
    tls: bool
    pooled: bool
    direct_pooled: bool = False


async def look_at_server(url: str, *, direct_url: str = "") -> Server:
    """What is behind the URLs. Raises BadServer, and never anything else."""
    direct = await _look(
        direct_url or url, "FRAMEHOUSE_DIRECT_DATABASE_URL" if direct_url else "FRAMEHOUSE_DATABASE_URL"
    )
    if not direct_url:
        if direct.pooled:
            raise BadServer(
                f"A pooler stands before the database at {_place(url)}, and listening, locks and migrations need a "
                "connection that passes it. Set FRAMEHOUSE_DIRECT_DATABASE_URL to the server itself."
            )
        return direct
    through = await _look(url, "FRAMEHOUSE_DATABASE_URL")
    return Server(direct.version, direct.tls, through.pooled, direct.pooled)


async def _look(url: str, setting: str) -> Server:
    try:
        connection = await asyncpg.connect(url, timeout=_PATIENCE_S, statement_cache_size=0)
        try:
            row = await connection.fetchrow(
                "select current_setting('server_version') as version,"
                " current_setting('server_version_num')::int as number,"
                " pg_is_in_recovery() as standby, pg_backend_pid() as pid, current_database() as database,"
                " coalesce(has_schema_privilege(current_schema(), 'create'), false) as may_create,"
                " current_user as who,"
                " coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false) as tls"
            )
            assert row is not None
            pooled = connection.get_server_pid() != row["pid"]  # a pooler makes up the number that it tells
        finally:
            await connection.close(timeout=2)
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise BadServer(f"{setting}: {_said(error, url)}") from error
    if row["number"] < _OLDEST * 10_000:
        raise BadServer(f"{setting}: PostgreSQL {row['version']} is too old: it must be {_OLDEST} or newer.")
    if row["standby"]:
        raise BadServer(f"{setting}: {_place(url)} is a standby, which only reads. Name the primary.")
    if not row["may_create"]:
        raise BadServer(
            f'{setting}: the user "{row["who"]}" may not make tables in the database "{row["database"]}". '
            f'Make him its owner: alter database "{row["database"]}" owner to "{row["who"]}".'
        )
    return Server(row["version"], row["tls"], pooled)


def _said(error: Exception, url: str) -> str:
    """What went wrong, and what to do."""
    match error:
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            return f"{_place(url)} refuses the user or the password: {error}."
        case asyncpg.InvalidCatalogNameError():
            return f"{error} at {_place(url)}: create it, or name another."
        case asyncpg.TooManyConnectionsError():
            return f"{_place(url)} has no connection left ({error}): raise max_connections, or use a pooler."
        case asyncpg.CannotConnectNowError():
            return f"{_place(url)} is starting or stopping: {error}. Try again in a moment."
        case asyncpg.PostgresConnectionError() | asyncpg.PostgresError():
            return f"{_place(url)} says: {error}."
        case ssl.SSLError():
            return f"no TLS with {_place(url)}: {error}. See sslmode and sslrootcert in docs/many-machines.md."
        case TimeoutError():
            return f"{_place(url)} does not answer within {_PATIENCE_S} seconds. Are address and firewall right?"
        case OSError() if "SSL" in str(error):
            return f"no TLS with {_place(url)}: {error}. See sslmode in docs/many-machines.md."
        case OSError():
            return f"{_place(url)} cannot be reached: {error.strerror or error}. Does the database run?"
        case _:
            return f"no URL of a database ({error}); one is postgresql://user:password@host:5432/name."


def _place(url: str) -> str:
    """Where the URL leads, without who and with what."""
    return urlsplit(url).netloc.rpartition("@")[2] or "the local socket"
