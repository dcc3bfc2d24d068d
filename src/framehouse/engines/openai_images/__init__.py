"""An engine for servers that implement OpenAI's Images API: SGLang, vLLM-Omni, Xinference and OpenAI.

The engine uses the endpoints /v1/images/generations and /v1/images/edits.

Reading order of the modules: `server_kinds` lists the fields that each kind of server accepts. `engines.http_exchange`
sends one request and classifies the response. `returned_images` decodes the images of a response. `reference_probe`
tests how a server uses references. `replicas` chooses a server for each request. `openai_images_options` checks the
options. `openai_images_engine` contains the engine.
"""

from framehouse.engines.openai_images.openai_images_engine import OpenAIImages

__all__ = ["OpenAIImages"]
