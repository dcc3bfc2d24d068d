"""The built-in engine: draws each shot as a storyboard panel. Offline, no model, and honest about being a preview.

sandbox -> reading (vocabulary, lexicon) -> scene -> view, light -> backdrops, subjects -> panel -> styles, lettering
"""

from framehouse.engines.previz.previz_engine import Previz

__all__ = ["Previz"]
