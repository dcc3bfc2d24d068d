"""The endpoints that return the caller's account, its resource pack and its charges."""

from starlette.requests import Request
from starlette.responses import Response

from framehouse.adapters.postgres import account_store, ledger
from framehouse.domain import billing
from framehouse.domain.errors import refused_fields
from framehouse.domain.field_reader import FieldReader
from framehouse.domain.task_json import account_data
from framehouse.entrypoints.api.context import ApiContext
from framehouse.entrypoints.api.envelope import success


async def get_account(context: ApiContext, request: Request) -> Response:
    caller = await context.caller(request)
    account = await account_store.get_account(context.db, caller.account_id)
    return success(request, account_data(account, await account_store.list_keys(context.db, caller.account_id)))


async def get_costs(context: ApiContext, request: Request) -> Response:
    """Return the caller's resource pack (the Kling API's term for a quantity of purchased units).

    The used units are counted up to the requested end time. If the request has no end time, they are counted up to now.
    """
    caller = await context.caller(request)
    reader = FieldReader(request.query_params)
    since, until = billing.read_times(reader)
    name = reader.text("resource_pack_name", max_characters=1000)
    if reader.problems:
        raise refused_fields(reader.problems)
    account = await account_store.get_account(context.db, caller.account_id)
    used = account.units_used
    if until:
        used = await ledger.units_used_at(context.db, account.id, until)
    packs = billing.resource_packs(account, used, since=since, until=until, name=name)
    return success(request, {"code": 0, "msg": "SUCCEED", "resource_pack_subscribe_infos": packs})


async def list_charges(context: ApiContext, request: Request) -> Response:
    """List the charges of the caller's account, newest first.

    To get the next page, the client sends the `next_cursor` of the previous response as `cursor`.
    """
    caller = await context.caller(request)
    account = await account_store.get_account(context.db, caller.account_id)
    async with context.body(request, caller) as (body, _):
        query = billing.read_charge_query(body, account)
    charges: list[billing.Charge] = []
    if query.matches:
        charges = await ledger.list_charges(
            context.db,
            account.id,
            limit=query.limit + 1,
            before=query.before,
            since=query.since,
            until=query.until,
            keys=query.keys,
        )
    page, has_more = charges[: query.limit], len(charges) > query.limit
    detail = [billing.charge_data(charge, billing.total_units(account)) for charge in page]
    return success(
        request,
        {
            "result": {"detail": detail, "count": len(detail)},
            "next_cursor": str(page[-1].id) if has_more else "",
            "has_more": has_more,
        },
    )
