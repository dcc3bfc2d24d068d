"""Which aspect ratio a task gets, above all when it asks for `auto`.

In this order: the ratio of the request; one that the prompt asks for; that of the deciding reference, which may have to
be fetched first; the default.
"""

from collections.abc import Sequence

from framehouse.domain.prompt import Cited, citations, ratio_asked, resolve_citation
from framehouse.domain.sizes import AUTO, RATIOS, nearest_ratio
from framehouse.domain.task import ImageRequest


def ratio_of_request(request: ImageRequest) -> str:
    """The aspect ratio as far as the request alone decides it; `auto` if a reference decides."""
    if request.ratio != AUTO:
        return request.ratio
    if asked := ratio_asked(request.prompt, RATIOS):
        return asked
    if deciding_reference(request.prompt, images=len(request.images), elements=len(request.elements)):
        return AUTO
    return default_ratio(request)


def default_ratio(request: ImageRequest) -> str:
    """The aspect ratio when neither the prompt nor a reference decides."""
    return "16:9" if request.result_type == "series" else "1:1"


def deciding_reference(prompt: str, *, images: int, elements: int) -> Cited | None:
    """The reference that decides `auto`: the first that the prompt cites, else the first image. An element that is not
    cited does not decide, because its images show the subject and not the framing."""
    cited = (resolve_citation(c, images=images, elements=elements) for c in citations(prompt))
    first = next((Cited(*found) for found in cited if found), None)
    return first or (Cited("image", 0) if images else None)


def ratio_from_references(
    prompt: str, images: Sequence[tuple[int, int]], elements: Sequence[tuple[int, int]]
) -> str | None:
    """The listed aspect ratio nearest to that of the deciding reference, None if there is none. Sizes are (width,
    height) in pixels; an element has the size of its frontal image."""
    which = deciding_reference(prompt, images=len(images), elements=len(elements))
    if which is None:
        return None
    return nearest_ratio(*(elements if which.kind == "element" else images)[which.index])
