"""The advice for a callback message that was not delivered."""

from framehouse.domain.fetch_problems import BAD_CERTIFICATE, NO_RESPONSE, PRIVATE_ADDRESS, UNKNOWN_HOST, UNREACHABLE

_BY_REASON = (
    (
        PRIVATE_ADDRESS,
        "Use a callback URL with a public address. If you run the server for development, restart the server with "
        "FRAMEHOUSE_ALLOW_PRIVATE_ADDRESSES=1.",
    ),
    (UNKNOWN_HOST, "Check the host name in the callback URL."),
    (BAD_CERTIFICATE, "Replace the certificate of the receiver, or use an http URL for development."),
    (
        NO_RESPONSE,
        "The receiver must respond within 10 seconds. A receiver with more work must respond first and work later.",
    ),
    (
        UNREACHABLE,
        "Check that the receiver is running, and that the server can connect to its address. In a container, 127.0.0.1 "
        "is the container itself.",
    ),
)
_BY_CODE = {
    401: "The receiver refuses the message. Check that the receiver verifies the signature and needs no other login.",
    403: "The receiver refuses the message. Check that the receiver verifies the signature and needs no other login.",
    404: "Check the path of the callback URL.",
    405: "The receiver must accept POST requests at the path of the callback URL.",
    410: "The receiver responded with HTTP 410, which ends all attempts. To send the message again, use "
    "`framehouse callback resend`.",
    413: "The receiver must accept bodies of this size.",
}


def delivery_advice(reason: str, code: int | None) -> str:
    """Return what the owner of the receiver can do about a failed delivery. Returns an empty string if it is unknown.

    `reason` is the reason of the failure, or empty if the message was delivered. `code` is the HTTP status code of the
    response, or None if there was no response.
    """
    if not reason:
        return ""
    if code is None:
        return next((advice for part, advice in _BY_REASON if part in reason), "")
    if code in _BY_CODE:
        return _BY_CODE[code]
    if 300 <= code < 400:
        return "Use the URL to which the receiver redirects as the callback URL."
    if code == 400:
        return "The receiver refuses the message. Check that the receiver uses the callback secret of this account."
    return "See the log of the receiver." if code >= 500 else ""
