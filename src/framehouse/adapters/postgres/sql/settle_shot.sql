select settle_shot(
    :task_id, :batch_id, :claim, :index::int::smallint, :engine, :key, :watermark_key, :media_type, :width, :height, :retention,
    :thumb_hash, :cost, :currency, :perceptual_hash::bytea
);
