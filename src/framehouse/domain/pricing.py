"""The default price of an image in units, for each resolution."""

from collections.abc import Mapping

DEFAULT_UNITS: Mapping[str, int] = {"1k": 8, "2k": 8, "4k": 16}
