-- $1 name, $2 concurrency or null, $3 units limit or null, $4 true: no units limit, $5 disabled or null
update accounts
set concurrency = coalesce($2, concurrency),
    units_limit = case when $4 then null else coalesce($3, units_limit) end,
    disabled = coalesce($5, disabled)
where name = $1
returning id;
