-- $1 task, $2 index, $3 key, $4 width, $5 height: kept where there is none yet
update task_references
set key = coalesce(key, $3), width = case when key is null then $4 else width end,
    height = case when key is null then $5 else height end
where task_id = $1 and index = $2
returning key, width, height;
