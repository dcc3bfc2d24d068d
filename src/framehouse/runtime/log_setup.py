"""Set up logging for a process: text or JSON lines on standard error."""

import logging
import sys

log = logging.getLogger(__name__)


def set_up_logging(level: str, format: str = "text") -> None:
    """Log lines on standard error, as text or JSON; prompts, keys and images are never in them."""
    logging.basicConfig(
        level=level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    if format == "json":
        from framehouse.adapters.telemetry.logs import JsonLines
        from framehouse.adapters.telemetry.safe_traceback import trace

        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonLines(trace))
        logging.captureWarnings(True)
        sys.excepthook = lambda _kind, error, _places: log.critical("ended by an error: %s", trace(error))
    for name in ("httpx", "httpcore", "asyncio", "pyvips"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
    # what these log of requests, lost connections and collectors, our own lines report
    for name in ("uvicorn.error", "asyncpg", "opentelemetry"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
