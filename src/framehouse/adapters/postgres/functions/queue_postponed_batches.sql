-- Gives a turn to each postponed batch of the given routes that has become due. The turns of an account's postponed
-- batches are separate from the turns of its new batches. The postponed batches therefore neither wait for the new
-- batches of their account nor delay the batches of other accounts.
create or replace function queue_postponed_batches(p_models text[], p_routes text[]) returns void
language plpgsql as $$
begin
    if not exists (
        select from unnest(p_models, p_routes) as served (model, route)
        cross join lateral (
            select from batches b
            where b.claim is null and b.turn is null and b.run_at <= now() and b.model = served.model and b.route = served.route
            limit 1
        ) due
    ) then
        return;
    end if;
    insert into batch_queues (model, route, low)
    select served.model, served.route, priority.low
    from unnest(p_models, p_routes) as served (model, route) cross join (values (false), (true)) as priority (low)
    order by 1, 2, 3
    on conflict do nothing;
    with due as materialized (
        select b.id, t.account_id, b.model, b.route, b.low, b.turn_cost
        from unnest(p_models, p_routes) as served (model, route)
        cross join lateral (
            select b.* from batches b
            where b.claim is null and b.turn is null and b.run_at <= now() and b.model = served.model and b.route = served.route
            order by b.run_at
            limit 500
            for update skip locked
        ) b
        join tasks t on t.id = b.task_id
    ), accounts_due as (
        insert into account_turns as a (account_id, model, route, low, postponed, next_turn, refund)
        select d.account_id, d.model, d.route, d.low, true, q.virtual_time + sum(d.turn_cost), sum(d.turn_cost)
        from due d join batch_queues q on q.model = d.model and q.route = d.route and q.low = d.low
        group by d.account_id, d.model, d.route, d.low, q.virtual_time
        order by d.account_id, d.model, d.route, d.low
        on conflict (account_id, model, route, low, postponed) do update
        set next_turn = greatest(a.next_turn + excluded.refund, excluded.next_turn), refund = excluded.refund
        returning a.*
    ), placed as (
        select d.id, a.next_turn - a.refund - d.turn_cost
               + sum(d.turn_cost) over (partition by d.account_id, d.model, d.route, d.low order by d.id) as turn
        from due d
        join accounts_due a on (a.account_id, a.model, a.route, a.low) = (d.account_id, d.model, d.route, d.low)
    )
    update batches b set turn = placed.turn, postponed = true from placed where b.id = placed.id;
end $$;
