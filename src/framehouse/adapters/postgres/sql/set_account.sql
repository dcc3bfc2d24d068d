-- A null value does not change its column. :no_limit removes the units limit.
update accounts
set concurrency = coalesce(:concurrency, concurrency),
    units_limit = case when :no_limit then null else coalesce(:units_limit, units_limit) end,
    disabled = coalesce(:disabled, disabled)
where name = :name
returning id;
