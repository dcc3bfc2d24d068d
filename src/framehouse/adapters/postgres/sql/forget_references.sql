-- $1 grace, $2 how many to look at. Forgets what was not used for so long and is not needed; what is needed is looked at
-- again after another grace. A row that somebody is touching just now is locked or no longer old: it is skipped.
with due as (
    select s.sha256, s.key, exists (select from needed_references n where n.key = s.key) as needed
    from stored_references s
    where s.used_at < now() - $1::interval
    order by s.used_at
    limit $2
    for update of s skip locked
), needed as (
    update stored_references s set used_at = now() from due where s.sha256 = due.sha256 and due.needed
), forgotten as (
    delete from stored_references s using due where s.sha256 = due.sha256 and not due.needed
    returning s.key
), noted as (
    insert into forgotten_files (key) select key from forgotten on conflict do nothing
)
select count(*) from due;
