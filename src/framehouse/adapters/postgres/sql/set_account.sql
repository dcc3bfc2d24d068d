-- Changes an account. If a value is null, its column does not change. :no_limit removes the units limit.
update accounts
set concurrency = coalesce(:concurrency, concurrency),
    units_limit = case when :no_limit then null else coalesce(:units_limit, units_limit) end,
    disabled = coalesce(:disabled, disabled),
    weight = coalesce(:weight, weight)
where name = :name
returning id;
