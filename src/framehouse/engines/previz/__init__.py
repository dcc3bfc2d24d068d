"""The built-in engine: draws each shot as a storyboard panel, offline and without a model.

Every panel is marked as a preview. The steps of a shot, with their modules: test triggers (`sandbox`), words to a scene
(`reading` with `vocabulary` and `lexicon`, `scene`), camera and light (`view`, `light`), drawing (`backdrops`,
`subjects`, `panel`), and finish (`styles`, `lettering`).
"""

from framehouse.engines.previz.previz_engine import Previz

__all__ = ["Previz"]
