"""Run one scenario of tests/clients/scenarios.py with the streams of `openai.OpenAI`: openai_stream.py SCENARIO FOLDER

The official client does not repeat a stream that breaks off. This program repeats it with the same Idempotency-Key.
"""

import time

import httpx
import openai

from tests.support.openai_driver import (
    BASE_URL,
    FIELDS,
    IDEMPOTENCY,
    KEY,
    REPETITIONS,
    SCENARIO,
    SIZE_AND_NUMBER,
    print_result,
    reference,
    save,
)

progress = 0


def generate(client: openai.OpenAI) -> list[str]:
    """Return the images in base64."""
    end = time.monotonic() + 120
    while True:
        try:
            return stream(client)
        except (openai.APIConnectionError, httpx.TransportError):
            if time.monotonic() > end:
                raise
            time.sleep(1)


def stream(client: openai.OpenAI) -> list[str]:
    global progress
    if SCENARIO == "edit":
        events = client.images.edit(**FIELDS, image=reference(), stream=True, extra_headers=IDEMPOTENCY)
    else:
        events = client.images.generate(**FIELDS, **SIZE_AND_NUMBER, stream=True, extra_headers=IDEMPOTENCY)
    contents: list[str] = []
    for event in events:
        if event.type in ("image_generation.completed", "image_edit.completed"):
            contents.append(event.b64_json)
        else:
            progress += 1
    return contents


images: list[str] = []
raised: openai.APIStatusError | None = None
with openai.OpenAI(base_url=BASE_URL, api_key=KEY) as client:
    try:
        for _ in range(REPETITIONS):
            save(generate(client), images)
    except openai.APIStatusError as error:
        raised = error
print_result(images, raised, progress=progress)
