-- Marks an element of an account as deleted, and deletes the rows of its images. Returns the task id of the element, or
-- null if the account has no such element. A repeated call with the same p_at returns the same result.
create or replace function delete_element(p_account bigint, p_element_id bigint, p_at timestamptz) returns uuid
language plpgsql as $$
declare
    gone uuid;
begin
    update elements set deleted_at = p_at
    where account_id = p_account and element_id = p_element_id and status = 'succeed'
      and (deleted_at is null or deleted_at = p_at)
    returning id into gone;
    delete from element_references where element = gone;
    return gone;
end $$;
