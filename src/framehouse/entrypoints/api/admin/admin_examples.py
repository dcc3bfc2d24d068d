"""The example requests and responses of the admin API in the OpenAPI document."""

from framehouse.entrypoints.api.documentation import Json


def _example(summary: str, value: Json) -> dict[str, Json]:
    return {"example": {"summary": summary, "value": value}}


_TIME = "2026-11-30T12:00:00+00:00"
_TASK_ID = "019a3c5e-7c1a-7b1e-9d55-3f2f6f0c9a11"
CREATE_ACCOUNT = _example("An account with limits", {"name": "acme", "concurrency": 20, "units_limit": 10000})
CHANGE_ACCOUNT = _example("Remove the limit of the units", {"units_limit": None})
ROTATE_SECRET = _example("The old secret stays valid for a day", {"account": "acme", "overlap_hours": 24})
CREATE_KEY = _example("A key for one model", {"account": "acme", "models": ["kling-v3-omni"]})
CONTROL_ROUTES = _example("Pause a route", {"model": "kling-v3-omni", "route": "kling", "action": "pause"})
RETRY_TASKS = _example("Only report the tasks of the last hour", {"hours": 1, "dry_run": True})
ACCOUNT: Json = {
    "name": "acme",
    "disabled": False,
    "concurrency": 20,
    "images_in_flight": 2,
    "units_limit": None,
    "units_reserved": 16,
    "units_used": 1240,
    "weight": 1.0,
    "created_at": _TIME,
}
DELETED_ACCOUNT: Json = {"name": "acme", "deleted": True}
CALLBACK_SECRET: Json = {"callback_secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
KEY: Json = {
    "id": 3,
    "prefix": "fh_Ab12Cd34",
    "jwt": False,
    "models": None,
    "created_at": _TIME,
    "revoked_at": None,
}
CREATED_KEY: Json = {"key": "fh_Ab12Cd34…"}
REVOKED_KEY: Json = {"revoked": "fh_Ab12Cd34"}
ROUTE: Json = {
    "model": "kling-v3-omni",
    "route": "kling",
    "state": "active",
    "requests_per_minute": None,
    "waiting": 0,
    "running": 2,
    "open_orders": 2,
    "workers": 1,
    "healthy": True,
}
FAILED_TASK: Json = {
    "task_id": _TASK_ID,
    "account": "acme",
    "model": "kling-v3-omni",
    "status_message": "no engine could generate the images within 3600 seconds",
    "failed_at": _TIME,
    "unfinished_images": 1,
}
RETRY: Json = {"dry_run": True, "retried": [_TASK_ID], "not_retried": {}}
CHANGE: Json = {
    "id": 42,
    "changed_at": _TIME,
    "actor": "deployment scripts (fha_Ab12Cd34)",
    "action": "account.set",
    "subject": "acme",
    "details": {"concurrency": [20, 40]},
}
