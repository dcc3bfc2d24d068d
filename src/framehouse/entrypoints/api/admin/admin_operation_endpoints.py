"""The endpoints of the admin API for routes, failed tasks and the audit log."""

from datetime import UTC, datetime, timedelta
from typing import cast

from starlette.requests import Request
from starlette.responses import Response

from framehouse.adapters.postgres.audit_log import list_changes
from framehouse.adapters.postgres.failed_tasks import FailedTaskFilter, list_failed_tasks
from framehouse.adapters.postgres.route_controls import RouteAction
from framehouse.domain.errors import Refused
from framehouse.domain.field_reader import quoted
from framehouse.domain.task import read_task_id
from framehouse.entrypoints.api.admin.admin_limits import (
    DEFAULT_CHANGES,
    DEFAULT_TASKS,
    MAX_CHANGES,
    MAX_HOURS,
    MAX_TASKS,
)
from framehouse.entrypoints.api.admin.admin_requests import AdminFields, authenticate_operator, read_body, read_query
from framehouse.entrypoints.api.context import ApiContext
from framehouse.entrypoints.api.envelope import success
from framehouse.pipeline import operate_routes
from framehouse.pipeline.operator_json import change_json, failed_task_json, retry_json, route_json
from framehouse.pipeline.retry_tasks import retry_tasks

_ACTIONS = ("pause", "drain", "resume")


async def list_routes(context: ApiContext, request: Request) -> Response:
    await authenticate_operator(context, request)
    routes = await operate_routes.list_routes(context.db, context.registry)
    return success(request, [route_json(route) for route in routes])


async def control_routes(context: ApiContext, request: Request) -> Response:
    """Pause, drain or resume one route, or all routes of a model."""
    actor = await authenticate_operator(context, request)
    fields = await read_body(context, request)
    model, route = fields.required_text("model", max_characters=200), fields.text("route", max_characters=100)
    action = fields.required_text("action")
    if action and action not in _ACTIONS:
        fields.reader.add_problem("action", f"must be one of {', '.join(_ACTIONS)}, not {quoted(action)}")
    fields.done()
    try:
        changed = await operate_routes.control_routes(
            context.db, context.registry, model, route, cast(RouteAction, action), actor=actor
        )
    except operate_routes.UnknownRoute as error:
        raise Refused(1203, str(error)) from None
    routes = await operate_routes.list_routes(context.db, context.registry)
    return success(request, [route_json(r) for r in routes if r.model == model and r.route in changed])


async def list_failed(context: ApiContext, request: Request) -> Response:
    await authenticate_operator(context, request)
    fields = read_query(request)
    tasks, limit = _filter(fields), fields.integer("limit", 1, MAX_TASKS)
    fields.done()
    found = await list_failed_tasks(context.db, tasks, limit=limit or DEFAULT_TASKS)
    return success(request, [failed_task_json(task) for task in found])


async def retry(context: ApiContext, request: Request) -> Response:
    """Return failed tasks to the queue. The body contains either `task_ids`, or conditions for the tasks."""
    actor = await authenticate_operator(context, request)
    fields = await read_body(context, request)
    ids = fields.strings("task_ids", max_entries=MAX_TASKS)
    tasks, limit = _filter(fields), fields.integer("limit", 1, MAX_TASKS)
    dry_run = bool(fields.boolean("dry_run"))
    if ids is not None:
        task_ids = [read_task_id(id) for id in ids]
        if None in task_ids:
            fields.reader.add_problem(
                "task_ids", f"contains {quoted(ids[task_ids.index(None)])}, which is not a task id"
            )
        if fields.values.keys() - {"task_ids", "dry_run"}:
            fields.reader.add_problem("task_ids", "can only be combined with dry_run")
        tasks = FailedTaskFilter(task_ids=tuple(id for id in task_ids if id))
    fields.done()
    report = await retry_tasks(
        context.db, context.registry, tasks, limit=limit or MAX_TASKS, actor=actor, dry_run=dry_run
    )
    return success(request, retry_json(report, dry_run=dry_run))


async def list_audit_log(context: ApiContext, request: Request) -> Response:
    """List changes, newest first. To get the next page, send the smallest id as `before`."""
    await authenticate_operator(context, request)
    fields = read_query(request)
    limit, before = fields.integer("limit", 1, MAX_CHANGES), fields.integer("before", 1, 2**62)
    since, action, subject = fields.time("from"), fields.text("action"), fields.text("subject")
    fields.done()
    changes = await list_changes(
        context.db, limit=limit or DEFAULT_CHANGES, before=before, since=since, action=action, subject=subject
    )
    return success(request, [change_json(change) for change in changes])


def _filter(fields: AdminFields) -> FailedTaskFilter:
    """Read the conditions for failed tasks. The default of `hours` is 24."""
    hours = fields.number("hours", 0, MAX_HOURS)
    since = datetime.now(UTC) - timedelta(hours=24 if hours is None else hours)
    return FailedTaskFilter(
        fields.text("account"), fields.text("model", max_characters=200), fields.text("reason"), since
    )
