"""Load the references and elements of a claimed batch for its engine."""

from framehouse.adapters.images.checker import ImageChecker
from framehouse.adapters.postgres import batch_queue
from framehouse.adapters.postgres.batch_queue import Claimed
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.storage import Storage
from framehouse.domain.aspect_ratio import ratio_from_references
from framehouse.domain.errors import Declined, Unavailable
from framehouse.domain.expansion import layout
from framehouse.domain.mask import split_mask
from framehouse.domain.outcome import Fail, Outcome, Retry
from framehouse.domain.sizes import AUTO, size_of
from framehouse.engines.interface import Batch
from framehouse.pipeline.masks import load_mask
from framehouse.pipeline.references import load_elements, load_references


async def load_batch(
    batch: Claimed, *, db: Database, storage: Storage, checker: ImageChecker, allow_private: bool
) -> Batch | Outcome:
    """Load the references and elements of a claimed batch. Fetching and checking their images may take minutes.

    Returns the input for the engines, or the outcome of the batch if an image cannot be loaded.
    """
    try:
        loaded = await load_references(batch, db, storage, checker, allow_private=allow_private)
        elements = await load_elements(batch, db, storage, checker)
    except Unavailable as error:
        return Retry(error.message, counts_attempt=True)
    except Declined as error:
        return Fail(error.message, declined=True)
    references, _ = split_mask(loaded)
    ratio = batch.ratio
    if ratio == AUTO:
        sizes = [(reference.width, reference.height) for reference in references]
        frontal = [(element.images[0].width, element.images[0].height) for element in elements]
        determined = ratio_from_references(batch.prompt, sizes, frontal)
        assert determined is not None  # `auto` in a claimed batch means that the ratio depends on a reference
        ratio = await batch_queue.save_ratio(db, batch.task_id, determined)
    size, box = size_of(ratio, batch.resolution), None
    if expansion := batch.options.expansion:
        size, box = layout(expansion, references[0].width, references[0].height)
    finished_size = batch.options.size or size
    try:
        mask = await load_mask(batch.references, loaded, finished_size)
    except Declined as error:
        return Fail(error.message, declined=True)
    if mask:
        size = finished_size  # the reference, the mask and the generated image must be cropped in the same way
    return Batch(
        task_id=str(batch.task_id),
        shots=batch.shots,
        image_count=batch.image_count,
        size=size,
        references=references,
        elements=elements,
        model=batch.model,
        prompt=batch.prompt,
        series=batch.result_type == "series",
        kind=batch.kind,
        options=batch.options,
        box=box,
        mask=mask,
    )
