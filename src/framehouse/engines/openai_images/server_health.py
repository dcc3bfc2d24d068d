"""Check the health of servers."""

import asyncio
import json
import logging

from framehouse.domain.errors import Broken, Declined
from framehouse.engines.error_replies import error_from_reply
from framehouse.engines.http_exchange import NotAccepted, OutcomeUnknown
from framehouse.engines.interface import HealthCheck
from framehouse.engines.openai_images.openai_images_options import OpenAIImagesOptions
from framehouse.engines.openai_images.replica_probes import ReplicaProbes
from framehouse.engines.openai_images.server_client import ServerClient
from framehouse.engines.replicas import Replica, Replicas

log = logging.getLogger(__name__)
_PROBE_WAIT_S = 50.0


class ServerHealth:
    """The health checks of a route."""

    def __init__(
        self,
        options: OpenAIImagesOptions,
        replicas: Replicas,
        client: ServerClient,
        probes: ReplicaProbes,
    ) -> None:
        self._options = options
        self._replicas = replicas
        self._client = client
        self._probes = probes

    async def check(self, replica: Replica) -> HealthCheck:
        """Check one server. A successful check ends the cooldown of the server, unless `Replica.fixed_cooldown` is
        true. If the route has no health path, the result is the state of the last request."""
        if self._options.compatible and not self._options.compatible.health_path:
            return _state_of_last_request(replica)
        kind = self._options.kind.name
        try:
            reply = await self._client.request_health(replica.url)
            if reply.status != 200:
                raise error_from_reply(reply, paid=False)
        except (NotAccepted, OutcomeUnknown) as error:
            at_least_s = error.cooldown_s if isinstance(error, NotAccepted) else 0.0
            self.start_cooldown(replica, error.reason, at_least_s=at_least_s)
            return HealthCheck(replica.shown_url, False, f"the server {error.reason}", _advice(error.reason))
        except (Broken, Declined) as error:
            self.start_cooldown(replica, "does not respond like a model server")
            advice = "Correct base_urls or health_path." if self._options.compatible else "Correct base_urls or kind."
            return HealthCheck(replica.shown_url, ok=False, reason=error.message, advice=advice)
        names = _model_names(reply.body) if kind == "xinference" else None
        if names is not None and self._options.model not in names:
            reason = f'the server has no model "{self._options.model}"; its models: {", ".join(names) or "none"}'
            advice = "Launch the model, or correct the option model."
            return HealthCheck(replica.shown_url, ok=False, reason=reason, advice=advice)
        if replica.fixed_cooldown and replica.cooldown.remaining_s:
            return HealthCheck(replica.shown_url, False, _describe_cooldown(replica), "Wait, or check the account.")
        replica.end_cooldown()
        self._replicas.wake()
        return HealthCheck(replica.shown_url, ok=True, reason=await self._describe_health(replica))

    async def _describe_health(self, replica: Replica) -> str:
        """Return the `reason` of a successful check, which describes how the server uses references.

        Starts a reference probe if there is no final result (`ReferenceSupport.final`) yet.
        """
        if not self._options.max_references:
            return "the server is healthy; no references are sent"
        if not self._options.probe:
            limit = self._options.max_references
            return f"the server is healthy; up to {limit} references are sent, without a probe"
        support = self._probes.result(replica)
        if support is None or not support.final:
            await asyncio.wait([self._probes.start(replica)], timeout=_PROBE_WAIT_S)
        support = self._probes.result(replica)
        if support is None:
            return "the server is healthy; its reference probe has no result yet"
        accepted = f"and accepts up to {_references(support.max_references)}"
        description = f"but {support.problem}" if support.problem else accepted
        if self._options.kind.name == "xinference" and support.max_references == 1:
            description += "; for a model that accepts more references, set max_references"
        return f"the server is healthy {description}"

    def start_cooldown(self, replica: Replica, reason: str, *, at_least_s: float = 0.0) -> None:
        if not replica.cooldown.remaining_s:
            log.warning("%s: cooldown started: the server %s", replica.shown_url, reason)
        replica.start_cooldown(reason, at_least_s=at_least_s)
        self._replicas.wake()


def _state_of_last_request(replica: Replica) -> HealthCheck:
    """Return the result of the last request, because the server has no health check."""
    if replica.cooldown.remaining_s:
        reason = replica.cooldown.reason
        return HealthCheck(replica.shown_url, False, _describe_cooldown(replica), _advice(reason))
    if replica.last_problem:
        reason = f"the last request failed: {replica.last_problem}"
        return HealthCheck(replica.shown_url, ok=False, reason=reason, advice=_advice(replica.last_problem))
    reason = "the server has responded to the last request" if replica.responded else "no request has been sent yet"
    return HealthCheck(replica.shown_url, ok=True, reason=f"{reason}; the route has no health_path")


def _describe_cooldown(replica: Replica) -> str:
    return (
        f"the server {replica.cooldown.reason}; "
        f"the server will not be used for the next {replica.cooldown.remaining_s:.0f} s"
    )


def _advice(reason: str) -> str:
    if "api_key" in reason:
        return "Set a valid api_key in the route."
    if "quota" in reason or "account" in reason:
        return "Wait, or check the account."
    return "Start the server, or correct base_urls."


def _references(count: int) -> str:
    return f"{count} reference{'' if count == 1 else 's'}"


def _model_names(body: bytes) -> list[str] | None:
    """Return the names in a list of models. Returns None if the body is not a list of models."""
    try:
        return [str(model["id"]) for model in json.loads(body)["data"]]
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
