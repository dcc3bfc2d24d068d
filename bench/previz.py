"""Measure the time of the engine `previz` for a panel on one core, as medians of thirty prompts, and its memory.

    make bench NAME=previz

The process limits itself to one core, because the renderer would otherwise use threads on other cores.
"""

import os
import resource
import statistics
import sys
import threading
import time

if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
os.environ["VIPS_CONCURRENCY"] = "1"

from framehouse.domain.shot import FRAMINGS, Shot
from framehouse.domain.sizes import RATIOS, size_of
from framehouse.engines.previz.panel import draw_panel

PROMPTS = (
    "a red fox in the forest",
    "two cats on a sofa in a living room",
    "a sailboat on the sea at sunset",
    "a city street at night in the rain",
    "雪山下的小木屋，夜晚，星空",
    "Create a three-frame product storyboard",
    "an astronaut on the moon",
    "a coral reef with fish",
    "a camel in the desert",
    "一杯咖啡，咖啡馆",
    "a chef in the kitchen",
    "an old man reading a book in a library",
    "a violin on stage",
    "a hot air balloon in the sky",
    "a horse in a meadow in spring",
    "a parrot in the jungle",
    "three penguins on a glacier",
    "a lighthouse in a storm",
    "a robot in the city",
    "一个女孩和一只小狗在海滩上",
    "a knight riding a horse, misty mountains",
    "sneakers, product shot",
    "a cat on a bicycle, watercolor",
    "a wolf, ink sketch",
    "山水，水墨画",
    "a rocket, blueprint",
    "a car in a neon city",
    "a deer in the forest, paper cut",
    "a lion, photo",
    "a castle, oil painting",
)
TARGETS_MS = {"1k": 150, "2k": 500, "4k": 700}


def generate(number: int, resolution: str) -> float:
    size = size_of(RATIOS[number % len(RATIOS)], resolution)
    shot = Shot(0, PROMPTS[number], FRAMINGS[number % 3] if number % 2 else "", 100 + number)
    start = time.perf_counter()
    draw_panel(shot, 1, size)
    return (time.perf_counter() - start) * 1000


def longest_stall_ms(resolution: str) -> float:
    """Return the longest time that a second thread waited for the GIL while panels were drawn."""
    longest, stop = 0.0, threading.Event()

    def tick() -> None:
        nonlocal longest
        before = time.perf_counter()
        while not stop.wait(0.001):
            now = time.perf_counter()
            longest, before = max(longest, now - before), now

    ticker = threading.Thread(target=tick)
    ticker.start()
    for number in range(6):
        generate(number, resolution)
    stop.set()
    ticker.join()
    return longest * 1000


def main() -> int:
    for number in range(len(PROMPTS)):
        generate(number, "1k")  # loads the pictograms, the fonts and the vocabulary
    print(f"{len(PROMPTS)} prompts, one core, milliseconds per panel\n")
    print("resolution   median   slowest   target   longest stall of another thread")
    missed = False
    for resolution, target in TARGETS_MS.items():
        times = [generate(number, resolution) for number in range(len(PROMPTS))]
        median = statistics.median(times)
        missed |= median > target
        stall = longest_stall_ms(resolution)
        print(f"{resolution:10}   {median:6.0f}   {max(times):7.0f}   {target:6d}   {stall:7.0f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    print(f"\nmaximum memory of the process: {peak:.0f} MB (target 400)")
    return int(missed or peak > 400)


if __name__ == "__main__":
    sys.exit(main())
