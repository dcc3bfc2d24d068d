-- Claims up to :limit due batches of the given routes, and returns the data that is needed to generate their images: see
-- the function claim_batches.
select * from claim_batches(:models::text[], :routes::text[], :limit::int, :claim::uuid, :worker::int, :lease::interval, :task_id::uuid, :ready::boolean, :ready_accounts::bigint[], :filters::text[], :max_batches::int[])
order by id;
