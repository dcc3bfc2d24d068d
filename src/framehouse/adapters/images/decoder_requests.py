"""The requests that `ImageChecker` sends to its decoder processes (see `decode`)."""

import struct

HEADER = struct.Struct(">cII")
"""The action, the length of the certificates in bytes, and the length of the file in bytes."""
CHECK, READ_CLAIMS = b"c", b"r"
