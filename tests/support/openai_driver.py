"""The parts that the drivers of OpenAI's Python package share: see tests/clients/scenarios.py."""

import base64
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import openai

SCENARIO, FOLDER = sys.argv[1], Path(sys.argv[2])
BASE_URL = os.environ["FRAMEHOUSE_URL"] + "/openai/v1"
KEY = "fh_wrong" if SCENARIO == "wrong_key" else os.environ["FRAMEHOUSE_KEY"]
MODEL = "no-such-model" if SCENARIO == "unknown_model" else os.environ["MODEL"]
FIELDS: dict[str, Any] = {"model": MODEL, "prompt": "A red fox in the snow"}
SIZE_AND_NUMBER: dict[str, Any] = {"size": "1280x720", "n": 3 if SCENARIO == "several" else 1}
REPETITIONS = 2 if SCENARIO == "repeat" else 1
IDEMPOTENCY = {"Idempotency-Key": os.environ["IDEMPOTENCY_KEY"]}


def reference() -> Path:
    return Path(os.environ["REFERENCE"])


def save(contents: Iterable[str | None], paths: list[str]) -> None:
    """Save images in base64, and append their paths to `paths`."""
    for content in contents:
        path = FOLDER / f"{len(paths)}.png"
        path.write_bytes(base64.b64decode(content or ""))
        paths.append(str(path))


def print_result(images: list[str], error: openai.APIStatusError | None, *, progress: int = 0) -> None:
    shown = error and {
        "status": error.status_code,
        "code": error.code,
        "message": error.message,
        "class": type(error).__name__,
    }
    sys.stdout.write(json.dumps({"images": images, "error": shown, "progress": progress}) + "\n")
