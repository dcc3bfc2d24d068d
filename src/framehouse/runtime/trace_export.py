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
    """Export traces while the `with` body runs.

    `endpoint` is the URL of the collector. If `endpoint` is empty, OpenTelemetry's environment variables specify the
    URL. Nothing is exported if no URL is specified, or if OTEL_SDK_DISABLED is `true`. If the packages for tracing are
    missing and `endpoint` is set, this function raises BadSettings. If the packages are missing and `endpoint` is
    empty, this function logs a warning.
    """
    in_environment = any(os.environ.get(f"OTEL_EXPORTER_OTLP_{name}ENDPOINT") for name in ("", "TRACES_"))
    if not (endpoint or in_environment) or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        yield
        return
    from framehouse.adapters.telemetry import spans

    try:
        spans.start(process, version=__version__, endpoint=endpoint, ratio=ratio)
    except spans.NoTracing as error:
        if endpoint:
            raise BadSettings(f"Settings: otlp_endpoint: {error}") from error
        log.warning("the environment specifies an OTLP endpoint, but traces are not exported: %s", error)
    try:
        yield
    finally:
        spans.stop()
