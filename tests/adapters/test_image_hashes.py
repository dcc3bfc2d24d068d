"""Perceptual hashes: copies of an image have almost the same hash, and the database finds similar hashes quickly."""

import io
from uuid import UUID, uuid4

import asyncpg
import numpy as np
import pytest
from PIL import Image

from framehouse.adapters.images.perceptual_hash import HASH_BYTES, hashes_to_find, perceptual_hash
from framehouse.adapters.images.preview import create_preview
from framehouse.adapters.postgres import account_store
from framehouse.adapters.postgres.image_hashes import find_named_image, find_similar_image
from framehouse.adapters.postgres.pool import Database
from framehouse.domain.verification import SIMILAR_DISTANCE
from tests.support.eventually import eventually
from tests.support.in_process_deployment import MakeDeployment
from tests.support.signed_images import pixels

RANDOM = np.random.default_rng(5)


def distance(first: bytes, second: bytes) -> int:
    return sum((a ^ b).bit_count() for a, b in zip(first, second, strict=True))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def flipped(hash: bytes, *bits: int) -> bytes:
    return (int.from_bytes(hash) ^ sum(1 << bit for bit in bits)).to_bytes(HASH_BYTES)


@pytest.mark.parametrize("size", [(1024, 1024), (1536, 864), (700, 1000), (300, 300)])
def test_a_resized_and_compressed_copy_is_similar(size: tuple[int, int]) -> None:
    for seed in range(5):
        original = pixels(seed, *size)
        _, _, recorded = create_preview(original, b"")
        copy = jpeg(Image.fromarray(original).resize((size[0] // 2, size[1] // 2)), 70)
        assert min(distance(recorded, hash) for hash in hashes_to_find(copy)) <= SIMILAR_DISTANCE


def test_a_screenshot_with_a_border_is_similar() -> None:
    original = Image.fromarray(pixels(1, 800, 600))
    screenshot = Image.new("RGB", (900, 700), (250, 250, 250))
    screenshot.paste(original, (40, 60))
    recorded = perceptual_hash(original)
    assert min(distance(recorded, hash) for hash in hashes_to_find(jpeg(screenshot, 85))) <= SIMILAR_DISTANCE


def test_different_images_are_not_similar() -> None:
    hashes = [perceptual_hash(Image.fromarray(pixels(seed))) for seed in range(40)]
    distances = [distance(a, b) for n, a in enumerate(hashes) for b in hashes[:n]]
    assert min(distances) > 2 * SIMILAR_DISTANCE


def test_an_image_of_one_colour_has_no_hash() -> None:
    assert perceptual_hash(Image.new("RGB", (512, 512), (10, 200, 30))) == b""
    assert hashes_to_find(Image.new("RGB", (5, 1), "red")) == ()


async def record(db: Database, hash: bytes, account: str = "alice", index: int = 0) -> UUID:
    """Insert a finished image with this hash."""
    task_id = uuid4()
    await account_store.create_account(db, account)
    await db.row(
        "insert into tasks (id, account_id, model, prompt, elements, result_type, image_count, resolution, ratio, "
        "watermark, units_reserved) select :id, id, 'kling-v3-omni', 'p', '{}', 'single', 1, '1k', '1:1', false, 1 "
        "from accounts where name = :account",
        id=task_id,
        account=account,
    )
    await db.row(
        "insert into shots (task_id, index, prompt, framing, seed, painted_at, engine, key) "
        "values (:id, :index::int, 'p', '', 1, now(), 'previz', 'k')",
        id=task_id,
        index=index,
    )
    await db.row(
        "insert into image_hashes (task_id, index, hash, bands) values (:id, :index::int, :hash, "
        "array(select 65536 * band + 256 * get_byte(:bytes, 2 * band) + get_byte(:bytes, 2 * band + 1) "
        "from generate_series(0, 15) band))",
        id=task_id,
        index=index,
        hash=bit_string(hash),
        bytes=hash,
    )
    return task_id


def bit_string(hash: bytes) -> object:
    return asyncpg.BitString.frombytes(hash, 256)


async def test_all_hashes_within_the_distance_are_found(db: Database) -> None:
    """One or two different bits in each band are the most difficult case."""
    hash = RANDOM.bytes(HASH_BYTES)
    task_id = await record(db, hash)
    one_per_band = [16 * band + band for band in range(16)]
    cases = [
        [],
        one_per_band,
        one_per_band + [bit + 1 for bit in one_per_band[:15]],
        *(RANDOM.choice(256, SIMILAR_DISTANCE, replace=False).tolist() for _ in range(20)),
    ]
    for bits in cases:
        found = await find_similar_image(db, [flipped(hash, *bits)])
        assert found, bits
        assert (found.task_id, found.distance, found.account) == (task_id, len(bits), "alice")
    assert await find_similar_image(db, [flipped(hash, *range(0, 256, 8))]) is None
    assert await find_similar_image(db, []) is None


async def test_the_most_similar_image_is_found_but_own_images_take_precedence(db: Database) -> None:
    hash = RANDOM.bytes(HASH_BYTES)
    nearest = await record(db, flipped(hash, 1), "bob")
    own = await record(db, flipped(hash, 1, 2, 3), "alice")
    found = await find_similar_image(db, [hash])
    assert found
    assert found.task_id == nearest
    alice = await account_store.find_account(db, "alice")
    assert alice
    found = await find_similar_image(db, [RANDOM.bytes(HASH_BYTES), hash], alice.id)
    assert found
    assert found.task_id == own


async def test_a_named_image_is_found_with_its_distance(db: Database) -> None:
    hash = RANDOM.bytes(HASH_BYTES)
    task_id = await record(db, hash, index=2)
    found = await find_named_image(db, task_id, 2, [flipped(hash, 5, 6)])
    assert found
    assert (found.distance, found.engine) == (2, "previz")
    without_hash = await find_named_image(db, task_id, 2, [])
    assert without_hash
    assert without_hash.distance is None
    assert await find_named_image(db, task_id, 0, [hash]) is None


async def test_the_hash_is_deleted_with_its_task(db: Database) -> None:
    hash = RANDOM.bytes(HASH_BYTES)
    task_id = await record(db, hash)
    await db.row("delete from tasks where id = :id", id=task_id)
    assert await db.value("select count(*) from image_hashes") == 0


async def test_the_hash_of_a_finished_image_is_recorded(make_deployment: MakeDeployment, db: Database) -> None:
    deployment = await make_deployment({"engine": "previz"})
    ticket = await deployment.submit("a lighthouse at sunset")
    deployment.start_worker()

    async def key() -> object:
        return await db.value("select key from shots where task_id = :id and key is not null", id=ticket.task_id)

    content = await deployment.storage.get(str(await eventually(key)))
    assert content
    hashes = hashes_to_find(Image.open(io.BytesIO(content)).convert("RGB"))
    found = await find_similar_image(db, hashes)
    assert found
    assert (found.task_id, found.account, found.engine) == (ticket.task_id, "alice", "previz")
    bands = await db.value("select bands from image_hashes")
    hash = (await db.value("select hash from image_hashes")).bytes
    assert bands == [65536 * band + int.from_bytes(hash[2 * band : 2 * band + 2]) for band in range(16)]
