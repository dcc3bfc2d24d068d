"""An engine for servers that implement OpenAI's Images API: SGLang, vLLM-Omni, Xinference, OpenAI and compatible ones.

The engine uses the endpoints /v1/images/generations and /v1/images/edits. The kind `compatible` uses any base URL.

Reading order of the modules: `server_kinds` lists the fields that each kind of server accepts. `compatible_options` and
`compatible_requests` do so for the kind `compatible`. `openai_images_options` checks the options. `server_client`
builds the requests. `returned_images` reads the images of a response. `reference_probe` tests how a server uses
references, and `replica_probes` keeps the results. `server_health` checks the servers. `openai_images_engine` contains
the engine.

Several engines share these modules: `http_exchange` sends one request, `error_replies` classifies error responses, and
`replicas` chooses a server for each request.
"""

from framehouse.engines.openai_images.openai_images_engine import OpenAIImages

__all__ = ["OpenAIImages"]
