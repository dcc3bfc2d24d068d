"""An engine that orders images from Kling, from a reseller of Kling, or from another Framehouse server.

Reading order of the modules: `upstream` sends requests, and `upstream_answers` classifies the
responses. `upstream_accounts` chooses the
account that pays for an order. `orders` builds orders and converts orders to and from the saved data. `order_steps`
contains the steps of one order, from saving the order to fetching its images. `kling_engine` contains the engine.
"""

from framehouse.engines.kling.kling_engine import Kling

__all__ = ["Kling"]
