"""The table of the endpoints of the admin API."""

from framehouse.entrypoints.api.admin import admin_account_endpoints, admin_operation_endpoints
from framehouse.entrypoints.api.router import Endpoint

ENDPOINTS = tuple(
    Endpoint(method, f"/admin/v1/{path}", handler, "admin", prefixed=False)
    for method, path, handler in (
        ("GET", "accounts", admin_account_endpoints.list_accounts),
        ("POST", "accounts", admin_account_endpoints.create_account),
        ("GET", "accounts/{name:path}", admin_account_endpoints.get_account),
        ("PATCH", "accounts/{name:path}", admin_account_endpoints.change_account),
        ("DELETE", "accounts/{name:path}", admin_account_endpoints.delete_account),
        ("POST", "callback-secrets", admin_account_endpoints.rotate_secret),
        ("GET", "keys", admin_account_endpoints.list_keys),
        ("POST", "keys", admin_account_endpoints.create_key),
        ("DELETE", "keys/{id}", admin_account_endpoints.revoke_key),
        ("GET", "routes", admin_operation_endpoints.list_routes),
        ("POST", "routes", admin_operation_endpoints.control_routes),
        ("GET", "failed-tasks", admin_operation_endpoints.list_failed),
        ("POST", "failed-tasks/retry", admin_operation_endpoints.retry),
        ("GET", "audit-log", admin_operation_endpoints.list_audit_log),
    )
)
