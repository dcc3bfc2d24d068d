-- Deletes the data of up to ten deleted accounts, and returns the number of changed rows. For each account, one call
-- deletes at most p_limit rows of each table, so the sweeper calls this function repeatedly until all data is deleted.
-- The function first ends the unfinished tasks with the message p_message. All tasks of the account then expire at most
-- p_grace after their end, so that the sweeper deletes their images. p_grace is needed, because a worker may store an
-- image shortly after its task has ended. The row of a task is deleted after its images. The file of a reference is
-- deleted when no row refers to the file.
create or replace function purge_accounts(p_limit int, p_message text, p_grace interval) returns int
language plpgsql as $$
declare
    account accounts;
    task    tasks;
    changed int := 0;
    total   int := 0;
begin
    for account in select * from accounts where deleted_at is not null order by id limit 10 loop
        for task in
            select * from tasks where account_id = account.id and status in ('submitted', 'processing')
            order by id limit p_limit for no key update skip locked
        loop
            update tasks set callback_url = null where id = task.id;
            perform end_task(task.id, 'failed', p_message, 0, p_grace);
            total := total + 1;
        end loop;
        update tasks set expires_at = ended_at + p_grace
        where id in (
            select id from tasks
            where account_id = account.id and expired_at is null and expires_at > ended_at + p_grace
            order by id limit p_limit for no key update skip locked
        );
        get diagnostics changed = row_count; total := total + changed;
        delete from tasks where id in (
            select id from tasks where account_id = account.id and expired_at is not null order by id limit p_limit for update skip locked
        );
        get diagnostics changed = row_count; total := total + changed;
        delete from elements where id in (
            select id from elements where account_id = account.id order by id limit p_limit for update skip locked
        );
        get diagnostics changed = row_count; total := total + changed;
        delete from uploads where id in (select id from uploads where account_id = account.id limit p_limit for update skip locked);
        get diagnostics changed = row_count; total := total + changed;
        delete from idempotency_keys where (account_id, key) in (
            select account_id, key from idempotency_keys where account_id = account.id limit p_limit for update skip locked
        );
        get diagnostics changed = row_count; total := total + changed;
        delete from taken_ids where (account_id, kind, external_task_id) in (
            select account_id, kind, external_task_id from taken_ids where account_id = account.id limit p_limit for update skip locked
        );
        get diagnostics changed = row_count; total := total + changed;
        delete from charges where id in (select id from charges where account_id = account.id limit p_limit for update skip locked);
        get diagnostics changed = row_count; total := total + changed;
        if not exists (select from tasks where account_id = account.id)
           and not exists (select from elements where account_id = account.id)
           and not exists (select from uploads where account_id = account.id)
           and not exists (select from idempotency_keys where account_id = account.id)
           and not exists (select from taken_ids where account_id = account.id)
           and not exists (select from charges where account_id = account.id) then
            delete from account_turns where account_id = account.id;
            delete from sign_in_codes where account_id = account.id;
            delete from api_keys where account_id = account.id;
            delete from accounts where id = account.id;
            total := total + 1;
        end if;
    end loop;
    return total;
end $$;
