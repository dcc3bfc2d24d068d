"""The table of the endpoints of the admin API."""

from framehouse.entrypoints.api.admin import admin_account_endpoints, admin_examples, admin_operation_endpoints
from framehouse.entrypoints.api.admin.admin_limits import (
    DEFAULT_CHANGES,
    DEFAULT_TASKS,
    MAX_CHANGES,
    MAX_HOURS,
    MAX_TASKS,
)
from framehouse.entrypoints.api.admin.admin_schemas import (
    AdminAccountOut,
    AdminKeyOut,
    CallbackSecretOut,
    ChangeAccountRequest,
    ChangeOut,
    ControlRoutesRequest,
    CreateAccountRequest,
    CreatedKeyOut,
    CreateKeyRequest,
    DeletedAccountOut,
    FailedTaskOut,
    ListedAccountOut,
    RetryOut,
    RetryTasksRequest,
    RevokedKeyOut,
    RotateSecretRequest,
    RouteOut,
)
from framehouse.entrypoints.api.documentation import BodySchema, Operation, Parameter, ResponseDoc
from framehouse.entrypoints.api.kling.response_schemas import Envelope
from framehouse.entrypoints.api.kling.responses import ERRORS, error_doc, success_of
from framehouse.entrypoints.api.router import Endpoint, Handler

_UNAUTHORIZED = error_doc(
    "AdminUnauthorized",
    "1001 the header is missing, 1002 the token is not an active admin key",
    key=(1002, "the admin key is unknown or revoked"),
)
_NOT_FOUND = error_doc(
    "AdminNotFound",
    "1203 the account, the key, the model or the route does not exist",
    account=(1203, 'there is no account "acme"'),
)
_ERRORS = {400: ERRORS[400], 401: _UNAUTHORIZED, 500: ERRORS[500], 503: ERRORS[503]}
_FIND_ERRORS = _ERRORS | {404: _NOT_FOUND}
_SAVE_ERRORS = _FIND_ERRORS | {status: ERRORS[status] for status in (413, 415)}
_NAME = Parameter("path", "name", "The name of an account")
_KEY_ID = Parameter("path", "id", "The number of a key, from the list of the keys")
_ACCOUNT = Parameter("query", "account", "The name of an account", schema={"minLength": 1, "maxLength": 100})
_TEXT = {"minLength": 1, "maxLength": 1000}


def _limit(default: int, maximum: int) -> Parameter:
    schema = {"type": "integer", "minimum": 1, "maximum": maximum}
    return Parameter("query", "limit", f"The number of entries, from 1 to {maximum}", str(default), schema)


def _endpoint(
    method: str,
    path: str,
    handler: Handler,
    operation_id: str,
    summary: str,
    responses: dict[int, ResponseDoc],
    *parameters: Parameter,
    body: BodySchema | None = None,
) -> Endpoint:
    documentation = Operation(
        "admin",
        summary,
        responses,
        parameters,
        body,
        operation_id=operation_id,
        security=("admin_key",),
    )
    return Endpoint(method, f"/admin/v1/{path}", handler, "admin", documentation, prefixed=False)


