"""Outbound HTTP, for references and callbacks: only http(s), no private addresses, limits on time and size.

Every hop's name is looked up here, the addresses are checked, and the connection goes to the address that was
checked: a name that changes its answer in between gains nothing.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache, partial
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from framehouse.domain.request import ascii_host

if TYPE_CHECKING:
    import httpx

_LOOKUPS = ThreadPoolExecutor(256, thread_name_prefix="lookup")
_MOST_ADDRESSES = 4
_UNICAST = ipaddress.ip_network("2000::/3")
_NOT_PUBLIC = tuple(map(ipaddress.ip_network, ("2001:db8::/32", "3fff::/20")))
_SPECIAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24")))
MAX_REDIRECTS = 3
WHOLE_LIMIT_S = 60.0
SILENCE_LIMIT_S = 10.0


class FetchFailed(Exception):
    """A URL could not be had; the message continues "image_list[0].image …". `retry` says whether later may help."""

    def __init__(self, message: str, *, retry: bool) -> None:
        super().__init__(message)
        self.message = message
        self.retry = retry


async def fetch(url: str, *, most_bytes: int, allow_private: bool, private_host: str = "") -> bytes:
    """The body behind a URL, after at most three redirects. Raises FetchFailed. No cookies, credentials or proxy.

    `private_host` may have a private address, and nothing else that it redirects to.
    """
    try:
        async with asyncio.timeout(WHOLE_LIMIT_S):
            for _ in range(MAX_REDIRECTS + 1):
                trusted = allow_private or bool(private_host and host_of(url) == private_host)
                answer = await _hop(url, most_bytes, trusted)
                if isinstance(answer, bytes):
                    return answer
                try:
                    url = urljoin(url, answer)
                except ValueError as error:
                    raise FetchFailed("leads to something that is not a usable URL", retry=False) from error
            raise FetchFailed(f"redirects more than {MAX_REDIRECTS} times", retry=False)
    except TimeoutError as error:
        raise FetchFailed(f"did not arrive within {WHOLE_LIMIT_S:.0f} s", retry=True) from error


def host_of(url: str) -> str:
    """The host of a URL, or nothing."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


async def _hop(url: str, most_bytes: int, allow_private: bool) -> bytes | str:
    """The body, or where it redirects to."""
    wanted = {"Accept": "image/png,image/jpeg", "Accept-Encoding": "identity"}
    async with _request("GET", url, wanted, None, SILENCE_LIMIT_S, allow_private) as answer:
        if answer.has_redirect_location:
            return answer.headers["Location"]
        if answer.status_code != 200:
            later = answer.status_code in (408, 429, *range(500, 600))
            raise FetchFailed(f"answered HTTP {answer.status_code}", retry=later)
        if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
            # unpacking would turn a few bytes into any number, and pictures gain nothing by being packed
            raise FetchFailed("was sent with a Content-Encoding, which was not asked for", retry=False)
        too_large = FetchFailed(f"has more than {most_bytes:,} bytes; no more are allowed", retry=False)
        if int(answer.headers.get("Content-Length", "0")) > most_bytes:
            raise too_large
        body = bytearray()
        async for piece in answer.aiter_raw():
            body += piece
            if len(body) > most_bytes:
                raise too_large
        return bytes(body)


async def post(
    url: str, body: bytes, headers: Mapping[str, str], *, silence_s: float, allow_private: bool
) -> tuple[int, Mapping[str, str]]:
    """POST a body; status code and headers of the answer, whose own body is never read. Redirects are not followed.
    Raises FetchFailed, also after so much silence. The caller limits the whole, later than that: a connection that is
    cancelled in the midst of TLS is closed only when its memory is."""
    async with _request("POST", url, headers, body, silence_s, allow_private) as answer:
        return answer.status_code, answer.headers


@asynccontextmanager
async def _request(
    method: str, url: str, headers: Mapping[str, str], body: bytes | None, silence_s: float, allow_private: bool
) -> AsyncIterator["httpx.Response"]:
    """One request to a checked address, on a connection of its own; the answer's head has arrived, its body has not."""
    import httpx  # here, because only a worker with something to send or fetch needs it, and it is slow to load

    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise FetchFailed("leads to something that is not http or https", retry=False)
        if "@" in parts.netloc:
            raise FetchFailed("leads to a URL with a user name or password", retry=False)
        name = ascii_host(parts.hostname)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        bracketed = f"[{name}]" if ":" in name else name
        headers = {**headers, "Host": f"{bracketed}:{parts.port}" if parts.port else bracketed}
        addresses = await _checked_addresses(name, port, allow_private)
        async with httpx.AsyncClient(trust_env=False, timeout=silence_s, verify=_tls()) as client:
            for left, address in zip(reversed(range(len(addresses))), addresses, strict=True):
                host = f"[{address}]" if ":" in address else address
                target = parts._replace(netloc=f"{host}:{port}", fragment="").geturl()
                request = client.build_request(
                    method, target, headers=headers, content=body, extensions={"sni_hostname": name}
                )
                try:
                    answer = await client.send(request, stream=True)
                    break
                except httpx.ConnectError:  # nothing was sent: the name's next address may be better
                    if not left:
                        raise
            try:
                yield answer
            finally:
                await answer.aclose()
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise FetchFailed("is not a usable URL", retry=False) from error
    except httpx.TimeoutException as error:
        raise FetchFailed(f"gave no answer for {silence_s:g} s", retry=True) from error
    except httpx.HTTPError as error:
        raise FetchFailed(f"could not be reached: {type(error).__name__}", retry=True) from error


@cache
def _tls() -> ssl.SSLContext:
    """Made once: loading the certificates takes longer than a request."""
    import httpx

    return httpx.create_ssl_context(trust_env=False)


async def _checked_addresses(host: str, port: int, allow_private: bool) -> list[str]:
    """Where the host is, all of it checked."""
    try:
        addresses = [str(ipaddress.ip_address(host))]
    except ValueError:
        # in threads of their own: names that do not resolve must not hold up painting, and each other not soon
        lookup = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        try:
            found = await asyncio.get_running_loop().run_in_executor(_LOOKUPS, lookup)
        except OSError as error:
            later = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
            raise FetchFailed("leads to a host name that cannot be found", retry=later) from error
        addresses = list(dict.fromkeys(str(address[4][0]) for address in found))
    if not allow_private and not all(map(is_public, addresses)):
        raise FetchFailed("leads to a private or special address, which is not allowed", retry=False)
    return addresses[:_MOST_ADDRESSES]


def is_public(address: str) -> bool:
    """Whether an address is of the open internet, also behind the disguises that embed an IPv4 address in IPv6."""
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            ip = inner
        elif ip not in _UNICAST or any(ip in network for network in _NOT_PUBLIC):
            return False
    if isinstance(ip, ipaddress.IPv4Address) and any(ip in network for network in _SPECIAL):
        return False
    return ip.is_global and not ip.is_multicast
