"""A parser of HTTP requests that ignores the header `Upgrade`.

Some clients offer HTTP/2 with every request (`Upgrade: h2c`): Java's HttpClient by default, and curl with `--http2`. A
server may ignore the offer and must then read the body as usual (RFC 9110, section 7.8). The parser of httptools,
however, ends the request after its head. The body would therefore be parsed as another request.
"""

from typing import Any

import httptools


class RequestParser:
    """A replacement for `httptools.HttpRequestParser`.

    The class has the methods that uvicorn uses, and calls the methods of `protocol` as the original class does.

    After the head of a request with `Upgrade`, a new parser continues with the body. The new parser first receives a
    head that contains only the headers that determine the length of the body.
    """

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._parser = self._new_parser(protocol)

    def feed_data(self, data: bytes) -> None:
        """Parse data. Raises httptools.HttpParserError if the data is not valid HTTP."""
        while data:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
            lengths = [
                name + b": " + value
                for name, value in self._protocol.headers
                if name in (b"content-length", b"transfer-encoding")
            ]
            self._parser = self._new_parser(_BodyOnly(self._protocol))
            self._parser.feed_data(b"\r\n".join([b"POST / HTTP/1.1", *lengths, b"", b""]))

    def should_upgrade(self) -> bool:
        """Return whether the request has the header `Upgrade`. While the body is parsed, the result is false."""
        return bool(self._parser.should_upgrade())

    def should_keep_alive(self) -> bool:
        return bool(self._parser.should_keep_alive())

    def get_http_version(self) -> str:
        return str(self._parser.get_http_version())

    def get_method(self) -> bytes:
        return bytes(self._parser.get_method())

    @staticmethod
    def _new_parser(protocol: Any) -> Any:
        parser = httptools.HttpRequestParser(protocol)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as in uvicorn
        return parser


class _BodyOnly:
    """Forwards the calls of a body parser to the real protocol.

    The calls for the first head are not forwarded, because `RequestParser` generated this head itself.
    """

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._first = True

    def on_message_begin(self) -> None:
        if not self._first:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._first:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._first:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        if not self._first:
            self._protocol.on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._protocol.on_body(body)

    def on_message_complete(self) -> None:
        self._first = False
        self._protocol.on_message_complete()
