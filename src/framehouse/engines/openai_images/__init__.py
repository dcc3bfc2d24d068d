"""Any server with /v1/images/generations and /v1/images/edits as an engine: SGLang, vLLM-Omni, Xinference, OpenAI.

kinds.py says what each takes, exchange.py sends one request and tells what its answer means, probe.py finds out what
a server does with references, replicas.py chooses among several, engine.py puts it together.
"""

from framehouse.engines.openai_images.openai_images_engine import OpenAIImages

__all__ = ["OpenAIImages"]
