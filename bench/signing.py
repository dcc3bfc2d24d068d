"""Measure how much time signing adds to the finishing of one 1k PNG and its preview."""

import statistics
import time
from dataclasses import replace

from framehouse.adapters.content_credentials.certificates import create_identity
from framehouse.adapters.content_credentials.credential_signer import CredentialSigner
from framehouse.domain.sizes import Size
from framehouse.pipeline.finish import Finishing, finish
from measuring.comparisons import Figure, median, run_rounds
from measuring.photo import photo

SIZE = Size(1024, 1024)
UNSIGNED = Finishing(software="Framehouse bench")
IMAGES = 15
"""The number of images per round. Their median is the value of the round."""


def measure(rounds: int) -> list[Figure]:
    pixels = photo(SIZE.width, SIZE.height)
    signed = replace(UNSIGNED, signer=CredentialSigner(create_identity()))
    facts = {"model": "bench", "engine": "bench", "task": "bench", "prompt": "a fox", "index": 0, "seed": 1}
    sizes: dict[str, int] = {}

    def time_of(name: str, finishing: Finishing) -> float:
        times = []
        for _ in range(IMAGES):
            began = time.perf_counter()
            finished = finish(pixels, SIZE, facts, finishing, source_type="trainedAlgorithmicMedia", watermark=False)
            times.append(time.perf_counter() - began)
            sizes[name] = len(finished.content)
        return statistics.median(times)

    time_of("signed", signed)  # the first call loads the library
    contenders = {"signed": lambda: time_of("signed", signed), "unsigned": lambda: time_of("unsigned", UNSIGNED)}
    times = run_rounds(contenders, 2 * rounds)
    added_ms = statistics.median(values["signed"] - values["unsigned"] for values in times) * 1000
    return [
        Figure(
            "time to sign one 1k PNG and its preview",
            "finishing without signing",
            added_ms,
            8,
            True,
            "ms",
            f"{median(times, 'signed') * 1000:.1f} ms",
            f"{median(times, 'unsigned') * 1000:.1f} ms",
            f"the PNG grows by {(sizes['signed'] - sizes['unsigned']) / 1000:.1f} kB",
            rounds=times,
        ),
    ]
