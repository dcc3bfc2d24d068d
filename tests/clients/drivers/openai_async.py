"""Run one scenario of tests/clients/scenarios.py with `openai.AsyncOpenAI`: openai_async.py SCENARIO FOLDER"""

import asyncio
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


async def run(client: openai.AsyncOpenAI) -> list[str]:
    model = "no-such-model" if SCENARIO == "unknown_model" else os.environ["MODEL"]
    headers = {"Idempotency-Key": os.environ["IDEMPOTENCY_KEY"]} if SCENARIO == "repeat" else {}
    paths: list[str] = []
    for _ in range(2 if SCENARIO == "repeat" else 1):
        if SCENARIO == "edit":
            result = await client.images.edit(model=model, prompt=PROMPT, image=Path(os.environ["REFERENCE"]))
        else:
            result = await client.images.generate(
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


async def main() -> None:
    output: dict[str, Any] = {"images": [], "error": None, "progress": 0}
    key = "fh_wrong" if SCENARIO == "wrong_key" else os.environ["FRAMEHOUSE_KEY"]
    url = os.environ["FRAMEHOUSE_URL"] + "/openai/v1"
    try:
        async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=10) as client:
            output["images"] = await run(client)
    except openai.APIStatusError as error:
        output["error"] = {
            "status": error.status_code,
            "code": error.code,
            "message": error.message,
            "class": type(error).__name__,
        }
    print(json.dumps(output))


asyncio.run(main())
