"""One stand-in for each place that `framehouse setup` looks for, and the environment of a user who has an account."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from tests.support import compatible_server, fal_server, gemini_server, openai_server
from tests.support.comfyui_server import Comfy, comfyui
from tests.support.compatible_server import CompatibleServer
from tests.support.fal_server import FalServer
from tests.support.gemini_server import GeminiServer
from tests.support.kling_upstream import Upstream, upstream
from tests.support.openai_server import ModelServer

_ACCESS_KEY = "an-access-key-of-kling"


@dataclass
class OneOfEach:
    """The stand-ins, named like the routes that the command writes."""

    comfyui: Comfy
    sglang: ModelServer
    openai: ModelServer
    gemini: GeminiServer
    fal: FalServer
    xai: CompatibleServer
    seedream: CompatibleServer
    kling: Upstream

    @property
    def options(self) -> tuple[str, ...]:
        """The command-line options with the addresses of ComfyUI and of the model server."""
        return "--comfyui", self.comfyui.url, "--server", self.sglang.url.removesuffix("/v1")

    @property
    def urls(self) -> dict[str, str]:
        return {
            "OPENAI_BASE_URL": self.openai.url,
            "GOOGLE_GEMINI_BASE_URL": self.gemini.url.removesuffix("/v1beta"),
            "FAL_QUEUE_RUN_HOST": self.fal.url,
            "XAI_BASE_URL": self.xai.url,
            "ARK_BASE_URL": self.seedream.url,
            "KLING_BASE_URL": self.kling.base_url,
        }

    @property
    def keys(self) -> dict[str, str]:
        return {
            "OPENAI_API_KEY": self.openai.key,
            "GEMINI_API_KEY": self.gemini.key,
            "FAL_KEY": self.fal.key,
            "XAI_API_KEY": compatible_server.KEY,
            "ARK_API_KEY": compatible_server.KEY,
            "KLING_ACCESS_KEY": _ACCESS_KEY,
            "KLING_SECRET_KEY": f"secret of {_ACCESS_KEY}",
        }


@asynccontextmanager
async def one_of_each() -> AsyncIterator[OneOfEach]:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        yield OneOfEach(
            comfyui=await enter(comfyui()),
            sglang=await enter(openai_server.serving("sglang")),
            openai=await enter(openai_server.serving("openai", model="gpt-image-2", key="sk-0p3n")),
            gemini=await enter(gemini_server.serving()),
            fal=await enter(fal_server.serving()),
            xai=await enter(compatible_server.serving("xai", model="grok-imagine-image-quality")),
            seedream=await enter(compatible_server.serving("seedream", model="doubao-seedream-4-5-251128")),
            kling=await enter(upstream(accounts={_ACCESS_KEY: 100})),
        )
