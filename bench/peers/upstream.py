"""The model server behind a relay: an OpenAI images endpoint that immediately returns the same image."""

import base64
import io
import sys

import uvicorn
from PIL import Image

from measuring.photo import photo

_buffer = io.BytesIO()
Image.fromarray(photo(1024, 1024)).save(_buffer, "PNG")
BODY = b'{"created": 1, "data": [{"b64_json": "%s"}]}' % base64.b64encode(_buffer.getvalue())
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]


async def app(scope, receive, send):  # type: ignore[no-untyped-def]
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_config=None, access_log=False, lifespan="off")