ENDPOINTS = (
    _endpoint(
        "GET",
        "accounts",
        admin_account_endpoints.list_accounts,
        "list_accounts",
        "List all accounts",
        success_of(Envelope[list[ListedAccountOut]], _ERRORS, [admin_examples.ACCOUNT | {"keys": 1}]),
    ),
    _endpoint(
        "POST",
        "accounts",
        admin_account_endpoints.create_account,
        "create_account",
        "Create an account",
        success_of(Envelope[AdminAccountOut], _SAVE_ERRORS, admin_examples.ACCOUNT),
        body=BodySchema(CreateAccountRequest, admin_examples.CREATE_ACCOUNT),
    ),
    _endpoint(
        "GET",
        "accounts/{name:path}",
        admin_account_endpoints.get_account,
        "get_account_by_name",
        "Get an account by its name",
        success_of(Envelope[AdminAccountOut], _FIND_ERRORS, admin_examples.ACCOUNT),
        _NAME,
    ),
    _endpoint(
        "PATCH",
        "accounts/{name:path}",
        admin_account_endpoints.change_account,
        "change_account",
        "Change the limits of an account, disable it or enable it",
        success_of(Envelope[AdminAccountOut], _SAVE_ERRORS, admin_examples.ACCOUNT),
        _NAME,
        body=BodySchema(ChangeAccountRequest, admin_examples.CHANGE_ACCOUNT),
    ),
    _endpoint(
        "DELETE",
        "accounts/{name:path}",
        admin_account_endpoints.delete_account,
        "delete_account",
        "Delete an account with all of its data",
        success_of(Envelope[DeletedAccountOut], _FIND_ERRORS, admin_examples.DELETED_ACCOUNT),
        _NAME,
    ),
    _endpoint(
        "POST",
        "callback-secrets",
        admin_account_endpoints.rotate_secret,
        "rotate_callback_secret",
        "Replace the callback secret of an account",
        success_of(Envelope[CallbackSecretOut], _SAVE_ERRORS, admin_examples.CALLBACK_SECRET),
        body=BodySchema(RotateSecretRequest, admin_examples.ROTATE_SECRET),
    ),
    _endpoint(
        "GET",
        "keys",
        admin_account_endpoints.list_keys,
        "list_keys",
        "List the keys of an account, without their secrets",
        success_of(Envelope[list[AdminKeyOut]], _FIND_ERRORS, [admin_examples.KEY]),
        Parameter("query", "account", _ACCOUNT.description, schema=_ACCOUNT.schema, required=True),
    ),
    _endpoint(
        "POST",
        "keys",
        admin_account_endpoints.create_key,
        "create_key",
        "Create a key for an account",
        success_of(Envelope[CreatedKeyOut], _SAVE_ERRORS, admin_examples.CREATED_KEY),
        body=BodySchema(CreateKeyRequest, admin_examples.CREATE_KEY),
    ),
    _endpoint(
        "DELETE",
        "keys/{id}",
        admin_account_endpoints.revoke_key,
        "revoke_key",
        "Revoke a key",
        success_of(Envelope[RevokedKeyOut], _FIND_ERRORS, admin_examples.REVOKED_KEY),
        _KEY_ID,
    ),
    _endpoint(
        "GET",
        "routes",
        admin_operation_endpoints.list_routes,
        "list_routes",
        "List all routes with their states",
        success_of(Envelope[list[RouteOut]], _ERRORS, [admin_examples.ROUTE]),
    ),
    _endpoint(
        "POST",
        "routes",
        admin_operation_endpoints.control_routes,
        "control_routes",
        "Pause, drain or resume one route, or all routes of a model",
        success_of(Envelope[list[RouteOut]], _SAVE_ERRORS, [admin_examples.ROUTE | {"state": "paused"}]),
        body=BodySchema(ControlRoutesRequest, admin_examples.CONTROL_ROUTES),
    ),
    _endpoint(
        "GET",
        "failed-tasks",
        admin_operation_endpoints.list_failed,
        "list_failed_tasks",
        "List failed tasks, newest first",
        success_of(Envelope[list[FailedTaskOut]], _ERRORS, [admin_examples.FAILED_TASK]),
        Parameter("query", "account", _ACCOUNT.description, schema=_TEXT),
        Parameter("query", "model", "The name of a model", schema=_TEXT | {"maxLength": 200}),
        Parameter("query", "reason", "A part of the reason for the failure", schema=_TEXT),
        Parameter(
            "query",
            "hours",
            "Only tasks that failed in this number of hours before the request",
            "24",
            {"type": "integer", "minimum": 0, "maximum": MAX_HOURS},
        ),
        _limit(DEFAULT_TASKS, MAX_TASKS),
    ),
    _endpoint(
        "POST",
        "failed-tasks/retry",
        admin_operation_endpoints.retry,
        "retry_failed_tasks",
        "Return failed tasks to the queue",
        success_of(Envelope[RetryOut], _SAVE_ERRORS, admin_examples.RETRY),
        body=BodySchema(RetryTasksRequest, admin_examples.RETRY_TASKS),
    ),
    _endpoint(
        "GET",
        "audit-log",
        admin_operation_endpoints.list_audit_log,
        "list_changes",
        "List the changes that operators made, newest first",
        success_of(Envelope[list[ChangeOut]], _ERRORS, [admin_examples.CHANGE]),
        Parameter(
            "query", "action", "A complete action, such as `account.set`, or the part before the dot", schema=_TEXT
        ),
        Parameter("query", "subject", "The name of an account, the prefix of a key, a route, or an id", schema=_TEXT),
        Parameter(
            "query",
            "from",
            "The earliest time in ISO 8601 format; a time without an offset is in UTC",
            schema={"minLength": 1, "maxLength": 40, "examples": ["2026-11-30T12:00:00Z"]},
        ),
        Parameter(
            "query",
            "before",
            "Only changes with a smaller id: for the next page, the smallest id of this page",
            schema={"type": "integer", "minimum": 1, "maximum": 2**62},
        ),
        _limit(DEFAULT_CHANGES, MAX_CHANGES),
    ),
)
