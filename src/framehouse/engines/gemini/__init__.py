"""An engine that buys images from the Gemini API.

Reading order of the modules: `gemini_requests` builds a request. `gemini_answers` classifies a response.
`engines.http_exchange` sends a request. `gemini_engine` contains the engine.
"""

from framehouse.engines.gemini.gemini_engine import Gemini

__all__ = ["Gemini"]
