"""Record a paid request before it is sent, for services that cannot look up a request whose response was lost.

If a worker ends before it has saved the images of a recorded request, the next worker finds the record, and the engine
does not send the request again, because the request may have been paid for.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from framehouse.domain.errors import Broken, Declined, Unknown
from framehouse.domain.shot import Shot
from framehouse.engines.http_exchange import NotAccepted, OutcomeUnknown
from framehouse.engines.interface import OpenOrder


@asynccontextmanager
async def recorded_request(open_order: OpenOrder, shots: Sequence[Shot]) -> AsyncIterator[None]:
    """Save a record, and send the request for these shots in the `async with` block.

    The record is removed if the block raises NotAccepted, Declined or Broken, because the result of the request is then
    known. If the block raises OutcomeUnknown, the route is excluded for the batch. After the images of the request are
    saved, the engine removes the record with `open_order.save({})`. Raises BatchLost before anything is sent.
    """
    await open_order.save({"request": [shot.index for shot in shots]})
    try:
        yield
    except (NotAccepted, Declined, Broken):
        await open_order.save({})
        raise
    except OutcomeUnknown as error:
        await open_order.give_up(error.reason)
        raise


async def check_recorded_request(open_order: OpenOrder, shots: Iterable[Shot]) -> None:
    """Check the record of an earlier worker. `shots` are the shots whose images are not saved.

    Raises Unknown, and excludes the route for the batch, if the record contains one of these shots: an earlier worker
    has sent a request for this shot, and ended before it saved the image.
    """
    recorded = open_order.data.get("request", ())
    if any(shot.index in recorded for shot in shots):
        reason = "a worker ended before it received or saved the images of a request"
        await open_order.give_up(reason)
        raise Unknown(reason)
    if open_order.data:
        await open_order.save({})
