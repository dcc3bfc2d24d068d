"""An engine for servers with /v1/images/generations and /v1/images/edits: SGLang, vLLM-Omni, Xinference, OpenAI.

Reading order: `server_kinds` lists what each kind of server accepts; `http_exchange` sends one request and classifies
the answer; `reference_probe` tests what a server does with references; `replicas` chooses among servers;
`openai_images_options` checks the options; `openai_images_engine` is the engine.
"""

from framehouse.engines.openai_images.openai_images_engine import OpenAIImages

__all__ = ["OpenAIImages"]
