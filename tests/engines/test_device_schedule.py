"""Which device generates which shots. Stand-in devices sleep instead of computing."""

import heapq
import os
import random
import signal
import statistics
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from framehouse.domain.errors import Failed, Unavailable
from framehouse.domain.sizes import Size
from framehouse.engines.cooldown import Cooldown
from framehouse.engines.diffusers import devices as devices_module
from framehouse.engines.diffusers.calls import MemoryKey, QueuedShot, next_call
from framehouse.engines.diffusers.devices import DeviceThread
from framehouse.engines.diffusers.schedule import CallTimes, images_in, remaining_s, share_s
from framehouse.engines.diffusers.shot_queue import DeviceSettings, ShotQueue
from framehouse.testing.stand_in_device import CollectingRecipient, command
from tests.support.eventually import eventually_sync

_1K, _2K = Size(1024, 1024), Size(2048, 2048)


# --- Rules -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "ready_s", "shots", "expected"),
    [
        (0, [0, 0, 0, 0], 1, 1),
        (3, [0, 0, 0, 0], 1, 1),  # any loaded idle device may take the only shot
        (0, [0, 0, 0, 0], 4, 1),
        (0, [0] * 8, 9, 2),
        (7, [0] * 8, 9, 2),
        (0, [0, 9, 9, 9], 4, 4),  # the other devices are busy for longer than the shots take
        (0, [0, 1.5], 4, 3),
        (1, [0, 5], 1, 0),  # a cold device does not load for a shot that a loaded device can start now
        (1, [0, 5], 5, 0),
        (1, [0, 5], 7, 1),  # the wait for the seventh shot is longer than loading takes
        (0, [30, 30, 30, 30], 1, 1),  # all devices are cold: only the first device loads
        (1, [30, 30, 30, 30], 1, 0),
        (3, [30, 30, 30, 30], 4, 1),
        (3, [30, 30, 30, 30], 3, 0),
        (0, [0, 0], 100, 50),
        (0, [0], 0, 0),
    ],
)
def test_each_shot_goes_to_the_device_that_can_start_it_first(
    device: int, ready_s: Sequence[float], shots: int, expected: int
) -> None:
    assert share_s(device, ready_s, [1.0] * shots) == expected


def test_a_call_contains_as_many_images_as_fit_into_the_share_of_the_device() -> None:
    assert [images_in(seconds, 0.6) for seconds in (0.6, 1.7, 1.8, 6.0)] == [1, 2, 3, 10]
    assert images_in(3.0, 0.0) == images_in(0.1, 9.0) == 1


def test_a_late_call_is_expected_to_stay_late() -> None:
    assert [remaining_s(10, elapsed) for elapsed in (0, 4, 10, 12, 20)] == [10, 6, 0, 2, 10]


def test_times_follow_the_measurements_and_unknown_sizes_follow_their_pixels() -> None:
    times = CallTimes()
    small, large = MemoryKey(_1K, 0, mask=False), MemoryKey(_2K, 0, mask=False)
    times.add_call(small, 4, 2.0)
    assert times.shot_s(small) == 0.5
    assert times.shot_s(large) == 2.0
    times.add_call(small, 1, 1.5)
    assert times.shot_s(small) == 1.0
    times.add_load(8.0)
    assert times.load_s == 8.0


# --- Simulation ------------------------------------------------------------------------------------------------------


def _simulate(
    arrivals: Sequence[tuple[float, Size, int]], *, devices: int, image_s: float, load_s: float, preloaded: int
) -> tuple[float, list[float]]:
    """Run the rules with a simulated clock.

    An arrival is a time, a size and a number of images. Returns the time at which the last image is finished, and the
    time of each task from its arrival to its last image.
    """
    times = CallTimes()
    for size in {size for _, size, _ in arrivals}:
        times.add_call(MemoryKey(size, 0, mask=False), 1, image_s * size.width * size.height / 1024**2)
    times.add_load(load_s)
    waiting: list[QueuedShot] = []
    recipients = [CollectingRecipient() for _ in arrivals]
    left = [count for _, _, count in arrivals]
    loaded = [number < preloaded for number in range(devices)]
    busy_until = [0.0] * devices
    busy = [False] * devices
    in_call: list[list[QueuedShot]] = [[] for _ in range(devices)]
    durations = [0.0] * len(arrivals)
    events = [(at, 0, number) for number, (at, _, _) in enumerate(arrivals)]
    heapq.heapify(events)
    now = 0.0
    while events:
        now, kind, number = heapq.heappop(events)
        if kind == 0:
            _, size, count = arrivals[number]
            waiting += [QueuedShot(recipients[number], index, "a", 1, size, size) for index in range(count)]
        else:
            busy[number] = False
            loaded[number] = True
            for shot in in_call[number]:
                task = next(i for i, recipient in enumerate(recipients) if recipient is shot.recipient)
                left[task] -= 1
                durations[task] = now - arrivals[task][0]
            in_call[number] = []
        for device in range(devices):
            if busy[device] or not waiting:
                continue
            ready = [
                busy_until[other] - now if busy[other] else 0.0 if loaded[other] else load_s for other in range(devices)
            ]
            share = share_s(device, ready, [times.shot_s(shot.memory_key) for shot in waiting])
            if loaded[device]:
                limit = min(4, images_in(share, times.shot_s(waiting[0].memory_key)))
                in_call[device] = next_call(waiting, limit=limit, multiple_prompts=True)
                waiting = [shot for shot in waiting if shot not in in_call[device]]
                seconds = sum(times.shot_s(shot.memory_key) for shot in in_call[device])
            elif share:
                seconds = load_s
            else:
                continue
            busy[device], busy_until[device] = True, now + seconds
            heapq.heappush(events, (now + seconds, 1, device))
    assert not any(left)
    return now, durations


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_mixed_loads_are_finished_almost_as_early_as_possible(devices: int) -> None:
    chance = random.Random(devices)
    for _ in range(30):
        sizes = [chance.choice([_1K, _1K, _1K, _2K]) for _ in range(40)]
        arrivals = [(0.0, size, chance.randint(1, 9)) for size in sizes]
        makespan, _ = _simulate(arrivals, devices=devices, image_s=0.6, load_s=5.0, preloaded=devices)
        work = sum(0.6 * count * size.width * size.height / 1024**2 for _, size, count in arrivals)
        assert makespan <= 1.15 * work / devices


