"""Fetch references and deliver callbacks over HTTP, with limits on the addresses, the time and the size.

For each request, this module resolves the host name, checks the addresses and connects to one of the checked addresses.
The connection uses this address, and the host name is not resolved again, so DNS rebinding cannot bypass the check.
Each redirect is followed with a new request.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from framehouse import __version__
from framehouse.adapters.account_slots import AccountSlots
from framehouse.adapters.content_encoding import BadCompression, TooManyBytes, decompress
from framehouse.adapters.tls import certificate_problem, tls_context
from framehouse.domain.fetch_problems import NO_RESPONSE, PRIVATE_ADDRESS, UNKNOWN_HOST, UNREACHABLE
from framehouse.domain.field_reader import ascii_host, quoted

if TYPE_CHECKING:
    import httpx

_LOOKUP_THREADS = 256
_LOOKUPS = ThreadPoolExecutor(_LOOKUP_THREADS, thread_name_prefix="lookup")
_LOOKUP_SLOTS = AccountSlots(_LOOKUP_THREADS)
_MAX_ADDRESSES = 4
_GLOBAL_UNICAST_IPV6 = ipaddress.ip_network("2000::/3")
_DOCUMENTATION_IPV6 = tuple(map(ipaddress.ip_network, ("2001:db8::/32", "3fff::/20")))
_SPECIAL_IPV4 = tuple(map(ipaddress.ip_network, ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24")))
MAX_REDIRECTS = 3
TOTAL_TIMEOUT_S = 60.0
IDLE_TIMEOUT_S = 10.0
USER_AGENT = f"Framehouse/{__version__} (+https://pypi.org/project/framehouse/)"
_ACCEPT = "image/png,image/jpeg,image/*;q=0.8,*/*;q=0.1"
_CONTENT_RANGE = re.compile(r"bytes 0-(\d{1,18})/(\d{1,18})")


class FetchFailed(Exception):
    """Raised when a request fails.

    `message` is the end of a sentence. The calling code adds the subject of the sentence, for example the request
    field "image_list[0].image". `retry` is true if a repeated request may succeed.
    """

    def __init__(self, message: str, *, retry: bool) -> None:
        super().__init__(message)
        self.message = message
        self.retry = retry


async def fetch(url: str, *, max_bytes: int, allow_private: bool, private_host: str = "", account_id: int = 0) -> bytes:
    """Send a GET request to a URL, and return the body of the response.

    `account_id` is the account for which the URL is fetched, or 0 if the URL is not fetched for an account. Follows at
    most three redirects. Sends no cookies or credentials, and uses no proxy. `allow_private` permits private addresses
    for every host. If `allow_private` is false, private addresses are permitted only for `private_host`. Raises
    FetchFailed.
    """
    try:
        async with asyncio.timeout(TOTAL_TIMEOUT_S):
            for _ in range(MAX_REDIRECTS + 1):
                private_allowed = allow_private or bool(private_host and host_of(url) == private_host)
                result = await _get(url, max_bytes, private_allowed, account_id)
                if isinstance(result, bytes):
                    return result
                try:
                    url = urljoin(url, result)
                except ValueError as error:
                    raise FetchFailed("redirects to an invalid URL", retry=False) from error
            raise FetchFailed(f"redirects more than {MAX_REDIRECTS} times", retry=False)
    except TimeoutError as error:
        raise FetchFailed(f"did not arrive within {TOTAL_TIMEOUT_S:.0f} s", retry=True) from error


def host_of(url: str) -> str:
    """Return the host of a URL, or an empty string if the URL is invalid or has no host."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


async def _get(url: str, max_bytes: int, allow_private: bool, account_id: int) -> bytes | str:
    """Send one GET request. Returns the body as bytes or, for a redirect, the Location header as a string."""
    request_headers = {"Accept": _ACCEPT, "Accept-Encoding": "identity", "User-Agent": USER_AGENT}
    async with _request("GET", url, request_headers, None, IDLE_TIMEOUT_S, allow_private, account_id) as response:
        if response.has_redirect_location:
            return response.headers["Location"]
        if response.status_code not in (200, 203, 206):
            retry = response.status_code in (408, 429, *range(500, 600))
            raise FetchFailed(f"returned HTTP {response.status_code}", retry=retry)
        if response.status_code == 206 and not _is_complete(response.headers.get("Content-Range", "")):
            raise FetchFailed("returned only a part of the file (HTTP 206)", retry=False)
        too_large = FetchFailed(f"is too large: it has more than {max_bytes:,} bytes", retry=False)
        if int(response.headers.get("Content-Length", "0")) > max_bytes:
            raise too_large
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > max_bytes:
                raise too_large
        encoding = response.headers.get("Content-Encoding", "")
        try:
            # in a thread, because decompressing ten megabytes would delay the renewal of leases
            return await asyncio.to_thread(decompress, bytes(body), encoding, max_bytes=max_bytes)
        except TooManyBytes:
            raise too_large from None
        except BadCompression as error:
            raise FetchFailed(f"cannot be decompressed (Content-Encoding: {quoted(encoding)})", retry=False) from error


