"""The built-in engine. It draws each shot as a storyboard panel, without network access and without a model.

Every panel is marked as a preview. A panel is created in these steps:

1. `sandbox` finds the triggers in the prompt that request simulated failures.
2. `reading` converts the prompt into a `scene`, using the words in `vocabulary` and `lexicon`.
3. `view` and `light` choose the camera and the light.
4. `backdrops`, `subjects` and `panel` draw the scene.
5. `styles` and `lettering` add the style and the text.
"""

from framehouse.engines.previz.previz_engine import Previz

__all__ = ["Previz"]
