"""Check that an external PostgreSQL server meets the requirements of Framehouse."""

import ssl
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import asyncpg

_MIN_VERSION = 14
_TIMEOUT_S = 10


class BadServer(Exception):
    """Raised when the database server cannot be used. Most messages contain advice, and none contains the password."""


@dataclass(frozen=True, slots=True)
class DatabaseServer:
    """The properties of a usable database server.

    `tls` is true if the direct connection uses TLS. `pooled` is true if FRAMEHOUSE_DATABASE_URL points to a pooler.
    `direct_pooled` is true if FRAMEHOUSE_DIRECT_DATABASE_URL points to a pooler.
    """

    version: str
    tls: bool
    pooled: bool
    direct_pooled: bool = False


async def check_server(url: str, *, direct_url: str = "") -> DatabaseServer:
    """Check the server at `url` and, if `direct_url` is not empty, also the server at `direct_url`.

    Raises BadServer on any error.
    """
    direct = await _check_url(
        direct_url or url, "FRAMEHOUSE_DIRECT_DATABASE_URL" if direct_url else "FRAMEHOUSE_DATABASE_URL"
    )
    if not direct_url:
        if direct.pooled:
            raise BadServer(
                f"The connection to {_address(url)} goes through a pooler, but notifications, locks and migrations "
                "need a direct connection. Set FRAMEHOUSE_DIRECT_DATABASE_URL to the URL of the server itself."
            )
        return direct
    main = await _check_url(url, "FRAMEHOUSE_DATABASE_URL")
    return DatabaseServer(direct.version, direct.tls, main.pooled, direct.pooled)


async def _check_url(url: str, setting: str) -> DatabaseServer:
    try:
        connection = await asyncpg.connect(url, timeout=_TIMEOUT_S, statement_cache_size=0)
        try:
            row = await connection.fetchrow(
                "select current_setting('server_version') as version,"
                " current_setting('server_version_num')::int as number,"
                " pg_is_in_recovery() as standby, pg_backend_pid() as pid, current_database() as database,"
                " coalesce(has_schema_privilege(current_schema(), 'create'), false) as may_create,"
                " current_user as user_name,"
                " coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false) as tls"
            )
            assert row is not None
            pooled = connection.get_server_pid() != row["pid"]  # a pooler does not report the real process id
        finally:
            # an error while the connection closes does not matter, because the check has already ended
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await connection.close(timeout=2)
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise BadServer(f"{setting}: {_explain(error, url)}") from error
    if row["number"] < _MIN_VERSION * 10_000:
        raise BadServer(
            f"{setting}: PostgreSQL {row['version']} is too old. Version {_MIN_VERSION} or newer is required."
        )
    if row["standby"]:
        raise BadServer(f"{setting}: {_address(url)} is a read-only standby server. Use the URL of the primary server.")
    if not row["may_create"]:
        raise BadServer(
            f'{setting}: the user "{row["user_name"]}" is not allowed to create tables in the database '
            f'"{row["database"]}". '
            f'Make the user the owner: alter database "{row["database"]}" owner to "{row["user_name"]}".'
        )
    return DatabaseServer(row["version"], row["tls"], pooled)


def _explain(error: Exception, url: str) -> str:
    """Return a message that describes the error and, for most errors, contains advice."""
    match error:
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            return f"{_address(url)} rejects the user or the password: {error}."
        case asyncpg.InvalidCatalogNameError():
            return f"{error} at {_address(url)}. Create the database, or use an existing database."
        case asyncpg.TooManyConnectionsError():
            return f"{_address(url)} accepts no more connections ({error}). Increase max_connections, or use a pooler."
        case asyncpg.CannotConnectNowError():
            return f"{_address(url)} is starting or stopping: {error}. Try again in a moment."
        case asyncpg.PostgresConnectionError() | asyncpg.PostgresError():
            return f"{_address(url)} reports an error: {error}."
        case ssl.SSLError():
            return (
                f"a TLS connection to {_address(url)} is not possible: {error}. "
                "See sslmode and sslrootcert in docs/many-machines.md."
            )
        case TimeoutError():
            return f"{_address(url)} did not respond within {_TIMEOUT_S} seconds. Check the address and the firewall."
        case OSError() if "SSL" in str(error):
            return (
                f"a TLS connection to {_address(url)} is not possible: {error}. See sslmode in docs/many-machines.md."
            )
        case OSError():
            return (
                f"{_address(url)} cannot be reached: {error.strerror or error}. "
                "Check that the database server is running."
            )
        case _:
            return f"not a valid database URL ({error}). Use the form postgresql://user:password@host:5432/name."


def _address(url: str) -> str:
    """Return the host and port of the URL, without the user and the password."""
    return urlsplit(url).netloc.rpartition("@")[2] or "the local socket"
