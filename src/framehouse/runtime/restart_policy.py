"""Determine when a supervised process is restarted, and when it counts as hung.

Times are in seconds on the monotonic clock.
"""

from dataclasses import dataclass, replace

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
HEALTHY_AFTER_S = 60.0
LONGEST_STEP_S = 0.5


@dataclass(frozen=True, slots=True)
class Restart:
    """The next start of a process.

    The start is due at `due_at`, after a pause of `pause_s` seconds. If the process exits within a minute after this
    start, the next pause is `next_pause_s` seconds.
    """

    due_at: float = 0.0
    pause_s: float = 0.0
    next_pause_s: float = 0.0


def plan_restart(previous: Restart, *, now: float, ran_s: float) -> Restart:
    """Plan the restart of a process that ran for `ran_s` seconds and then exited.

    The first restart is immediate. The second restart follows after a pause of half a second. Each further pause is
    twice as long as the previous pause, up to 30 seconds. If a process runs for more than a minute, its next restart is
    immediate again.
    """
    pause_s = 0.0 if ran_s > HEALTHY_AFTER_S else previous.next_pause_s
    return Restart(now + pause_s, pause_s, min(LONGEST_PAUSE_S, pause_s * 2 or FIRST_PAUSE_S))


@dataclass(frozen=True, slots=True)
class Silence:
    """The time for which a process has sent no heartbeat.

    `silent_s` is None until the first heartbeat, so that a process that is still starting does not count as hung.
    """

    checked_at: float
    silent_s: float | None = None


def measure_silence(silence: Silence, *, now: float, heartbeat: bool) -> Silence:
    """Return the updated silence after a check. `heartbeat` is true if a heartbeat has arrived since the last check.

    Each check adds at most half a second, because the machine may have been suspended since the last check. With this
    limit, the process has time to send its next heartbeat after the machine has resumed.
    """
    if heartbeat:
        return Silence(now, 0.0)
    if silence.silent_s is None:
        return replace(silence, checked_at=now)
    return Silence(now, silence.silent_s + min(now - silence.checked_at, LONGEST_STEP_S))


def is_hung(silence: Silence, *, hung_after_s: float) -> bool:
    return silence.silent_s is not None and silence.silent_s > hung_after_s
