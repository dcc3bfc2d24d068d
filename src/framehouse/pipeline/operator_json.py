"""The JSON objects that operators receive, from commands with `--json` and from the admin API."""

from dataclasses import asdict
from typing import Any

from framehouse.adapters.postgres.admin_keys import AdminKey
from framehouse.adapters.postgres.audit_log import AuditEntry
from framehouse.adapters.postgres.failed_tasks import FailedTask
from framehouse.domain.account import Account, Key
from framehouse.pipeline.operate_routes import RouteOverview
from framehouse.pipeline.retry_tasks import RetryReport

_ACCOUNT_FIELDS = (
    "name", "disabled", "concurrency", "images_in_flight", "units_limit", "units_reserved", "units_used", "weight"
)  # fmt: skip


def account_json(account: Account) -> dict[str, Any]:
    """Return an account without its callback secrets."""
    fields = {name: getattr(account, name) for name in _ACCOUNT_FIELDS}
    return fields | {"created_at": account.created_at.isoformat()}


def key_json(key: Key | AdminKey) -> dict[str, Any]:
    revoked_at = key.revoked_at.isoformat() if key.revoked_at else None
    return key._asdict() | {"created_at": key.created_at.isoformat(), "revoked_at": revoked_at}


def route_json(route: RouteOverview) -> dict[str, Any]:
    fields = asdict(route)
    control = fields.pop("control")
    return fields | {"state": control or "active", "requests_per_minute": route.requests_per_minute or None}


def failed_task_json(task: FailedTask) -> dict[str, Any]:
    return {
        "task_id": str(task.id),
        "account": task.account,
        "model": task.model,
        "status_message": task.status_message,
        "failed_at": task.ended_at.isoformat(),
        "unfinished_images": len(task.unfinished),
    }


def retry_json(report: RetryReport, *, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "retried": [str(id) for id in report.retried],
        "not_retried": {str(id): problem for id, problem in report.not_retried.items()},
    }


def change_json(change: AuditEntry) -> dict[str, Any]:
    return asdict(change) | {"changed_at": change.changed_at.isoformat()}
