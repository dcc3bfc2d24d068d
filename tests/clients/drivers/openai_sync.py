"""Run one scenario of tests/clients/scenarios.py with `openai.OpenAI`: openai_sync.py SCENARIO FOLDER"""

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

images: list[str] = []
raised: openai.APIStatusError | None = None
with openai.OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=10) as client:
    try:
        for _ in range(REPETITIONS):
            if SCENARIO == "edit":
                result = client.images.edit(**FIELDS, image=reference())
            else:
                headers = IDEMPOTENCY if SCENARIO == "repeat" else {}
                result = client.images.generate(**FIELDS, **SIZE_AND_NUMBER, extra_headers=headers)
            save([image.b64_json for image in result.data or []], images)
    except openai.APIStatusError as error:
        raised = error
print_result(images, raised)
