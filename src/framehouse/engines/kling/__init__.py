"""The contract as a client: pictures ordered from Kling, a reseller, or another Framehouse.

upstream (the wire, and what its answers mean) -> accounts (who pays, how much at once) -> orders (what is asked for,
and what is written down before) -> life (an order from the note to the pictures) -> engine
"""

from framehouse.engines.kling.kling_engine import Kling

__all__ = ["Kling"]
