"""Work of one account that waits for slow hosts does not delay other accounts."""

from collections import Counter
from datetime import timedelta
from typing import Any

from framehouse.adapters.postgres import callback_queue, element_store
from framehouse.adapters.postgres.callback_queue import CallbackMessage, HostLimits
from framehouse.domain.batch_retry import RetryLimits
from framehouse.entrypoints.worker.claim import LOADING_LIMIT, ClaimSignal, claim_batches
from framehouse.entrypoints.worker.held_batches import HeldBatches
from framehouse.entrypoints.worker.route_gate import RouteClaims
from tests.support.in_process_deployment import MakeDeployment, second_account

LEASE = timedelta(seconds=30)


async def test_dead_callback_hosts_of_one_account_leave_half_of_the_deliveries(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    bob = await second_account(deployment)
    for number in range(20):
        await deployment.submit(callback_url=f"https://dead-{number}.example/")
    await deployment.submit(caller=bob, callback_url="https://live.example/")
    await deployment.db.row("select start_tasks(array(select id from tasks))")

    async def claim(**options: Any) -> Counter[int]:
        messages: list[CallbackMessage] = await callback_queue.claim_callbacks(
            deployment.db, limit=12, host_limits=HostLimits(), healthy=(), failing=(), lease=LEASE, **options
        )
        return Counter(message.account_id for message in messages)

    alice = deployment.caller.account_id
    assert await claim(deliveries={alice: 5}, account_limit=6) == {alice: 1, bob.account_id: 1}
    assert await claim(deliveries={alice: 6}, account_limit=6) == {}
    assert (await claim())[alice] == 12


async def test_the_accounts_whose_elements_are_claimed_take_turns(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    bob = await second_account(deployment)
    insert = (
        "insert into elements (id, element_id, account_id, status, name, description, tags) "
        "select gen_random_uuid(), $1::bigint + n, $2, 'submitted', 'bag', 'a bag', '{}' "
        "from generate_series(1, $3::int) n"
    )
    await deployment.db.row(insert, 5_000_000_000_000, deployment.caller.account_id, 20)
    first = await element_store.claim_elements(deployment.db, limit=3, lease=LEASE)
    await deployment.db.row(insert, 6_000_000_000_000, bob.account_id, 2)
    then = await element_store.claim_elements(deployment.db, limit=3, lease=LEASE)
    assert {claimed.account_id for claimed in first} == {deployment.caller.account_id}
    assert [claimed.account_id for claimed in then].count(bob.account_id) == 2


async def test_references_on_slow_hosts_of_one_account_do_not_stop_other_accounts(
    make_deployment: MakeDeployment,
) -> None:
    """At most half of the batches whose references a worker loads belong to one account."""
    deployment = await make_deployment()
    bob = await second_account(deployment)
    held = HeldBatches(limit=2)

    async def claim_often() -> Counter[int]:
        for _ in range(LOADING_LIMIT):
            await claim_batches(
                deployment.db, held, ClaimSignal(), worker=1,
                routes=RouteClaims({("kling-v3-omni", ""): "all"}), lease=LEASE,
                limits=RetryLimits(),
            )  # fmt: skip
            for batch in held:
                batch.held_since -= 60  # a batch that loads slowly occupies no slot
        return Counter(batch.batch.account_id for batch in held if batch.batch.references)

    for number in range(LOADING_LIMIT + 4):
        await deployment.submit("<<<image_1>>>", image_list=[{"image": f"https://slow.example/{number}.png"}])
    assert await claim_often() == {deployment.caller.account_id: LOADING_LIMIT // 2}
    await deployment.submit("<<<image_1>>>", caller=bob, image_list=[{"image": "https://slow.example/bob.png"}])
    await deployment.submit("a fox without references")
    assert await claim_often() == {deployment.caller.account_id: LOADING_LIMIT // 2, bob.account_id: 1}
    assert len(held) == LOADING_LIMIT // 2 + 2
