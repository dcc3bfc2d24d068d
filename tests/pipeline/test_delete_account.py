"""An operator deletes an account. All of its data is deleted, and the data of other accounts stays."""

from datetime import UTC, datetime, timedelta
from typing import Any

from framehouse.adapters.postgres import account_store, audit_log, failed_tasks
from framehouse.adapters.postgres.failed_tasks import FailedTask
from framehouse.domain.account import Caller
from framehouse.entrypoints.sweeper import sweep
from framehouse.pipeline.delete_account import delete_account, purge_deleted_accounts
from framehouse.pipeline.expire import REFERENCE_GRACE
from tests.support.eventually import eventually
from tests.support.image_files import image_base64
from tests.support.in_process_deployment import Deployment, MakeDeployment, second_account
from tests.support.tasks import claim, get_task, wait_for_task

HISTORY = timedelta(days=365)
TABLES = (
    "tasks", "shots", "batches", "task_references", "elements", "element_references", "idempotency_keys", "taken_ids",
    "charges", "uploads", "callback_messages", "account_turns", "stored_references",
)  # fmt: skip


async def rows(deployment: Deployment) -> dict[str, int]:
    return {table: await deployment.db.value(f"select count(*) from {table}") for table in TABLES}


async def make_due(deployment: Deployment) -> None:
    """Make the grace periods of the deleted account pass."""
    await deployment.db.row("update tasks set ended_at = ended_at - interval '11 minutes'")
    await deployment.db.row("update tasks set expires_at = expires_at - interval '11 minutes'")
    await deployment.db.row("update stored_references set used_at = used_at - $1::interval", REFERENCE_GRACE * 1.1)


async def test_all_data_of_a_deleted_account_is_deleted(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    bob = await second_account(deployment)
    deployment.start_worker()
    image: dict[str, Any] = {"image_list": [{"image": image_base64()}], "external_task_id": "mine"}
    kept = await deployment.submit(n=2)
    await wait_for_task(deployment, kept.task_id)
    before = await rows(deployment)
    ticket = await deployment.submit(caller=bob, callback_url="https://receiver.example/", **image)

    async def ended() -> bool:
        return bool(await deployment.db.value("select ended_at from tasks where id = $1", ticket.task_id))

    await eventually(ended)
    key = await account_store.create_key(deployment.db, bob.account_id)
    files = [row["key"] for row in await deployment.db.rows("select key from shots where task_id = $1", ticket.task_id)]
    assert files
    assert await delete_account(deployment.db, "bob", actor="test")
    assert not await delete_account(deployment.db, "bob", actor="test"), "a repeated call"
    assert await account_store.find_bearer(deployment.db, key) is None
    assert await account_store.find_account(deployment.db, "bob") is None
    assert [account.name for account, _ in await account_store.list_accounts(deployment.db)] == ["alice"]
    await purge_deleted_accounts(deployment.db, deployment.storage)
    await make_due(deployment)
    await purge_deleted_accounts(deployment.db, deployment.storage)
    await sweep(deployment.db, deployment.storage, history=HISTORY)
    assert await rows(deployment) == before
    assert await deployment.db.value("select count(*) from accounts") == 1
    assert [await deployment.storage.get(file) for file in files] == [None] * len(files)
    assert (await get_task(deployment, kept.task_id)).status == "succeed"


async def test_the_unfinished_tasks_of_a_deleted_account_end_without_charge_and_callback(
    make_deployment: MakeDeployment,
) -> None:
    deployment = await make_deployment()
    bob = await second_account(deployment)
    await deployment.submit(caller=bob, n=9, callback_url="https://receiver.example/")
    (batch,) = await claim(deployment)
    await delete_account(deployment.db, "bob", actor="test")
    row = await deployment.db.row("select status, status_message, units_charged, images_done from tasks")
    assert row is not None
    assert tuple(row) == ("failed", "the account was deleted", 0, 0)
    assert await deployment.db.value("select count(*) from batches where id = $1", batch.id) == 0
    assert await deployment.db.value("select count(*) from callback_messages") == 0
    await make_due(deployment)
    await purge_deleted_accounts(deployment.db, deployment.storage)
    assert await deployment.db.value("select count(*) from accounts") == 1


async def test_the_name_of_a_deleted_account_can_be_used_again(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    bob = await second_account(deployment)
    await delete_account(deployment.db, "bob", actor="test")
    assert (await second_account(deployment)).account_id != bob.account_id
    entries = await audit_log.list_changes(deployment.db, limit=10, subject="bob")
    assert [(entry.actor, entry.action) for entry in entries] == [
        ("framehouse", "account.create"), ("test", "account.delete"), ("framehouse", "account.create")
    ]  # fmt: skip


async def test_all_deleted_accounts_are_purged_even_if_the_command_was_killed(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    for number in range(12):
        await account_store.create_account(deployment.db, f"a{number}")
        account = await account_store.find_account(deployment.db, f"a{number}")
        assert account is not None
        await deployment.submit(caller=Caller(account.id, account.name))
        await account_store.delete_account(deployment.db, account.name)  # and then the process dies
    await purge_deleted_accounts(deployment.db, deployment.storage)
    assert await deployment.db.value("select count(*) from batches") == 0
    await make_due(deployment)
    await purge_deleted_accounts(deployment.db, deployment.storage)
    assert await deployment.db.value("select count(*) from accounts") == 1


async def test_a_deleted_account_cannot_be_used_under_its_internal_name(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    db = deployment.db
    bob = await second_account(deployment)
    ticket = await deployment.submit(caller=bob)
    await delete_account(db, "bob", actor="test")
    name = await db.value("select name from accounts where id = $1", bob.account_id)
    assert await account_store.find_account(db, name) is None
    assert not await account_store.set_account(
        db, name, concurrency=None, units_limit=None, no_limit=False, disabled=False
    )
    assert await account_store.rotate_secret(db, name, timedelta(hours=1)) is None
    assert not await delete_account(db, name, actor="test")
    key = await account_store.create_key(db, bob.account_id)
    assert await account_store.find_bearer(db, key) is None
    assert await failed_tasks.list_failed_tasks(db, limit=10) == []
    task = FailedTask(ticket.task_id, "bob", "kling-v3-omni", "1k", "single", "", datetime.now(UTC), (0,))
    assert await failed_tasks.retry_task(db, task, max_batch=1) != "retried"
