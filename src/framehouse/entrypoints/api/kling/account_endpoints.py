"""What an account may know of itself."""

from fastapi import APIRouter, Request, Response

from framehouse.adapters.postgres.account_store import get_account, list_keys
from framehouse.domain.task_json import account_data
from framehouse.entrypoints.api.envelope import success
from framehouse.entrypoints.api.kling.schemas import READ_ERRORS, AccountOut, Envelope
from framehouse.entrypoints.api.request_context import RequestContext


def account_routes(door: RequestContext) -> APIRouter:
    """The caller's own account, without a prefix."""
    router = APIRouter(tags=["account"])

    @router.get(
        "/v1/account",
        summary="The own account: concurrency, units, keys by their prefixes",
        response_model=Envelope[AccountOut],
        responses={status: error for status, error in READ_ERRORS.items() if status != 400},
    )
    async def account(request: Request) -> Response:
        caller = await door.caller(request)
        own = await get_account(door.db, caller.account_id)
        return success(request, account_data(own, await list_keys(door.db, caller.account_id)))

    return router
