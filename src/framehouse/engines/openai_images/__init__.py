"""An engine for servers that implement OpenAI's Images API: SGLang, vLLM-Omni, Xinference and OpenAI.

The engine uses the endpoints /v1/images/generations and /v1/images/edits.

Reading order of the modules: `server_kinds` lists the fields that each kind of server accepts. `http_exchange`
classifies the responses. `reference_probe` tests how a server uses references. `openai_images_options` checks the
options. `openai_images_engine` contains the engine. The modules `engines.server_requests` and `engines.replicas` send
one request, and choose a server for each request.
"""

from framehouse.engines.openai_images.openai_images_engine import OpenAIImages

__all__ = ["OpenAIImages"]
