"""Choose the aspect ratio of a task.

The sources, in order of priority:

1. the field `aspect_ratio`, if its value is not `auto`
2. an aspect ratio in the prompt
3. the aspect ratio of the reference that `deciding_reference` returns (if the client sent a URL, the server must fetch
   the image first)
4. the default: `16:9` for a series, `1:1` for single images

If the kind of the task is `expand`, the prompt is not a source: the image to expand determines the aspect ratio.
"""

from collections.abc import Sequence

from framehouse.domain.mask import split_mask
from framehouse.domain.prompt import Cited, citations, requested_ratio, resolve_citation
from framehouse.domain.sizes import AUTO, RATIOS, nearest_ratio
from framehouse.domain.task import ImageRequest


def ratio_of_request(request: ImageRequest) -> str:
    """Return the aspect ratio of a request, or `auto` if the aspect ratio depends on the size of a reference."""
    if request.ratio != AUTO:
        return request.ratio
    if request.kind == "expand":
        return AUTO  # depends on the size of the image to expand
    if ratio := requested_ratio(request.prompt, RATIOS):
        return ratio
    references, _ = split_mask(request.images)
    if deciding_reference(request.prompt, images=len(references), elements=len(request.elements)):
        return AUTO
    return default_ratio(request)


def default_ratio(request: ImageRequest) -> str:
    """Return the default aspect ratio of a request: `16:9` for a series, `1:1` for single images."""
    return "16:9" if request.result_type == "series" else "1:1"


def deciding_reference(prompt: str, *, images: int, elements: int) -> Cited | None:
    """Return the reference whose aspect ratio replaces `auto`.

    The result is the first image or element that the prompt cites. If the prompt cites neither, the result is the first
    image. Returns None if the prompt has no such citation and there are no images. An uncited element is never
    returned, because its images show only a subject and do not determine the framing.
    """
    resolved = (resolve_citation(c, images=images, elements=elements) for c in citations(prompt))
    first_cited = next((Cited(*reference) for reference in resolved if reference), None)
    return first_cited or (Cited("image", 0) if images else None)


def ratio_from_references(
    prompt: str, images: Sequence[tuple[int, int]], elements: Sequence[tuple[int, int]]
) -> str | None:
    """Return the supported aspect ratio that is nearest to the aspect ratio of the deciding reference.

    `images` and `elements` contain sizes as (width, height) in pixels. The size of an element is the size of its
    frontal image. Returns None if `deciding_reference` returns None.
    """
    reference = deciding_reference(prompt, images=len(images), elements=len(elements))
    if reference is None:
        return None
    return nearest_ratio(*(elements if reference.kind == "element" else images)[reference.index])
