"""Fuzz the parsing of prompts and the plan of a task.

An input is two bytes that select the options of the request, and the prompt. The request may be refused only for a
valid reason, and no other error may be raised.
"""

import time
from itertools import chain

from framehouse.domain.errors import Refused
from framehouse.domain.model import Catalog, Model
from framehouse.domain.plan_shots import make_plan
from framehouse.domain.prompt import (
    MAX_PROMPT_CHARACTERS,
    Cited,
    citations,
    listed_shots,
    prompt_parts,
    requested_images,
    requested_ratio,
    resolve_citation,
)
from framehouse.domain.request import SERIES_AMOUNT, parse_request
from framehouse.domain.shot import FRAMINGS
from framehouse.domain.sizes import AUTO, RATIOS
from framehouse.domain.task import ImageRequest

MODEL = Model("kling-v3-omni")
MAX_CPU_S = 1
"""The limit on the CPU time for one input with instrumented code; without instrumentation, it takes milliseconds."""


def test_one(data: bytes) -> None:
    first, second = (*data[:2], 0, 0)[:2]
    images, elements, series, amount = first % 3, first // 3 % 3, first // 9 % 2 == 1, first // 18 % 10
    prompt = data[2:].decode(errors="replace")
    if second & 7 == 7 and prompt:  # the longest possible prompt reveals quadratic run time
        prompt = (prompt * (MAX_PROMPT_CHARACTERS // len(prompt)))[:MAX_PROMPT_CHARACTERS]
    began = time.thread_time()
    body = {
        "model_name": MODEL.name,
        "prompt": prompt,
        "image_list": [{"image": "https://example.com/bag.png"}] * images,
        "element_list": [{"element_id": 101}] * elements,
        "result_type": "series" if series else "single",
        "n": max(1, amount),
        "series_amount": amount if amount >= SERIES_AMOUNT[0] else AUTO,
    }
    check_citations(prompt, images=images, elements=elements)
    check_requests_in_prompt(prompt)
    try:
        request = parse_request(body, Catalog([MODEL]))
    except Refused as error:
        cited = [resolve_citation(citation, images=images, elements=elements) for citation in citations(prompt)]
        assert not prompt.strip() or len(prompt) > MAX_PROMPT_CHARACTERS or "\0" in prompt or None in cited, error
        assert error.code == 1201
        assert error.message.isprintable(), error
    else:
        assert request.prompt == prompt
        check_plan(request, max_batch=1 + (second >> 3) % 9, whole_series=bool(second & 1))
    assert time.thread_time() - began < MAX_CPU_S


def check_citations(prompt: str, *, images: int, elements: int) -> None:
    """Every citation is at its place in the parts, and cites an image or element that was sent."""
    parts = prompt_parts(prompt, images=images, elements=elements)
    assert all(parts)
    resolved = iter([c for c in citations(prompt) if resolve_citation(c, images=images, elements=elements)])
    assert "".join(next(resolved).text if isinstance(part, Cited) else part for part in parts) == prompt
    assert next(resolved, None) is None
    for part in parts:
        if isinstance(part, Cited):
            assert part.kind in ("image", "element")
            assert 0 <= part.index < (images if part.kind == "image" else elements)


def check_requests_in_prompt(prompt: str) -> None:
    """Check the number of images, the listed shots and the aspect ratio that a prompt requests.

    The listed shots are parts of the prompt, in its order. Upper and lower case do not matter.
    """
    count, listed, ratio = requested_images(prompt), listed_shots(prompt), requested_ratio(prompt, RATIOS)
    assert count is None or count >= 0
    assert ratio in (None, *RATIOS)
    if listed:
        assert sum(map(bool, listed.shots)) >= SERIES_AMOUNT[0]
        at = 0
        for shot in listed.shots:
            at = prompt.index(shot, at) + len(shot)
        for citation in citations(prompt):
            assert any(citation.text in text for text in (listed.shared, *listed.shots)), citation
    if prompt.isascii():
        swapped = prompt.swapcase()
        assert requested_images(swapped) == count
        assert requested_ratio(swapped, RATIOS) == ratio
        swapped_list = listed_shots(swapped)
        assert (swapped_list and swapped_list.shots) == (listed and tuple(map(str.swapcase, listed.shots)))


def check_plan(request: ImageRequest, *, max_batch: int, whole_series: bool) -> None:
    """The plan has the requested number of images. Each shot has a prompt, and no batch is too large.

    The same request always gives the same plan.
    """
    plan = make_plan(request, seed=7, max_batch=max_batch, whole_series=whole_series)
    assert plan == make_plan(request, seed=7, max_batch=max_batch, whole_series=whole_series)
    count = len(plan.shots)
    low, high = SERIES_AMOUNT if request.result_type == "series" else (1, 9)
    assert low <= count <= high
    assert count == (request.amount or count)
    assert list(chain.from_iterable(plan.batches)) == list(range(count))
    whole = whole_series and request.result_type == "series"
    assert all(0 < len(batch) <= (count if whole else max_batch) for batch in plan.batches)
    for index, shot in enumerate(plan.shots):
        assert (shot.index, shot.seed) == (index, 7 + index)
        assert (shot.framing in FRAMINGS) == (request.result_type == "series")
        assert shot.prompt.strip()
        assert len(shot.prompt) <= len(request.prompt)
        check_citations(shot.prompt, images=len(request.images), elements=len(request.elements))
    if plan.ratio == AUTO:
        assert request.images or request.elements
    else:
        assert plan.ratio in RATIOS
