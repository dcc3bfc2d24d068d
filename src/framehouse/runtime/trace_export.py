"""Export traces to an OpenTelemetry collector while a process runs."""

import contextlib
import logging
import os
from collections.abc import Iterator

from framehouse import __version__
from framehouse.settings import BadSettings

log = logging.getLogger(__name__)


@contextlib.contextmanager
def export_traces(process: str, *, endpoint: str, ratio: float) -> Iterator[None]:
    """While this is open, traces go to the collector at `endpoint`, or to that of OpenTelemetry's own variables.

    Without either, nothing is exported. Raises BadSettings if `endpoint` is set and the packages for it are missing.
    """
    by_variable = any(os.environ.get(f"OTEL_EXPORTER_OTLP_{name}ENDPOINT") for name in ("", "TRACES_"))
    if not (endpoint or by_variable) or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        yield
        return
    from framehouse.adapters.telemetry import spans

    try:
        spans.start(process, version=__version__, endpoint=endpoint, ratio=ratio)
    except spans.NoTracing as error:
        if endpoint:
            raise BadSettings(f"Settings: otlp_endpoint: {error}") from error
        log.warning("no traces, although OTEL_EXPORTER_OTLP_ENDPOINT is set: %s", error)
    try:
        yield
    finally:
        spans.stop()
