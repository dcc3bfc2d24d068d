"""The endpoints of the admin API that manage accounts and their keys."""

from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response

from framehouse.adapters.postgres import account_store
from framehouse.domain.account import DEFAULT_CONCURRENCY, Account
from framehouse.domain.errors import Refused
from framehouse.domain.field_reader import quoted
from framehouse.entrypoints.api.admin.admin_limits import (
    MAX_CONCURRENCY,
    MAX_MODELS,
    MAX_OVERLAP_HOURS,
    MAX_UNITS,
    MAX_WEIGHT,
    MIN_WEIGHT,
)
from framehouse.entrypoints.api.admin.admin_requests import AdminFields, authenticate_operator, read_body, read_query
from framehouse.entrypoints.api.context import ApiContext
from framehouse.entrypoints.api.envelope import success
from framehouse.pipeline import delete_account as pipeline
from framehouse.pipeline.operator_json import account_json, key_json


async def list_accounts(context: ApiContext, request: Request) -> Response:
    await authenticate_operator(context, request)
    accounts = await account_store.list_accounts(context.db)
    return success(request, [account_json(account) | {"keys": keys} for account, keys in accounts])


async def get_account(context: ApiContext, request: Request) -> Response:
    await authenticate_operator(context, request)
    account = await _find(context, request.path_params["name"])
    return success(request, account_json(account))


async def create_account(context: ApiContext, request: Request) -> Response:
    actor = await authenticate_operator(context, request)
    fields = await read_body(context, request)
    name = fields.required_text("name")
    concurrency, weight, units_limit = _limits(fields)
    if not name.isprintable():
        fields.reader.add_problem("name", "must contain only printable characters")
    fields.done()
    created = await account_store.create_account(
        context.db,
        name,
        concurrency=DEFAULT_CONCURRENCY if concurrency is None else concurrency,
        units_limit=units_limit,
        weight=1.0 if weight is None else weight,
        actor=actor,
    )
    if not created:
        raise Refused(1201, f"the account {quoted(name)} already exists")
    return success(request, account_json(await _find(context, name)))


async def change_account(context: ApiContext, request: Request) -> Response:
    """Change the fields that the body contains. If `units_limit` is null, the limit is removed."""
    actor = await authenticate_operator(context, request)
    name = request.path_params["name"]
    fields = await read_body(context, request)
    concurrency, weight, units_limit = _limits(fields)
    disabled = fields.boolean("disabled")
    fields.done()
    await _find(context, name)
    await account_store.set_account(
        context.db,
        name,
        concurrency=concurrency,
        units_limit=units_limit,
        no_limit="units_limit" in fields.values and units_limit is None,
        disabled=disabled,
        weight=weight,
        actor=actor,
    )
    return success(request, account_json(await _find(context, name)))


async def delete_account(context: ApiContext, request: Request) -> Response:
    actor = await authenticate_operator(context, request)
    name = request.path_params["name"]
    if "\0" in name or not await pipeline.delete_account(context.db, name, actor=actor):
        raise _no_account(name)
    return success(request, {"name": name, "deleted": True})


async def rotate_secret(context: ApiContext, request: Request) -> Response:
    """Create a new callback secret. The old secret stays valid for `overlap_hours` hours. The default is 24 hours."""
    actor = await authenticate_operator(context, request)
    fields = await read_body(context, request)
    name = fields.required_text("account")
    hours = fields.number("overlap_hours", 0, MAX_OVERLAP_HOURS)
    fields.done()
    overlap = timedelta(hours=24 if hours is None else hours)
    secret = await account_store.rotate_secret(context.db, name, overlap, actor=actor)
    if secret is None:
        raise _no_account(name)
    return success(request, {"callback_secret": secret})


async def list_keys(context: ApiContext, request: Request) -> Response:
    await authenticate_operator(context, request)
    fields = read_query(request)
    name = fields.required_text("account")
    fields.done()
    keys = await account_store.list_keys(context.db, (await _find(context, name)).id)
    return success(request, [key_json(key) for key in keys])


async def create_key(context: ApiContext, request: Request) -> Response:
    """Create a bearer key for an account. If `jwt` is true, create an access key and a secret key instead."""
    actor = await authenticate_operator(context, request)
    fields = await read_body(context, request)
    name = fields.required_text("account")
    jwt = fields.boolean("jwt")
    models = fields.strings("models", max_entries=MAX_MODELS)
    for model in models or ():
        if context.registry.model(model) is None:
            fields.reader.add_problem("models", f"contains {quoted(model)}, which is not a configured model")
    fields.done()
    account_id = (await _find(context, name)).id
    if jwt:
        access_key, secret_key = await account_store.create_jwt_key(
            context.db, account_id, models=models or None, actor=actor
        )
        return success(request, {"access_key": access_key, "secret_key": secret_key})
    return success(
        request, {"key": await account_store.create_key(context.db, account_id, models=models or None, actor=actor)}
    )


async def revoke_key(context: ApiContext, request: Request) -> Response:
    actor = await authenticate_operator(context, request)
    id = request.path_params["id"]
    revoked = None
    if id.isascii() and id.isdecimal() and len(id) < 19:
        revoked = await account_store.revoke_key(context.db, int(id), actor=actor)
    if revoked is None:
        raise Refused(1203, f"there is no active key with the id {quoted(id)}")
    return success(request, {"revoked": revoked})


def _limits(fields: AdminFields) -> tuple[int | None, float | None, int | None]:
    """Return the fields `concurrency`, `weight` and `units_limit`. An absent field is None."""
    return (
        fields.integer("concurrency", 0, MAX_CONCURRENCY),
        fields.number("weight", MIN_WEIGHT, MAX_WEIGHT),
        fields.integer("units_limit", 0, MAX_UNITS),
    )


async def _find(context: ApiContext, name: str) -> Account:
    account = None if "\0" in name else await account_store.find_account(context.db, name)
    if account is None:
        raise _no_account(name)
    return account


def _no_account(name: str) -> Refused:
    return Refused(1203, f"there is no account {quoted(name)}")
