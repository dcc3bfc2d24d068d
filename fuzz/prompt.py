"""Fuzz: what a prompt says, read as the API reads it, and the plan that is made of it.

An input is two bytes of choices and the prompt. Only a refusal may come out, and only where there is a reason for it.
"""

import time
from itertools import chain

from framehouse.domain.errors import Refused
from framehouse.domain.model import Model
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
MOST_S = 1
"""Of processor time for all questions together, instrumented; without that they take a few milliseconds."""


def test_one(data: bytes) -> None:
    kinds, form = (*data[:2], 0, 0)[:2]
    images, elements, series, amount = kinds % 3, kinds // 3 % 3, kinds // 9 % 2 == 1, kinds // 18 % 10
    prompt = data[2:].decode(errors="replace")
    if form & 7 == 7 and prompt:  # what is slow by the square shows itself when it is as long as can be
        prompt = (prompt * (MAX_PROMPT_CHARACTERS // len(prompt)))[:MAX_PROMPT_CHARACTERS]
    begun = time.thread_time()
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
    check_words(prompt)
    try:
        request = parse_request(body, {MODEL.name: MODEL}.get)
    except Refused as refused:
        cited = [resolve_citation(citation, images=images, elements=elements) for citation in citations(prompt)]
        assert not prompt.strip() or len(prompt) > MAX_PROMPT_CHARACTERS or "\0" in prompt or None in cited, refused
        assert refused.code == 1201
        assert refused.message.isprintable(), refused
    else:
        assert request.prompt == prompt
        check_plan(request, max_batch=1 + (form >> 3) % 9, whole_series=bool(form & 1))
    assert time.thread_time() - begun < MOST_S


def check_citations(prompt: str, *, images: int, elements: int) -> None:
    """Every citation is found where it stands, and leads to something that was sent or nowhere."""
    parts = prompt_parts(prompt, images=images, elements=elements)
    assert all(parts)
    found = [c for c in citations(prompt) if resolve_citation(c, images=images, elements=elements)]
    texts = iter(found)
    assert "".join(next(texts).text if isinstance(part, Cited) else part for part in parts) == prompt
    assert next(texts, None) is None
    for part in parts:
        if isinstance(part, Cited):
            assert part.kind in ("image", "element")
            assert 0 <= part.index < (images if part.kind == "image" else elements)


def check_words(prompt: str) -> None:
    """Numbers, shots and shapes mean the same in capitals, and shots are the prompt's own words in their order."""
    asked, listed, ratio = requested_images(prompt), listed_shots(prompt), requested_ratio(prompt, RATIOS)
    assert asked is None or asked >= 0
    assert ratio in (None, *RATIOS)
    if listed:
        assert sum(map(bool, listed.shots)) >= SERIES_AMOUNT[0]
        at = 0
        for shot in listed.shots:
            at = prompt.index(shot, at) + len(shot)
        for citation in citations(prompt):
            assert any(citation.text in text for text in (listed.shared, *listed.shots)), citation
    if prompt.isascii():
        other = prompt.swapcase()
        assert requested_images(other) == asked
        assert requested_ratio(other, RATIOS) == ratio
        swapped = listed_shots(other)
        assert (swapped and swapped.shots) == (listed and tuple(map(str.swapcase, listed.shots)))


def check_plan(request: ImageRequest, *, max_batch: int, whole_series: bool) -> None:
    """The plan has the pictures asked for, each with words of its own or the prompt's, in batches that are not too
    large; and it is the same when it is made again."""
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
