"""A stand-in for each upstream that an engine can use, routes to all of them, and random faults."""

import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.support import comfyui_server, compatible_server, fal_server, gemini_server, openai_server
from tests.support.comfyui_server import Comfy
from tests.support.compatible_server import CompatibleServer
from tests.support.fal_server import FalServer
from tests.support.gemini_server import GeminiServer
from tests.support.kling_upstream import Upstream, upstream
from tests.support.openai_server import ModelServer

PAID_ENGINES = ("kling", "fal", "gemini", "openai", "seedream")
_DELAY_S = 0.25
_SUBJECT = re.compile(r"fox number (\d+)")
WAIT = {"Retry-After": "1"}
_BUSY = {"error": {"message": "the service is busy", "code": "rate_limit_exceeded"}}
_GEMINI_BUSY = gemini_server.error(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")


@dataclass
class AllUpstreams:
    """The running stand-ins. `injected` counts the injected faults by engine and name."""

    kling: Upstream
    fal: FalServer
    gemini: GeminiServer
    openai: ModelServer
    seedream: CompatibleServer
    comfyui: Comfy
    injected: Counter[tuple[str, str]] = field(default_factory=Counter)
    _kling_faults: list[tuple[str, str]] = field(default_factory=list)
    _fal_faults: dict[str, Any] = field(default_factory=dict)

    def routes(self) -> list[dict[str, Any]]:
        """One route for each engine. Routes to paid engines have a price."""
        price = {"price": 0.25, "currency": "USD"}
        accounts = [{"api_key": key, "concurrency": images} for key, images in self.kling.accounts.items()]
        kling = {"base_url": self.kling.base_url, "accounts": accounts, "answer_s": 0.6, "lost_after_s": 2.5}
        fal = {"model": "fal-ai/x", "edit_model": "fal-ai/x/edit", "api_key": self.fal.key, "queue_url": self.fal.url}
        seedream = {
            "kind": "compatible",
            "base_urls": [self.seedream.url],
            "references_as": "data_urls",
            "max_references": 14,
            "native_series": True,
            "sizes": ["2048x2048", "2304x1728"],
            "api_key": compatible_server.KEY,
        }
        openai = {"kind": "openai", "base_urls": [self.openai.url], "max_pixels": 65_536}
        return [
            {"engine": "kling", "name": "kling"} | kling | price,
            {"engine": "fal", "name": "fal", "storage_url": self.fal.url, "answer_s": 5} | fal | price,
            {"engine": "gemini", "name": "gemini", "base_url": self.gemini.url, "model": self.gemini.model}
            | {"api_key": self.gemini.key, "max_resolution": "1k", "timeout_s": 5}
            | price,
            {"engine": "openai_images", "name": "openai", "model": "m", "timeout_s": 5} | openai | price,
            {"engine": "openai_images", "name": "seedream", "model": "m", "timeout_s": 5} | seedream | price,
            {"engine": "comfyui", "name": "comfyui", "servers": [self.comfyui.url], "max_pixels": 65_536}
            | comfyui_server.WORKFLOWS,
        ]

    def inject_fault(self, random_source: random.Random) -> None:
        """Make one of the next requests to a random upstream fail in a random way."""
        faults = self._faults()
        engine = random_source.choice(list(faults))
        name, inject = random_source.choice(faults[engine])
        inject()
        self.injected[engine, name] += 1

    def _faults(self) -> dict[str, list[tuple[str, Callable[[], None]]]]:
        """The functions that inject a fault, by engine, with the names of the faults."""
        gemini, openai, seedream, comfyui = self.gemini, self.openai, self.seedream, self.comfyui
        orders = ("cut", "half", "html", "no id", "late", "before cut", "before 429 1303", "before 503 5001")
        queries = ("cut", "half", "before html", "before 429 1302")
        kling = [("POST", fault) for fault in orders] + [("GET", fault) for fault in queries]
        fal: list[tuple[str, Any]] = [
            *(("submit", fault) for fault in ("cut", "late cut", (429, WAIT, {"detail": "slow down"}))),
            *((step, fault) for step in ("status", "result") for fault in ("cut", "html", "half")),
            *(("image", fault) for fault in ("cut", "html")),
        ]
        steps = ("POST /prompt", "GET /history", "GET /view", "POST /upload")
        return {
            "kling": [(" ".join(fault), partial(self._kling_faults.append, fault)) for fault in kling],
            "fal": [(f"{step} {fault}", partial(self._fal_faults.__setitem__, step, fault)) for step, fault in fal],
            "gemini": [
                ("refused", partial(gemini.faults.append, (503, WAIT, _GEMINI_BUSY))),
                ("cut", partial(gemini.faults.append, "cut")),
                ("half", partial(gemini.faults.append, "half")),
            ],
            "openai": [
                ("refused", partial(openai.faults.append, (429, WAIT, "slow down"))),
                ("cut", partial(openai.faults.append, "cut")),
                ("half", partial(openai.faults.append, "half")),
            ],
            "seedream": [
                ("refused", partial(seedream.faults.append, (429, WAIT, _BUSY))),
                ("cut", partial(seedream.faults.append, "cut")),
                ("failed download", partial(seedream.file_faults.append, 503)),
            ],
            "comfyui": [
                *((f"{step} cut", partial(comfyui.faults.setdefault(step, []).append, "cut")) for step in steps),
                *((f"{step} lost", partial(comfyui.faults.setdefault(step, []).append, "lost")) for step in steps),
                ("sockets closed", comfyui.drop_sockets),
                ("restart", partial(comfyui.job_faults.append, "restart")),
            ],
        }

    def next_kling_fault(self, method: str, path: str) -> str:
        for number, (fault_method, fault) in enumerate(self._kling_faults):
            if fault_method == method and not path.endswith("/cancel"):
                del self._kling_faults[number]
                return fault
        return ""

    def next_fal_fault(self, step: str) -> Any:
        return self._fal_faults.pop(step, "")

    def stop_faults(self) -> None:
        """Remove the injected faults that no request has met yet."""
        self._kling_faults.clear()
        self._fal_faults.clear()
        for faults in (self.gemini.faults, self.openai.faults, self.seedream.faults, self.seedream.file_faults):
            faults.clear()
        self.comfyui.faults.clear()
        self.comfyui.job_faults.clear()

    def paid_images(self) -> dict[str, Counter[str]]:
        """The number of images of each task that each paid engine was asked for without a refusal.

        The keys are the names of the engines, and then the numbers of the tasks.
        """
        kling: Counter[str] = Counter()
        for task in self.kling.tasks.values():
            kling[task.body["prompt"]] += task.images
        by_prompt = {
            "kling": kling,
            "fal": self.fal.paid,
            "gemini": self.gemini.paid,
            "openai": self.openai.paid,
            "seedream": self.seedream.paid,
        }
        result = {}
        for engine, counter in by_prompt.items():
            result[engine] = Counter[str]()
            for prompt, images in counter.items():
                result[engine][subject_of(prompt)] += images
        return result

    def remembered_jobs(self) -> Counter[str]:
        """The number of jobs of each task that ComfyUI has accepted and not forgotten in a restart."""
        jobs = (job for job in self.comfyui.placed if job.id not in self.comfyui.forgotten)
        return Counter(subject_of(str(job.nodes)) for job in jobs)


def subject_of(prompt: str) -> str:
    """The number of the task in a prompt."""
    match = _SUBJECT.search(prompt)
    assert match, f"a prompt of no task: {prompt}"
    return match[1]


@asynccontextmanager
async def all_upstreams() -> AsyncIterator[AllUpstreams]:
    async with AsyncExitStack() as stack:
        served = AllUpstreams(
            await stack.enter_async_context(
                upstream(accounts={"one": 6, "two": 12}, seconds=0.4, dedupes=False, delay_s=1.0, size_divisor=16)
            ),
            await stack.enter_async_context(fal_server.serving(polls=2)),
            await stack.enter_async_context(gemini_server.serving(delay_s=_DELAY_S)),
            await stack.enter_async_context(openai_server.serving("openai", delay_s=_DELAY_S)),
            await stack.enter_async_context(compatible_server.serving("seedream", delay_s=_DELAY_S)),
            await stack.enter_async_context(comfyui_server.comfyui()),
        )
        served.kling.fault = served.next_kling_fault
        served.fal.fault = served.next_fal_fault
        yield served
