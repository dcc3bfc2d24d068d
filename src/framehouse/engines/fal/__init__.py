"""An engine that buys images from models on fal.

Reading order of the modules: `fal_arguments` fills in the arguments of a model. `fal_queue` sends requests to fal and
classifies the responses. `fal_orders` contains the saved data of an order. `fal_steps` contains the steps of an order,
from saving it to fetching its images. `fal_options` checks the options. `fal_engine` contains the engine.
"""

from framehouse.engines.fal.fal_engine import Fal

__all__ = ["Fal"]
