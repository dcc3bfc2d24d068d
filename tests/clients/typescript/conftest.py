"""The browser of the tests of the TypeScript client."""

from tests.support.chromium import browser, chromium_url

__all__ = ["browser", "chromium_url"]
