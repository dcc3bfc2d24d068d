"""Choose the aspect ratio of a task.

The sources, in order of priority:

1. the field `aspect_ratio`, if it is not `auto`
2. a ratio that the prompt mentions
3. the ratio of the deciding reference, which may have to be fetched first
4. the default
"""

from collections.abc import Sequence

from framehouse.domain.prompt import Cited, citations, requested_ratio, resolve_citation
from framehouse.domain.sizes import AUTO, RATIOS, nearest_ratio
from framehouse.domain.task import ImageRequest


def ratio_of_request(request: ImageRequest) -> str:
    """The aspect ratio that the request alone determines; `auto` if a reference decides."""
    if request.ratio != AUTO:
        return request.ratio
    if ratio := requested_ratio(request.prompt, RATIOS):
        return ratio
    if deciding_reference(request.prompt, images=len(request.images), elements=len(request.elements)):
        return AUTO
    return default_ratio(request)


def default_ratio(request: ImageRequest) -> str:
    """The aspect ratio if neither the prompt nor a reference decides."""
    return "16:9" if request.result_type == "series" else "1:1"


def deciding_reference(prompt: str, *, images: int, elements: int) -> Cited | None:
    """The reference that decides `auto`: the first reference that the prompt cites, else the first image.

    An element that is not cited does not decide, because its images show the subject and not the framing.
    """
    resolved = (resolve_citation(c, images=images, elements=elements) for c in citations(prompt))
    first_cited = next((Cited(*reference) for reference in resolved if reference), None)
    return first_cited or (Cited("image", 0) if images else None)


def ratio_from_references(
    prompt: str, images: Sequence[tuple[int, int]], elements: Sequence[tuple[int, int]]
) -> str | None:
    """The listed aspect ratio nearest to the ratio of the deciding reference; None if no reference decides.

    `images` and `elements` are sizes, (width, height) in pixels. The size of an element is the size of its frontal
    image.
    """
    reference = deciding_reference(prompt, images=len(images), elements=len(elements))
    if reference is None:
        return None
    return nearest_ratio(*(elements if reference.kind == "element" else images)[reference.index])