@pytest.mark.parametrize("count", range(1, 10))
@pytest.mark.parametrize("devices", [1, 2, 3, 4, 8])
def test_the_images_of_one_task_are_spread_over_all_idle_devices(count: int, devices: int) -> None:
    makespan, _ = _simulate([(0.0, _1K, count)], devices=devices, image_s=1.0, load_s=99, preloaded=devices)
    assert makespan == -(-count // devices)


def test_a_task_alone_takes_one_call_of_a_loaded_device() -> None:
    arrivals = [(10.0 * number, _1K, 1) for number in range(50)]
    _, durations = _simulate(arrivals, devices=4, image_s=0.6, load_s=5.0, preloaded=1)
    assert statistics.median(durations) == pytest.approx(0.6)
    assert max(durations) == pytest.approx(0.6)


def test_cold_devices_load_only_if_that_is_faster() -> None:
    few, _ = _simulate([(0.0, _1K, 8)], devices=4, image_s=0.6, load_s=5.0, preloaded=1)
    assert few == pytest.approx(4.8)
    many, _ = _simulate([(0.0, _1K, 9)] * 20, devices=4, image_s=0.6, load_s=5.0, preloaded=1)
    assert many <= 1.15 * (180 * 0.6 + 3 * 5.0) / 4


# --- Stand-in devices ------------------------------------------------------------------------------------------------


class Machine:
    """A queue with stand-in devices."""

    def __init__(
        self,
        devices: int,
        *,
        load_s: float = 0.0,
        image_s: float = 0.0,
        preload: bool = False,
        unload_after_s: float = 0.0,
    ) -> None:
        self.queue = ShotQueue(
            DeviceSettings(
                command=command(load_s, image_s),
                load_settings=lambda: {"model": "stand-in"},
                max_batch=4,
                multiple_prompts=True,
                start_limit_s=60.0,
                hang_limit_s=60.0,
                preload=preload,
                unload_after_s=unload_after_s,
            )
        )
        self.queue.start([DeviceThread(f"cuda:{number}", self.queue) for number in range(devices)])

    def submit(self, *prompts: str) -> CollectingRecipient:
        """Submit a task with one image per prompt."""
        recipient = CollectingRecipient()
        self.queue.put([QueuedShot(recipient, index, text, index, _1K, _1K) for index, text in enumerate(prompts)])
        return recipient

    def generate(self, *prompts: str) -> list[dict[str, object]]:
        """Return the facts of the images."""
        recipient = self.submit(*prompts)
        return [recipient.next().facts for _ in prompts]

    @property
    def loaded(self) -> list[str]:
        return [device.device for device in self.queue.devices if device.loaded]

    def wait_until_loaded(self, count: int) -> None:
        eventually_sync(lambda: len(self.loaded) == count)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Machine]]:
    machines: list[Machine] = []

    def start(devices: int, **settings: Any) -> Machine:
        machines.append(Machine(devices, **settings))
        return machines[-1]

    monkeypatch.setattr(devices_module, "Cooldown", lambda: Cooldown(first_s=0.05, longest_s=0.2))
    yield start
    for machine in machines:
        machine.queue.close()


def test_all_devices_load_the_model_before_the_first_task(start: Callable[..., Machine]) -> None:
    machine = start(3, preload=True)
    machine.wait_until_loaded(3)


