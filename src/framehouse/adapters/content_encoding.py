"""Decompress the body of an HTTP response, with a limit on the number of decompressed bytes."""

import zlib
from collections.abc import Callable

_ZSTD_STEP_BYTES = 128
"""The number of compressed bytes that are decompressed at a time. They can become at most 6 MB."""


class TooManyBytes(Exception):
    """Raised when a decompressed body has more bytes than allowed."""


class BadCompression(Exception):
    """Raised when a body is damaged or incomplete, so that it cannot be decompressed."""


def decompress(body: bytes, content_encoding: str, *, max_bytes: int) -> bytes:
    """Return the body without the encodings that a Content-Encoding header lists.

    An unknown encoding is ignored, because many servers send the header with other values, such as `UTF-8` or
    `aws-chunked`, and browsers also ignore these values. Raises TooManyBytes or BadCompression.
    """
    for name in reversed(content_encoding.lower().split(",")):
        if decode := _DECODERS.get(name.strip()):
            body = decode(body, max_bytes)
            if len(body) > max_bytes:
                raise TooManyBytes
    return body


def _gzip(body: bytes, max_bytes: int) -> bytes:
    return _inflate(body, max_bytes, zlib.MAX_WBITS | 16)


def _deflate(body: bytes, max_bytes: int) -> bytes:
    """Some servers omit the zlib header, although the standard requires the header."""
    try:
        return _inflate(body, max_bytes, zlib.MAX_WBITS)
    except BadCompression:
        return _inflate(body, max_bytes, -zlib.MAX_WBITS)


def _inflate(body: bytes, max_bytes: int, wbits: int) -> bytes:
    """Return at most `max_bytes` + 1 bytes. The body may consist of several members."""
    result = bytearray()
    while body:
        decompressor = zlib.decompressobj(wbits=wbits)
        try:
            result += decompressor.decompress(body, max_bytes + 1 - len(result))
        except zlib.error as error:
            raise BadCompression from error
        if len(result) > max_bytes:
            break
        if not decompressor.eof:
            raise BadCompression
        body = decompressor.unused_data
    return bytes(result)


def _brotli(body: bytes, max_bytes: int) -> bytes:
    import brotli

    decompressor = brotli.Decompressor()
    try:
        result: bytes = decompressor.process(body, output_buffer_limit=max_bytes + 1)
    except brotli.error as error:
        raise BadCompression from error
    if len(result) <= max_bytes and not decompressor.is_finished():
        raise BadCompression
    return result


def _zstd(body: bytes, max_bytes: int) -> bytes:
    import zstandard

    result, decompressor = bytearray(), None
    try:
        for start in range(0, len(body), _ZSTD_STEP_BYTES):
            piece = body[start : start + _ZSTD_STEP_BYTES]
            while piece:
                # RFC 8878 recommends this limit for the window
                decompressor = decompressor or zstandard.ZstdDecompressor(max_window_size=2**23).decompressobj()
                result += decompressor.decompress(piece)
                if len(result) > max_bytes:
                    return bytes(result)
                piece = b""
                if decompressor.eof:  # the body may consist of several frames
                    piece, decompressor = decompressor.unused_data, None
    except zstandard.ZstdError as error:
        raise BadCompression from error
    if decompressor is not None:
        raise BadCompression
    return bytes(result)


_DECODERS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
