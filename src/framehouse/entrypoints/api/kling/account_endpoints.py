"""The endpoint that returns the caller's account."""

from starlette.requests import Request
from starlette.responses import Response

from framehouse.adapters.postgres import account_store
from framehouse.domain.task_json import account_data
from framehouse.entrypoints.api.context import ApiContext
from framehouse.entrypoints.api.envelope import success


async def get_account(context: ApiContext, request: Request) -> Response:
    caller = await context.caller(request)
    account = await account_store.get_account(context.db, caller.account_id)
    return success(request, account_data(account, await account_store.list_keys(context.db, caller.account_id)))
