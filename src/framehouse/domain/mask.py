"""The mask of an edit: an image that specifies which area of the first reference is edited.

The rules are those of the OpenAI API. A mask is a PNG file with an alpha channel. The fully transparent pixels of the
mask are edited, and all other pixels of the first reference are kept.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from framehouse.domain.model import Model
from framehouse.domain.reference import ReferenceRole
from framehouse.domain.sizes import Size
from framehouse.domain.task import ImageRequest
from framehouse.domain.task_kind import TaskKind

NOT_PNG = "must be a PNG file with an alpha channel"
NO_ALPHA = "has no alpha channel; its transparent pixels must show the area to edit"
NOTHING_TO_EDIT = "has no fully transparent pixels, so it shows no area to edit"
_KINDS: tuple[TaskKind, ...] = ("omni-image", "generations")
_ROUNDING_PX = 1.0


class _WithRole(Protocol):
    @property
    def role(self) -> ReferenceRole: ...


_Image = TypeVar("_Image", bound=_WithRole)


def nothing_visible(size: Size) -> str:
    """Return the reason why a mask cannot be used if the finished images, which have this size, show nothing of it."""
    return (
        f"shows no area to edit in the finished image, because the first image is cropped at its centre to the aspect "
        f"ratio of {size.width}x{size.height} px; choose another aspect ratio"
    )


def split_mask(images: Sequence[_Image]) -> tuple[tuple[_Image, ...], _Image | None]:
    """Return the images without the mask, and the mask. The mask is None if no image has the role `mask`."""
    references = tuple(image for image in images if image.role != "mask")
    return references, next((image for image in images if image.role == "mask"), None)


def mask_problems(request: ImageRequest, model: Model | None) -> list[str]:
    """Return the reasons why the mask of a request cannot be used. The list is empty if the request has no mask.

    `model` is the requested model, or None if it is unknown.
    """
    references, mask = split_mask(request.images)
    if mask is None:
        return []
    problems = []
    if not references:
        problems.append(f"{mask.field} needs an image to edit, but the request contains no image")
    if len(request.images) - len(references) > 1:
        problems.append(f"{mask.field} was sent more than once; a request can contain one mask")
    if request.kind not in _KINDS or request.result_type != "single":
        problems.append(f"{mask.field} cannot be used for a series or for another kind of task")
    if model and not model.masks:
        problems.append(f"{mask.field} cannot be used with {model.name}, because none of its engines can use a mask")
    return problems


def mask_size_problem(mask: tuple[int, int], image: tuple[int, int]) -> str:
    """Return the reason why a mask does not fit an image, or an empty string if it fits.

    Both sizes are (width, height) in pixels. A mask fits if it has the aspect ratio of the image. The sides of the
    smaller one may differ from this ratio by at most one pixel, because sides are rounded when an image is scaled.
    """
    (small_width, small_height), (large_width, large_height) = sorted((mask, image))
    across = abs(small_width - large_width * small_height / large_height)
    down = abs(small_height - large_height * small_width / large_width)
    if min(across, down) <= _ROUNDING_PX:
        return ""
    return (
        f"is {mask[0]}x{mask[1]} px, but the first image is {image[0]}x{image[1]} px; "
        "both must have the same size or the same aspect ratio"
    )
