-- Saves a fetched reference, unless a copy of the reference is already saved. Returns the saved copy.
update task_references
set key = coalesce(key, :key), width = case when key is null then :width else width end,
    height = case when key is null then :height else height end
where task_id = :task_id and index = :index
returning key, width, height;