def test_without_preload_lone_tasks_use_the_only_loaded_device(start: Callable[..., Machine]) -> None:
    machine = start(4)
    facts = [machine.generate("a")[0] for _ in range(8)]
    assert {fact["device"] for fact in facts} == {"0"}
    assert machine.loaded == ["cuda:0"]


def test_the_images_of_a_task_use_all_idle_devices(start: Callable[..., Machine], tmp_path: Path) -> None:
    machine = start(4, preload=True)
    machine.wait_until_loaded(4)
    gates = [tmp_path / f"gate{number}" for number in range(4)]
    recipient = machine.submit(*(f"[wait {gate}]" for gate in gates))
    for gate in gates:  # all four calls have started before the first of them ends
        eventually_sync(gate.with_suffix(".started").exists)
    for gate in gates:
        gate.touch()
    assert {recipient.next().facts["device"] for _ in gates} == {"0", "1", "2", "3"}


def test_images_that_wait_for_a_busy_device_share_a_call(start: Callable[..., Machine], tmp_path: Path) -> None:
    machine = start(1, preload=True)
    gate = tmp_path / "gate"
    first = machine.submit(f"[wait {gate}]")
    eventually_sync(gate.with_suffix(".started").exists)
    others = machine.submit(*"abcd")
    gate.touch()
    first.next()
    assert [others.next().facts["batch"] for _ in range(4)] == [4] * 4


def test_a_cold_device_loads_when_the_loaded_device_stays_busy(start: Callable[..., Machine], tmp_path: Path) -> None:
    machine = start(2)
    assert machine.generate("a")[0]["device"] == "0"
    gate = tmp_path / "gate"
    machine.submit(f"[wait {gate}]")
    eventually_sync(gate.with_suffix(".started").exists)
    assert machine.generate("a")[0]["device"] == "1"


def test_other_devices_generate_the_images_of_a_device_that_cannot_load_the_model(
    start: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_BROKEN", "0,2")
    machine = start(3, preload=True)
    machine.wait_until_loaded(1)
    assert {fact["device"] for fact in machine.generate(*"abcde")} == {"1"}
    eventually_sync(lambda: all(device.load_error for device in machine.queue.devices if device.device != "cuda:1"))
    assert machine.queue.devices[0].load_error == "the driver is too old"


def test_waiting_images_are_told_that_no_device_can_load_the_model(
    start: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_BROKEN", "0,1")
    machine = start(2)
    with pytest.raises(Unavailable, match="the driver is too old"):
        machine.generate(*"abcdefgh")


@pytest.mark.parametrize("devices", [1, 2])
def test_waiting_images_are_told_of_an_unexpected_error_while_loading(
    start: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch, devices: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError("too many open files")

    monkeypatch.setattr(devices_module, "ChildProcess", fail)
    machine = start(devices)
    with pytest.raises(Unavailable, match=r"internal error \(OSError\)"):
        machine.generate(*"abcdefgh")


def test_devices_that_fail_slowly_one_after_the_other_do_not_keep_images_waiting(
    start: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices_module, "Cooldown", lambda: Cooldown(first_s=0.0, longest_s=0.0))
    monkeypatch.setenv("STAND_IN_BROKEN", "0,1")
    machine = start(2, preload=True)
    recipient = machine.submit("a")
    with pytest.raises(Unavailable, match="the driver is too old"):
        recipient.next()


def test_after_a_fault_the_device_loads_the_model_again_without_a_task(start: Callable[..., Machine]) -> None:
    machine = start(2, preload=True)
    machine.wait_until_loaded(2)
    pids = {device.pid for device in machine.queue.devices}
    with pytest.raises(Failed, match="second crash"):
        machine.generate("[fault]")
    machine.wait_until_loaded(2)
    assert len(pids & {device.pid for device in machine.queue.devices}) <= 1
    machine.generate(*"abcd")


def test_a_device_without_work_unloads_the_model_and_loads_it_again(start: Callable[..., Machine]) -> None:
    machine = start(1, preload=True, unload_after_s=0.05)
    machine.generate("a")
    eventually_sync(lambda: machine.queue.devices[0].pid is None)
    machine.generate("a")


def test_a_process_that_dies_without_work_is_replaced_without_a_task(
    start: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framehouse.engines.diffusers.shot_queue._LOOK_AGAIN_S", 0.05)
    machine = start(1, preload=True)
    machine.wait_until_loaded(1)
    pid = machine.queue.devices[0].pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    eventually_sync(lambda: machine.queue.devices[0].pid not in (None, pid) and machine.queue.devices[0].loaded)


def test_closing_ends_devices_that_are_loading(start: Callable[..., Machine]) -> None:
    machine = start(2, preload=True, load_s=600.0)
    eventually_sync(lambda: all(device.pid for device in machine.queue.devices))
    closing = threading.Thread(target=machine.queue.close)
    closing.start()
    closing.join(30)
    assert not closing.is_alive()
    assert [device.pid for device in machine.queue.devices] == [None, None]
