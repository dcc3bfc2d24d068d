"""Fixtures of a real Chromium, whose colours are compared with ours."""

from tests.support.chromium import browser, chromium_url

__all__ = ["browser", "chromium_url"]
