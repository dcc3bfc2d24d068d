-- Checks up to :limit stored references that were not used for :grace, and deletes the rows of unneeded references. A
-- needed reference is checked again after another :grace. A reference that another transaction is using is skipped,
-- because its row is locked or its last use is recent.
with due as (
    select s.sha256, s.key, exists (select from needed_references n where n.key = s.key) as needed
    from stored_references s
    where s.used_at < now() - :grace::interval
    order by s.used_at
    limit :limit
    for update of s skip locked
), needed as (
    update stored_references s set used_at = now() from due where s.sha256 = due.sha256 and due.needed
), forgotten as (
    delete from stored_references s using due where s.sha256 = due.sha256 and not due.needed
    returning s.key
), recorded as (
    insert into forgotten_files (key) select key from forgotten on conflict do nothing
)
select count(*) from due;
