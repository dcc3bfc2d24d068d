"""When a supervised process is restarted, and when it counts as hung."""

import pytest

from framehouse.runtime.restart_policy import (
    FIRST_PAUSE_S,
    HEALTHY_AFTER_S,
    LONGEST_PAUSE_S,
    LONGEST_STEP_S,
    Restart,
    Silence,
    is_hung,
    measure_silence,
    plan_restart,
)


def test_the_first_restart_is_immediate_and_pauses_then_double_up_to_a_limit() -> None:
    restart, pauses = Restart(), []
    for _ in range(10):
        restart = plan_restart(restart, now=100.0, ran_s=1.0)
        assert restart.due_at == 100.0 + restart.pause_s
        pauses.append(restart.pause_s)
    assert pauses == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_a_process_that_was_healthy_is_restarted_immediately() -> None:
    failing = Restart(due_at=5.0, pause_s=16.0, next_pause_s=LONGEST_PAUSE_S)
    restart = plan_restart(failing, now=100.0, ran_s=HEALTHY_AFTER_S + 0.1)
    assert (restart.due_at, restart.next_pause_s) == (100.0, FIRST_PAUSE_S)
    assert plan_restart(failing, now=100.0, ran_s=HEALTHY_AFTER_S).pause_s == LONGEST_PAUSE_S


def after(silence: Silence, checks: list[tuple[float, bool]]) -> Silence:
    for now, heartbeat in checks:
        silence = measure_silence(silence, now=now, heartbeat=heartbeat)
    return silence


def test_a_process_that_is_still_starting_is_not_hung() -> None:
    silence = after(Silence(0.0), [(at * 0.25, False) for at in range(1, 1000)])
    assert silence.silent_s is None
    assert not is_hung(silence, hung_after_s=10.0)


@pytest.mark.parametrize(("silent_checks", "hung"), [(40, False), (41, True)])
def test_a_process_is_hung_after_its_limit_without_a_heartbeat(silent_checks: int, hung: bool) -> None:
    checks = [(100.0, True)] + [(100.0 + at * 0.25, False) for at in range(1, silent_checks + 1)]
    assert is_hung(after(Silence(99.0), checks), hung_after_s=10.0) is hung


def test_a_heartbeat_ends_the_silence() -> None:
    checks = [(0.25, True), (0.5, False), (0.75, False), (1.0, True)]
    assert after(Silence(0.0), checks) == Silence(1.0, 0.0)


def test_a_pause_of_the_whole_machine_counts_as_one_short_step() -> None:
    silence = after(Silence(0.0), [(0.25, True), (3600.0, False)])
    assert silence.silent_s == LONGEST_STEP_S
    assert not is_hung(silence, hung_after_s=10.0)
