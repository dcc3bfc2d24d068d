"""Record traces and export them with OTLP.

If no collector is configured, OpenTelemetry is not imported and each function returns immediately.

Each task has a separate trace. The trace id is the task id, and the id of the root span is the lower half of the task
id. Every process can derive both ids from the task id, so no trace data is stored with the task. The root span
represents the request that created the task. If the client sent a `traceparent` header, the client's trace also
contains a span for this request. The root span and this span link to each other.

Span attributes contain ids, configured names and counts. Attributes never contain prompts, keys, URLs or error
messages.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext

log = logging.getLogger(__name__)
_LOW_64, _LOW_56 = 2**64 - 1, 2**56 - 1
_STOP_TIMEOUT_S = 2.0
_WARN_EVERY_S = 60.0
_NO_SPAN: AbstractContextManager[None] = nullcontext()
_tracing: "_Tracing | None" = None


class NoTracing(Exception):
    """Raised when tracing is configured but the packages for tracing are not installed."""


def start(process: str, *, version: str, endpoint: str, ratio: float) -> None:
    """Start exporting traces. The service name is the value of OTEL_SERVICE_NAME, or `framehouse-<process>`.

    `endpoint` is the base URL of the collector. If `endpoint` is empty, the environment variables OTEL_EXPORTER_OTLP_…
    specify the URL. `ratio` is the fraction of tasks to trace, from 0 to 1. Raises NoTracing.
    """
    global _tracing
    try:
        _tracing = _Tracing(process, version, endpoint, ratio)
    except ImportError as error:
        raise NoTracing('traces require additional packages: pip install "framehouse[otel]"') from error


def stop() -> None:
    """Export the remaining spans, then stop tracing. Blocks for at most two seconds."""
    global _tracing
    if _tracing:
        tracing, _tracing = _tracing, None
        tracing.stop()


def is_tracing() -> bool:
    return _tracing is not None


def now_ns() -> int:
    """Return the current time in nanoseconds, as the start time for `record`. Returns 0 if tracing is off."""
    return time.time_ns() if _tracing else 0


def span(
    name: str, *, task: UUID | None = None, client: bool = False, **attributes: Any
) -> AbstractContextManager[None]:
    """Return a context manager that records the duration of its block as a span.

    The parent of this span is the root span of `task`, or the current span if `task` is None. `client` must be true for
    the span of a request to another server.
    """
    return _tracing.span(name, task, client, attributes) if _tracing else _NO_SPAN


def record(name: str, task: UUID, started_ns: int, **attributes: Any) -> None:
    """Record a span in the trace of a task. The span starts at `started_ns` and ends now."""
    if _tracing and started_ns:
        _tracing.record(name, task, started_ns, attributes)


def request(
    headers: Mapping[bytes, bytes],
    created_task: UUID | None,
    duration_s: float,
    *,
    operation: str,
    code: int,
    **attributes: Any,
) -> None:
    """Record the spans of an API request that has just ended.

    If the request created a traced task, a span is recorded in the trace of this task. If the request has a
    `traceparent` header, a span is recorded in the client's trace.
    """
    if _tracing:
        started_ns = time.time_ns() - int(duration_s * 1e9)
        _tracing.request(headers, created_task, started_ns, operation, code, attributes)


def trace_headers() -> dict[str, str]:
    """Return the HTTP headers that propagate the current trace to another server.

    Returns an empty dictionary if there is no trace.
    """
    return _tracing.trace_headers() if _tracing else {}


class _Tracing:
    def __init__(self, process: str, version: str, endpoint: str, ratio: float) -> None:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        root_of: ContextVar[UUID | None] = ContextVar("root_of", default=None)

        class Ids(RandomIdGenerator):
            """An id generator. If `root_of` contains a task id, the ids are derived from this task id. Otherwise, the
            ids are random."""

            def generate_trace_id(self) -> int:
                task = root_of.get()
                return task.int if task else super().generate_trace_id()

            def generate_span_id(self) -> int:
                task = root_of.get()
                return task.int & _LOW_64 if task else super().generate_span_id()

        class Exporter(OTLPSpanExporter):
            warned_at = float("-inf")

            def export(self, spans: "Sequence[ReadableSpan]") -> SpanExportResult:
                result = super().export(spans)
                if result is not SpanExportResult.SUCCESS and time.monotonic() > self.warned_at + _WARN_EVERY_S:
                    self.warned_at = time.monotonic()
                    log.warning("the collector did not accept traces, so the traces are dropped")
                return result

        self._root_of, self._ratio, self._api = root_of, ratio, trace
        self._propagator = TraceContextTextMapPropagator()
        service = os.environ.get("OTEL_SERVICE_NAME") or f"framehouse-{process}"
        self._provider = TracerProvider(
            sampler=ParentBased(ALWAYS_ON),
            resource=Resource.create({"service.name": service, "service.version": version}),
            id_generator=Ids(),
            shutdown_on_exit=False,
        )
        url = endpoint.rstrip("/") + "/v1/traces" if endpoint else None
        self._provider.add_span_processor(BatchSpanProcessor(Exporter(endpoint=url)))
        self._tracer = self._provider.get_tracer("framehouse", version)

    def stop(self) -> None:
        # the shutdown runs in a thread, because it may take half a minute
        stopping = threading.Thread(target=self._provider.shutdown, daemon=True)
        stopping.start()
        stopping.join(_STOP_TIMEOUT_S)

    def _is_sampled(self, task: UUID) -> bool:
        """Return whether a task is traced.

        The result depends only on random bits of the task id, so all processes obtain the same result.
        """
        return (task.int & _LOW_56) < self._ratio * 2**56

    def _root(self, task: UUID) -> "SpanContext":
        flags = self._api.TraceFlags.SAMPLED if self._is_sampled(task) else self._api.TraceFlags.DEFAULT
        return self._api.SpanContext(task.int, task.int & _LOW_64, True, self._api.TraceFlags(flags))

    def _context_with_root(self, task: UUID) -> "Context":
        return self._api.set_span_in_context(self._api.NonRecordingSpan(self._root(task)))

    @contextmanager
    def span(self, name: str, task: UUID | None, client: bool, attributes: Mapping[str, Any]) -> Iterator[None]:
        kind = self._api.SpanKind.CLIENT if client else self._api.SpanKind.INTERNAL
        with self._tracer.start_as_current_span(
            name,
            self._context_with_root(task) if task else None,
            kind,
            _span_attributes(attributes, task),
            record_exception=False,
            set_status_on_exception=False,
        ) as opened:
            try:
                yield
            except Exception as error:  # CancelledError is not caught, because a cancellation is not an error
                opened.set_status(self._api.StatusCode.ERROR, type(error).__name__)
                raise

    def record(self, name: str, task: UUID, started_ns: int, attributes: Mapping[str, Any]) -> None:
        context, attributes = self._context_with_root(task), _span_attributes(attributes, task)
        self._tracer.start_span(name, context, attributes=attributes, start_time=started_ns).end()

    def request(
        self,
        headers: Mapping[bytes, bytes],
        created_task: UUID | None,
        started_ns: int,
        operation: str,
        code: int,
        attributes: Mapping[str, Any],
    ) -> None:
        sent = {name: headers[key].decode("latin-1") for name, key in _TRACE_HEADERS if key in headers}
        context = self._propagator.extract(sent) if sent else None
        caller = self._api.get_current_span(context).get_span_context() if context is not None else None
        caller_traces = caller is not None and caller.is_valid
        server, link = self._api.SpanKind.SERVER, self._api.Link
        attributes = _span_attributes({**attributes, "code": code}, created_task)
        if caller_traces and caller is not None:
            links = [link(self._root(created_task))] if created_task else []
            span = self._tracer.start_span(operation, context, server, attributes, links, start_time=started_ns)
            self._end(span, code)
        if created_task and self._is_sampled(created_task):
            links = [link(caller)] if caller_traces and caller is not None else []
            kind = self._api.SpanKind.INTERNAL if caller_traces else server
            empty = self._api.set_span_in_context(self._api.INVALID_SPAN)
            token = self._root_of.set(created_task)
            try:
                span = self._tracer.start_span(operation, empty, kind, attributes, links, start_time=started_ns)
            finally:
                self._root_of.reset(token)
            self._end(span, code)

    def _end(self, span: Any, code: int) -> None:
        if code >= 5000:
            span.set_status(self._api.StatusCode.ERROR)
        span.end()

    def trace_headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        self._propagator.inject(headers)
        return headers


_TRACE_HEADERS = (("traceparent", b"traceparent"), ("tracestate", b"tracestate"))


def _span_attributes(attributes: Mapping[str, Any], task: UUID | None) -> dict[str, Any]:
    prefixed = {f"framehouse.{name}": value for name, value in attributes.items() if value is not None}
    return prefixed | {"framehouse.task_id": str(task)} if task else prefixed
