"""Traces, sent by OTLP where the settings name a collector; else nothing is imported, and each call returns at once.

A task has a trace of its own, whose id is the task's. The root's id is a part of it too, so that every process knows
both without being told: nothing of a trace is stored with the task. The root is the request that made the task; where
the caller sent a `traceparent`, that request is a span of his trace, too, and the two link to each other.

Attributes have ids, names of the configuration and counts: never prompts, keys or URLs, nor the words of an error.
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
_STOP_S = 2.0
_TELL_EVERY_S = 60.0
_OFF: AbstractContextManager[None] = nullcontext()
_tracing: "_Tracing | None" = None


class NoTracing(Exception):
    """Traces are asked for, and the packages that send them are not installed."""


def start(part: str, *, version: str, endpoint: str, ratio: float) -> None:
    """Trace from now on, as the service framehouse-`part`. `endpoint`: the collector's base URL; empty: where the
    OTEL_EXPORTER_OTLP_… variables say. `ratio`: the share of tasks. Raises NoTracing."""
    global _tracing
    try:
        _tracing = _Tracing(part, version, endpoint, ratio)
    except ImportError as error:
        raise NoTracing('traces need more packages: pip install "framehouse[otel]"') from error


def stop() -> None:
    """Send what is left, for a few seconds at most. Blocking."""
    global _tracing
    if _tracing:
        tracing, _tracing = _tracing, None
        tracing.stop()


def started() -> bool:
    return _tracing is not None


def now_ns() -> int:
    """The time, for `record`; 0 while nothing is traced."""
    return time.time_ns() if _tracing else 0


def span(
    name: str, *, task: UUID | None = None, client: bool = False, **attributes: Any
) -> AbstractContextManager[None]:
    """A span around what is done inside, under the one that is open; with `task`, under the root of its trace.
    `client`: somebody else's work is waited for."""
    return _tracing.span(name, task, client, attributes) if _tracing else _OFF


def record(name: str, task: UUID, began_ns: int, **attributes: Any) -> None:
    """A span of a task that is over now."""
    if _tracing and began_ns:
        _tracing.record(name, task, began_ns, attributes)


def request(
    headers: Mapping[bytes, bytes], made: UUID | None, took_s: float, *, operation: str, code: int, **attributes: Any
) -> None:
    """The span of a request that was answered just now, where it `made` a task or its caller traces."""
    if _tracing:
        began_ns = time.time_ns() - int(took_s * 1e9)
        _tracing.request(headers, made, began_ns, operation, code, attributes)


def outgoing() -> dict[str, str]:
    """The headers that tell another server which trace it works for; empty where there is none."""
    return _tracing.outgoing() if _tracing else {}


class _Tracing:
    def __init__(self, part: str, version: str, endpoint: str, ratio: float) -> None:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        root: ContextVar[UUID | None] = ContextVar("root", default=None)

        class Ids(RandomIdGenerator):
            def generate_trace_id(self) -> int:
                task = root.get()
                return task.int if task else super().generate_trace_id()

            def generate_span_id(self) -> int:
                task = root.get()
                return task.int & _LOW_64 if task else super().generate_span_id()

        class Exporter(OTLPSpanExporter):
            told_at = float("-inf")

            def export(self, spans: "Sequence[ReadableSpan]") -> SpanExportResult:
                result = super().export(spans)
                if result is not SpanExportResult.SUCCESS and time.monotonic() > self.told_at + _TELL_EVERY_S:
                    self.told_at = time.monotonic()
                    log.warning("the collector took no traces; those it does not take are dropped")
                return result

        self._root, self._ratio, self._api = root, ratio, trace
        self._headers = TraceContextTextMapPropagator()
        service = os.environ.get("OTEL_SERVICE_NAME") or f"framehouse-{part}"
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
        stopping = threading.Thread(target=self._provider.shutdown, daemon=True)  # which may take half a minute
        stopping.start()
        stopping.join(_STOP_S)

    def _wanted(self, task: UUID) -> bool:
        """By the task's id alone, so that all processes agree; its last bits are random."""
        return (task.int & _LOW_56) < self._ratio * 2**56

    def _place(self, task: UUID) -> "SpanContext":
        flags = self._api.TraceFlags.SAMPLED if self._wanted(task) else self._api.TraceFlags.DEFAULT
        return self._api.SpanContext(task.int, task.int & _LOW_64, True, self._api.TraceFlags(flags))

    def _under(self, task: UUID) -> "Context":
        return self._api.set_span_in_context(self._api.NonRecordingSpan(self._place(task)))

    @contextmanager
    def span(self, name: str, task: UUID | None, client: bool, attributes: Mapping[str, Any]) -> Iterator[None]:
        kind = self._api.SpanKind.CLIENT if client else self._api.SpanKind.INTERNAL
        with self._tracer.start_as_current_span(
            name,
            self._under(task) if task else None,
            kind,
            _named(attributes, task),
            record_exception=False,
            set_status_on_exception=False,
        ) as opened:
            try:
                yield
            except Exception as error:  # being cancelled is none: so ends what has told itself that its task is over
                opened.set_status(self._api.StatusCode.ERROR, type(error).__name__)
                raise

    def record(self, name: str, task: UUID, began_ns: int, attributes: Mapping[str, Any]) -> None:
        context = self._under(task)
        self._tracer.start_span(name, context, attributes=_named(attributes, task), start_time=began_ns).end()

    def request(
        self,
        headers: Mapping[bytes, bytes],
        made: UUID | None,
        began_ns: int,
        operation: str,
        code: int,
        attributes: Mapping[str, Any],
    ) -> None:
        sent = {name: headers[key].decode("latin-1") for name, key in _TRACE_HEADERS if key in headers}
        context = self._headers.extract(sent) if sent else None
        caller = self._api.get_current_span(context).get_span_context() if context is not None else None
        calls = caller is not None and caller.is_valid
        server, link = self._api.SpanKind.SERVER, self._api.Link
        named = _named({**attributes, "code": code}, made)
        if calls and caller is not None:
            links = [link(self._place(made))] if made else []
            self._end(self._tracer.start_span(operation, context, server, named, links, start_time=began_ns), code)
        if made and self._wanted(made):
            links = [link(caller)] if calls and caller is not None else []
            kind = self._api.SpanKind.INTERNAL if calls else server
            empty = self._api.set_span_in_context(self._api.INVALID_SPAN)
            token = self._root.set(made)
            try:
                span = self._tracer.start_span(operation, empty, kind, named, links, start_time=began_ns)
            finally:
                self._root.reset(token)
            self._end(span, code)

    def _end(self, span: Any, code: int) -> None:
        if code >= 5000:
            span.set_status(self._api.StatusCode.ERROR)
        span.end()

    def outgoing(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        self._headers.inject(headers)
        return headers


_TRACE_HEADERS = (("traceparent", b"traceparent"), ("tracestate", b"tracestate"))


def _named(attributes: Mapping[str, Any], task: UUID | None) -> dict[str, Any]:
    named = {f"framehouse.{name}": value for name, value in attributes.items() if value is not None}
    return named | {"framehouse.task_id": str(task)} if task else named
