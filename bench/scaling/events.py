"""A simulation by events: a clock, cores that take turns, a log that flushes for all who wait, and locks."""

import heapq
import itertools
from collections import defaultdict, deque
from collections.abc import Callable, Sequence

Then = Callable[[], None]


class Clock:
    """Calls back at times, in their order."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Then]] = []
        self._number = itertools.count()

    def after(self, seconds: float, then: Then) -> None:
        heapq.heappush(self._due, (self.now + seconds, next(self._number), then))

    def run(self, until: float) -> None:
        while self._due and self._due[0][0] <= until:
            self.now, _, then = heapq.heappop(self._due)
            then()
        self.now = until


class Cores:
    """So many of a machine; whoever comes waits for the next one that is free. `spent` is by who used them."""

    def __init__(self, clock: Clock, number: int) -> None:
        self._clock = clock
        self.number = number
        self._free = number
        self._waiting: deque[tuple[float, Then]] = deque()
        self.spent: dict[str, float] = defaultdict(float)

    def use(self, seconds: float, who: str, then: Then) -> None:
        self.spent[who] += seconds
        if self._free:
            self._free -= 1
            self._clock.after(seconds, lambda: self._done(then))
        else:
            self._waiting.append((seconds, then))

    def _done(self, then: Then) -> None:
        if self._waiting:
            seconds, waiting = self._waiting.popleft()
            self._clock.after(seconds, lambda: self._done(waiting))
        else:
            self._free += 1
        then()

    @property
    def waiting(self) -> int:
        return len(self._waiting)


class Thread:
    """A process that does one thing at a time, on the cores of its machine."""

    def __init__(self, cores: Cores, who: str) -> None:
        self._cores = cores
        self._who = who
        self._busy = False
        self._waiting: deque[tuple[float, Then]] = deque()
        self.spent = 0.0

    def use(self, seconds: float, then: Then) -> None:
        self._waiting.append((seconds, then))
        if not self._busy:
            self._next()

    def _next(self) -> None:
        self._busy = bool(self._waiting)
        if self._busy:
            seconds, then = self._waiting.popleft()
            self.spent += seconds
            self._cores.use(seconds, self._who, lambda: self._done(then))

    def _done(self, then: Then) -> None:
        then()
        self._next()


class Log:
    """The write-ahead log: one flush at a time, for all that was written before it began."""

    def __init__(self, clock: Clock, *, flush_s: float, bytes_per_s: float) -> None:
        self._clock = clock
        self._flush_s = flush_s
        self._bytes_per_s = bytes_per_s
        self._waiting: list[Then] = []
        self._bytes = 0.0
        self._busy = False
        self.busy_s = 0.0
        self.written_bytes = 0.0
        self.flushes = 0

    def commit(self, size: float, then: Then) -> None:
        self._waiting.append(then)
        self._bytes += size
        if not self._busy:
            self._flush()

    def _flush(self) -> None:
        group, self._waiting = self._waiting, []
        seconds = self._flush_s + self._bytes / self._bytes_per_s
        self.written_bytes += self._bytes
        self.busy_s += seconds
        self.flushes += 1
        self._bytes, self._busy = 0.0, True
        self._clock.after(seconds, lambda: self._done(group))

    def _done(self, group: Sequence[Then]) -> None:
        self._busy = False
        for then in group:
            then()
        if self._waiting and not self._busy:
            self._flush()


class Locks:
    """Rows that one at a time holds; the others queue."""

    def __init__(self) -> None:
        self._held: dict[int, deque[Then]] = {}
        self.longest = 0

    def take(self, row: int, then: Then) -> None:
        if row in self._held:
            self._held[row].append(then)
            self.longest = max(self.longest, len(self._held[row]))
        else:
            self._held[row] = deque()
            then()

    def take_all(self, rows: Sequence[int], then: Then) -> None:
        """In the order given, which must be the same for all."""
        if rows:
            self.take(rows[0], lambda: self.take_all(rows[1:], then))
        else:
            then()

    def free(self, rows: Sequence[int]) -> None:
        for row in rows:
            if self._held[row]:
                self._held[row].popleft()()
            else:
                del self._held[row]
