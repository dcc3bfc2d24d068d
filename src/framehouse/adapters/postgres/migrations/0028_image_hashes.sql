-- Perceptual hashes of generated images. An image that was generated before this migration has no hash.

create table image_hashes (
    task_id uuid not null,
    index   smallint not null,
    hash    bit(256) not null,
    bands   integer[] not null,
    primary key (task_id, index),
    foreign key (task_id, index) references shots on delete cascade
);
create index image_hashes_by_band on image_hashes using gin (bands) with (fastupdate = off);
comment on table image_hashes is 'The hashes by which copies of generated images are found. A hash is deleted with its task.';
comment on column image_hashes.bands is
    'the 16 parts of the hash that have 16 bits each; the higher 16 bits of an entry are the number of the part';
