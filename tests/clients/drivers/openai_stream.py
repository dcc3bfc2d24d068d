"""Run one scenario of tests/clients/scenarios.py with the streams of `openai.OpenAI`: openai_stream.py SCENARIO FOLDER

The official client does not repeat a stream that breaks off. This program repeats it with the same Idempotency-Key.
"""

import base64
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import openai

PROMPT = "A red fox in the snow"
SCENARIO, FOLDER = sys.argv[1], Path(sys.argv[2])
progress = 0


def run(client: openai.OpenAI) -> list[str]:
    paths: list[str] = []
    for _ in range(2 if SCENARIO == "repeat" else 1):
        paths += generate(client, len(paths))
    return paths


def generate(client: openai.OpenAI, first: int) -> list[str]:
    end = time.monotonic() + 120
    while True:
        try:
            return stream(client, first)
        except (openai.APIConnectionError, httpx.TransportError):
            if time.monotonic() > end:
                raise
            time.sleep(1)


def stream(client: openai.OpenAI, first: int) -> list[str]:
    global progress
    fields: dict[str, Any] = {
        "model": "no-such-model" if SCENARIO == "unknown_model" else os.environ["MODEL"],
        "prompt": PROMPT,
        "stream": True,
        "extra_headers": {"Idempotency-Key": os.environ["IDEMPOTENCY_KEY"]},
    }
    if SCENARIO == "edit":
        events = client.images.edit(image=Path(os.environ["REFERENCE"]), **fields)
    else:
        events = client.images.generate(n=3 if SCENARIO == "several" else 1, size="1280x720", **fields)
    paths: list[str] = []
    for event in events:
        if event.type in ("image_generation.completed", "image_edit.completed"):
            path = FOLDER / f"{first + len(paths)}.png"
            path.write_bytes(base64.b64decode(event.b64_json))
            paths.append(str(path))
        else:
            progress += 1
    return paths


output: dict[str, Any] = {"images": [], "error": None}
try:
    key = "fh_wrong" if SCENARIO == "wrong_key" else os.environ["FRAMEHOUSE_KEY"]
    with openai.OpenAI(base_url=os.environ["FRAMEHOUSE_URL"] + "/openai/v1", api_key=key) as client:
        output["images"] = run(client)
except openai.APIStatusError as error:
    output["error"] = {
        "status": error.status_code,
        "code": error.code,
        "message": error.message,
        "class": type(error).__name__,
    }
print(json.dumps(output | {"progress": progress}))
