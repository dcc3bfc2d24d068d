"""Choose a replica of the model for each request, and skip replicas during a cooldown."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from framehouse.domain.errors import Unavailable
from framehouse.engines.cooldown import Cooldown


@dataclass(eq=False, slots=True)
class Replica:
    """One of the servers that run the model.

    `url`: the URL, which only operators may read.
    `public_name`: the name that callers may read, such as "server 1 of 2".
    `fixed_cooldown`: true if a successful health check does not end the current cooldown.
    `last_use`: the sequence number of the last request to this replica. The least recently used replica has the
        smallest number.
    `queue_length`: the last known number of jobs in the queue of the server, including the jobs of other clients. 0 if
        the server has no queue.
    """

    url: str
    public_name: str
    cooldown: Cooldown = field(default_factory=Cooldown)
    fixed_cooldown: bool = False
    in_flight: int = 0
    last_use: int = 0
    queue_length: int = 0

    def start_cooldown(self, reason: str, *, at_least_s: float = 0.0) -> None:
        """Start a cooldown of the server. If `at_least_s` is not 0, the cooldown is fixed."""
        self.fixed_cooldown = at_least_s > 0 or (self.fixed_cooldown and self.cooldown.remaining_s > 0)
        self.cooldown.start(reason, at_least_s=at_least_s)

    def end_cooldown(self) -> None:
        """End the cooldown, unless the cooldown is fixed and still running."""
        if not (self.fixed_cooldown and self.cooldown.remaining_s):
            self.fixed_cooldown = False
            self.cooldown.end()


class Replicas:
    """All replicas of a model. Use an object of this class from one event loop only.

    A replica has at most `concurrency` requests in flight.
    """

    def __init__(self, urls: Sequence[str], *, concurrency: int) -> None:
        count = len(urls)
        self.all = tuple(
            Replica(url, f"server {number} of {count}" if count > 1 else "the model server")
            for number, url in enumerate(urls, 1)
        )
        self._concurrency = concurrency
        self._uses = 0
        self._waiters: list[asyncio.Future[None]] = []

    @asynccontextmanager
    async def acquire(self, refused: Mapping[Replica, str]) -> AsyncIterator[Replica]:
        """For the duration of an `async with` block, reserve a slot on the usable replica with the fewest requests.

        If the queue of a replica is longer than its number of requests, the length of the queue counts instead.
        A replica is usable if it is neither in a cooldown nor in `refused`. The keys of `refused` are the replicas that
        have refused this call, and the values are their reasons. Waits if all usable replicas are full. Raises
        Unavailable with all reasons if no replica is usable.
        """
        replica = await self._take_slot(refused)
        try:
            yield replica
        finally:
            replica.in_flight -= 1
            self.wake()

    @contextmanager
    def count_in_flight(self, replica: Replica) -> Iterator[None]:
        """Count a request to a replica as in flight, even beyond the limit, because the replica already has it."""
        replica.in_flight += 1
        try:
            yield
        finally:
            replica.in_flight -= 1
            self.wake()

    async def _take_slot(self, refused: Mapping[Replica, str]) -> Replica:
        while True:
            usable = [replica for replica in self.all if replica not in refused and not replica.cooldown.remaining_s]
            if not usable:
                raise Unavailable("; ".join(f"{r.public_name} {refused.get(r) or r.cooldown.reason}" for r in self.all))
            free = [replica for replica in usable if replica.in_flight < self._concurrency]
            if free:
                chosen = min(free, key=lambda replica: (max(replica.in_flight, replica.queue_length), replica.last_use))
                chosen.in_flight += 1
                self._uses += 1
                chosen.last_use = self._uses
                return chosen
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await asyncio.wait([waiter], timeout=self._next_cooldown_end_s(refused))

    def _next_cooldown_end_s(self, refused: Collection[Replica]) -> float | None:
        """Return the time in seconds until the next cooldown ends, or None if no replica is in a cooldown.

        The replicas in `refused` are ignored.
        """
        remaining_s = [
            replica.cooldown.remaining_s
            for replica in self.all
            if replica not in refused and replica.cooldown.remaining_s
        ]
        return min(remaining_s) + 0.01 if remaining_s else None

    def wake(self) -> None:
        """Wake all waiting calls in order. Call this method when a slot becomes free, or a cooldown starts or ends."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
