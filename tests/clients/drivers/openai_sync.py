"""Run one scenario of tests/clients/scenarios.py with `openai.OpenAI`: openai_sync.py SCENARIO FOLDER"""

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

import openai
from openai.types import ImagesResponse

PROMPT = "A red fox in the snow"
SCENARIO, FOLDER = sys.argv[1], Path(sys.argv[2])


def run(client: openai.OpenAI) -> list[str]:
    model = "no-such-model" if SCENARIO == "unknown_model" else os.environ["MODEL"]
    headers = {"Idempotency-Key": os.environ["IDEMPOTENCY_KEY"]} if SCENARIO == "repeat" else {}
    paths: list[str] = []
    for _ in range(2 if SCENARIO == "repeat" else 1):
        if SCENARIO == "edit":
            result = client.images.edit(model=model, prompt=PROMPT, image=Path(os.environ["REFERENCE"]))
        else:
            result = client.images.generate(
                model=model,
                prompt=PROMPT,
                n=3 if SCENARIO == "several" else 1,
                size="1280x720",
                extra_headers=headers,
            )
        paths += save(result, len(paths))
    return paths


def save(result: ImagesResponse, first: int) -> list[str]:
    paths = []
    for number, image in enumerate(result.data or [], first):
        path = FOLDER / f"{number}.png"
        path.write_bytes(base64.b64decode(image.b64_json or ""))
        paths.append(str(path))
    return paths


output: dict[str, Any] = {"images": [], "error": None, "progress": 0}
try:
    key = "fh_wrong" if SCENARIO == "wrong_key" else os.environ["FRAMEHOUSE_KEY"]
    with openai.OpenAI(base_url=os.environ["FRAMEHOUSE_URL"] + "/openai/v1", api_key=key, max_retries=10) as client:
        output["images"] = run(client)
except openai.APIStatusError as error:
    output["error"] = {
        "status": error.status_code,
        "code": error.code,
        "message": error.message,
        "class": type(error).__name__,
    }
print(json.dumps(output))
