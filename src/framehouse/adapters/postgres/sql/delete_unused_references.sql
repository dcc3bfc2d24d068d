-- Examines up to :limit contents that were not used for :grace. Deletes the contents that are not needed. The needed
-- contents are examined again after another :grace. A row that is used at this moment is skipped, because it is locked
-- or no longer old.
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
