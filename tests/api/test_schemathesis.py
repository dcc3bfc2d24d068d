"""Schemathesis, over every documented operation: whatever the OpenAPI file allows or forbids, no answer is a 500."""

import asyncio
import os
import sys
from pathlib import Path

from tests.conftest import Api

EXTENT = os.environ.get("SCHEMATHESIS", "--phases examples,fuzzing --max-examples 25")
"""How much is tried. Longer, by hand: SCHEMATHESIS="--phases examples,coverage,fuzzing --max-examples 1000"
.venv/bin/python -m pytest -n 0 --timeout 3600 tests/api/test_schemathesis.py"""


async def test_no_operation_answers_with_a_server_error(api: Api, tmp_path: Path) -> None:
    words = f"""
        run {api.url}/openapi.json --no-color --checks not_a_server_error --mode all {EXTENT} --workers 1 --seed 1
        --generation-database none --suppress-health-check all
    """.split()
    key = api.alice.headers["Authorization"]
    running = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("schemathesis"), *words, "--header", f"Authorization: {key}",
        cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await running.communicate()
    assert running.returncode == 0, said.decode()[-8000:]
