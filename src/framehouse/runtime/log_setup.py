"""Set up logging for a process: text or JSON lines on standard error."""

import logging
import sys

log = logging.getLogger(__name__)


def set_up_logging(level: str, format: str = "text") -> None:
    """Write log lines to standard error, as text or JSON. Log lines never contain keys or images.

    Log lines may contain prompts only at the level debug: at this level, they may contain messages of engines that
    quote a prompt.
    """
    logging.basicConfig(
        level=level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    if format == "json":
        from framehouse.adapters.telemetry.logs import JsonLines
        from framehouse.adapters.telemetry.safe_traceback import safe_traceback

        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonLines(safe_traceback))
        logging.captureWarnings(True)
        sys.excepthook = lambda _kind, error, _traceback: log.critical("uncaught error: %s", safe_traceback(error))
    for name in ("httpx", "httpcore", "asyncio", "pyvips"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
    # Framehouse itself logs requests, lost connections and export errors, so these loggers would repeat its log lines
    for name in ("uvicorn.error", "asyncpg", "opentelemetry"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
