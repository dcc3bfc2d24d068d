"""An engine that orders images from Kling, from a reseller of Kling, or from another Framehouse server.

Reading order of the modules: `upstream` sends requests and classifies the responses. `upstream_accounts` chooses the
account that pays for an order. `orders` builds orders and converts orders to and from their saved form. `order_steps`
processes one order from its saved record to its images. `kling_engine` contains the engine.
"""

from framehouse.engines.kling.kling_engine import Kling

__all__ = ["Kling"]
