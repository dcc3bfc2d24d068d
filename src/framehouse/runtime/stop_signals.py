"""Count SIGTERM and SIGINT. A supervisor stops gracefully on the first signal, and immediately on the second signal."""

import signal
from dataclasses import dataclass


@dataclass(slots=True)
class StopSignals:
    """The number of stop signals that were received."""

    count: int = 0

    @property
    def stop(self) -> bool:
        return self.count > 0

    @property
    def stop_immediately(self) -> bool:
        return self.count > 1


def catch_stop_signals() -> StopSignals:
    """Start counting SIGTERM and SIGINT. SIGINT then no longer raises KeyboardInterrupt."""
    signals = StopSignals()

    def count(_number: int, _frame: object) -> None:
        signals.count += 1

    signal.signal(signal.SIGTERM, count)
    signal.signal(signal.SIGINT, count)
    return signals
