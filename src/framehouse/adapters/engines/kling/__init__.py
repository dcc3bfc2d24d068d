"""The contract as a client: pictures ordered from Kling, a reseller, or another Framehouse.

orders (what is asked for, and what is written down before) -> accounts (who pays, how much at once) -> upstream (the
wire, and what its answers mean) -> engine (the life of an order)
"""

from framehouse.adapters.engines.kling.engine import Kling

__all__ = ["Kling"]
