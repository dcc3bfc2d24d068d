-- Returns the image that is most similar to one of :hashes. The function find_similar_image describes the parameters.
select * from find_similar_image(:hashes::bit(256)[], :bands::int[], :max_distance::int, :account_id::bigint);
