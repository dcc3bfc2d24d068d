"""A client of the wire contract: orders images from Kling, from a reseller, or from another Framehouse.

Reading order: `upstream` sends requests and classifies the answers; `upstream_accounts` chooses the account that pays;
`orders` builds orders and their saved form; `order_steps` takes one order from the saved record to the images;
`kling_engine` is the engine.
"""

from framehouse.engines.kling.kling_engine import Kling

__all__ = ["Kling"]