def _is_complete(content_range: str) -> bool:
    """Return whether a Content-Range header describes the complete file."""
    match = _CONTENT_RANGE.fullmatch(content_range.strip())
    return match is not None and int(match[1]) + 1 == int(match[2])


async def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    idle_timeout_s: float,
    allow_private: bool,
    account_id: int = 0,
) -> tuple[int, Mapping[str, str]]:
    """Send a POST request. Returns the status code and the headers of the response. The response's body is not read.

    Redirects are not followed. Raises FetchFailed if the request fails or the remote server sends nothing for
    `idle_timeout_s` seconds. The calling code must also limit the total time. This total limit must be longer than
    `idle_timeout_s` seconds. Otherwise, the total limit could cancel the TLS handshake before the idle timeout ends the
    handshake. The connection would then stay open until it is garbage-collected.
    """
    async with _request("POST", url, headers, body, idle_timeout_s, allow_private, account_id) as response:
        return response.status_code, response.headers


@asynccontextmanager
async def _request(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    idle_timeout_s: float,
    allow_private: bool,
    account_id: int,
) -> AsyncIterator["httpx.Response"]:
    """Open a new connection to a checked address and send a request.

    Yields the response after its headers have been received and before its body is read. Raises FetchFailed.
    """
    import httpx  # imported late: loading is slow, and only workers that send requests use httpx

    from framehouse.adapters.limited_transport import HeadTooLarge, LimitedTransport

    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise FetchFailed("points to a URL that is not http or https", retry=False)
        if "@" in parts.netloc:
            raise FetchFailed("points to a URL with a user name or password", retry=False)
        name = ascii_host(parts.hostname)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        bracketed = f"[{name}]" if ":" in name else name
        headers = {**headers, "Host": f"{bracketed}:{parts.port}" if parts.port else bracketed}
        addresses = await _checked_addresses(name, port, allow_private, account_id)
        transport = LimitedTransport(tls_context())
        async with httpx.AsyncClient(trust_env=False, timeout=idle_timeout_s, transport=transport) as client:
            for remaining, address in zip(reversed(range(len(addresses))), addresses, strict=True):
                host = f"[{address}]" if ":" in address else address
                target = parts._replace(netloc=f"{host}:{port}", fragment="").geturl()
                request = client.build_request(
                    method, target, headers=headers, content=body, extensions={"sni_hostname": name}
                )
                try:
                    response = await client.send(request, stream=True)
                    transport.end_head()
                    break
                except httpx.ConnectError:  # nothing was sent, so it is safe to try the next address
                    if not remaining:
                        raise
            try:
                yield response
            finally:
                await response.aclose()
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise FetchFailed("is not a valid URL", retry=False) from error
    except HeadTooLarge as error:
        raise FetchFailed("sent too many bytes before the end of its response headers", retry=True) from error
    except httpx.TimeoutException as error:
        raise FetchFailed(f"{NO_RESPONSE} for {idle_timeout_s:g} s", retry=True) from error
    except httpx.HTTPError as error:
        reason = certificate_problem(error, name) or f"{UNREACHABLE}: {type(error).__name__}"
        raise FetchFailed(reason, retry=True) from error


async def _checked_addresses(host: str, port: int, allow_private: bool, account_id: int) -> list[str]:
    """Resolve a host and return at most four of its addresses.

    Raises FetchFailed if the name cannot be resolved. If `allow_private` is false, also raises FetchFailed if at least
    one address is not public.
    """
    try:
        addresses = [str(ipaddress.ip_address(host))]
    except ValueError:
        try:
            addresses = await _look_up(host, port, account_id)
        except OSError as error:
            retry = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
            raise FetchFailed(UNKNOWN_HOST, retry=retry) from error
    if not allow_private and not all(map(is_public, addresses)):
        raise FetchFailed(PRIVATE_ADDRESS, retry=False)
    return addresses[:_MAX_ADDRESSES]


async def _look_up(host: str, port: int, account_id: int) -> list[str]:
    """Return the addresses of a host name.

    The lookup runs in a separate thread, so that a slow lookup does not delay image generation. A cancelled lookup
    continues in its thread, and occupies its slot until the thread is free.
    """
    await _LOOKUP_SLOTS.acquire(account_id)
    loop = asyncio.get_running_loop()

    def release(_: object) -> None:
        with suppress(RuntimeError):  # the event loop may be closed
            loop.call_soon_threadsafe(_LOOKUP_SLOTS.release, account_id)

    lookup = _LOOKUPS.submit(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    lookup.add_done_callback(release)
    return list(dict.fromkeys(str(result[4][0]) for result in await asyncio.wrap_future(lookup)))


def is_public(address: str) -> bool:
    """Return whether an address belongs to the public internet.

    If an IPv6 address contains an IPv4 address, only the IPv4 address is checked.
    """
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in ipaddress.ip_network("64:ff9b::/96"):
            embedded = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if embedded is not None:
            ip = embedded
        elif ip not in _GLOBAL_UNICAST_IPV6 or any(ip in network for network in _DOCUMENTATION_IPV6):
            return False
    if isinstance(ip, ipaddress.IPv4Address) and any(ip in network for network in _SPECIAL_IPV4):
        return False
    return ip.is_global and not ip.is_multicast
