"""The table of the endpoints of the admin API."""

from framehouse.entrypoints.api.admin import account_endpoints, operation_endpoints
from framehouse.entrypoints.api.router import Endpoint

ENDPOINTS = tuple(
    Endpoint(method, f"/admin/v1/{path}", handler, "admin", prefixed=False)
    for method, path, handler in (
        ("GET", "accounts", account_endpoints.list_accounts),
        ("POST", "accounts", account_endpoints.create_account),
        ("GET", "accounts/{name:path}", account_endpoints.get_account),
        ("PATCH", "accounts/{name:path}", account_endpoints.change_account),
        ("DELETE", "accounts/{name:path}", account_endpoints.delete_account),
        ("POST", "callback-secrets", account_endpoints.rotate_secret),
        ("GET", "keys", account_endpoints.list_keys),
        ("POST", "keys", account_endpoints.create_key),
        ("DELETE", "keys/{id}", account_endpoints.revoke_key),
        ("GET", "routes", operation_endpoints.list_routes),
        ("POST", "routes", operation_endpoints.control_routes),
        ("GET", "failed-tasks", operation_endpoints.list_failed),
        ("POST", "failed-tasks/retry", operation_endpoints.retry),
        ("GET", "audit-log", operation_endpoints.list_audit_log),
    )
)
