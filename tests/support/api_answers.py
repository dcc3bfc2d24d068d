"""The smallest valid request of the API, a check of error responses, and a strategy for JSON values."""

import httpx
from hypothesis import strategies as st

BODY = {"model_name": "kling-v3-omni", "prompt": "a fox"}


def error(answer: httpx.Response, status: int, code: int) -> str:
    """Check an error response and its envelope, and return its message."""
    body = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), answer.text
    assert set(body) == {"code", "message", "request_id"}
    assert answer.headers["x-request-id"] == body["request_id"]
    return str(body["message"])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
