"""Open weights on this machine's own devices, by Hugging Face's diffusers.

models (what differs from one to the next) and weights (what of them is here, how more comes) -> options (a route's
settings, checked) -> calls (what is painted together) -> devices (a thread per device, and what it does about trouble)
-> child (one spawned process, as seen from here) | wire | process (the same, as seen from inside: the only place where
torch is loaded) -> engine
"""

from framehouse.engines.diffusers.diffusers_engine import Diffusers

__all__ = ["Diffusers"]
