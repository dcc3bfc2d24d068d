"""Measure how much CPU time signing adds to the finishing of one 1k PNG and its preview."""

import statistics
import time
from collections import defaultdict
from dataclasses import replace
from typing import Any

from framehouse.adapters.content_credentials.certificates import create_identity
from framehouse.adapters.content_credentials.credential_signer import CredentialSigner
from framehouse.domain.sizes import Size
from framehouse.pipeline.finish import Finishing, finish
from measuring.comparisons import Figure, median
from measuring.photo import photo

SIZE = Size(1024, 1024)
UNSIGNED = Finishing(software="Framehouse bench")
IMAGES = 20
"""The number of images per round. Their medians are the values of the round."""


class TimedSigner(CredentialSigner):
    """A signer that records the CPU time of each call in milliseconds, by the media type of the file.

    One thread does all the work, so other processes do not change its CPU time.
    """

    def __init__(self) -> None:
        super().__init__(create_identity())
        self.cpu_ms: dict[str, list[float]] = defaultdict(list)

    def sign(self, content: bytes, media_type: str, *arguments: Any, **options: Any) -> bytes:
        began = time.thread_time()
        signed = super().sign(content, media_type, *arguments, **options)
        self.cpu_ms[media_type].append((time.thread_time() - began) * 1000)
        return signed


def measure(rounds: int) -> list[Figure]:
    pixels = photo(SIZE.width, SIZE.height)
    facts = {"model": "bench", "engine": "bench", "task": "bench", "prompt": "a fox", "index": 0, "seed": 1}

    def finish_image(finishing: Finishing) -> int:
        finished = finish(pixels, SIZE, facts, finishing, source_type="trainedAlgorithmicMedia", watermark=False)
        return len(finished.content)

    growth, values_of_rounds = 0, []
    for _ in range(2 * rounds):
        signer, unsigned_ms = TimedSigner(), []
        signed = replace(UNSIGNED, signer=signer)
        finish_image(signed)  # the first call loads the library
        for _ in range(IMAGES):
            began = time.perf_counter()
            size = finish_image(UNSIGNED)
            unsigned_ms.append((time.perf_counter() - began) * 1000)
            growth = finish_image(signed) - size
        values = {name: statistics.median(times) for name, times in signer.cpu_ms.items()}
        values_of_rounds.append(values | {"unsigned": statistics.median(unsigned_ms)})
        print("   ", ", ".join(f"{name} {value:.1f} ms" for name, value in values_of_rounds[-1].items()))
    return [
        Figure(
            "CPU time to sign one 1k PNG",
            "finishing without signing",
            median(values_of_rounds, "image/png"),
            8,
            True,
            "ms",
            f"and {median(values_of_rounds, 'image/webp'):.1f} ms for its preview",
            f"elapsed: {median(values_of_rounds, 'unsigned'):.1f} ms",
            f"the PNG grows by {growth / 1000:.1f} kB",
            rounds=values_of_rounds,
        ),
    ]
