"""The ends of the sentences that describe why a URL cannot be requested."""

PRIVATE_ADDRESS = "points to a private or special address, which is not allowed"
UNKNOWN_HOST = "points to a host name that cannot be resolved"
UNREACHABLE = "could not be reached"
NO_RESPONSE = "did not respond"
BAD_CERTIFICATE = "has a TLS certificate"
