"""Edits with a mask: the checks of masks, the pixels outside the mask, and whole tasks."""

import base64
import io
import struct
import zlib
from dataclasses import replace
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from framehouse.adapters.images.resize import resize_and_crop
from framehouse.adapters.reference_files.header import BadImage
from framehouse.domain.errors import Refused
from framehouse.domain.reference import SentImage
from framehouse.domain.sizes import Size
from framehouse.domain.task import ImageRequest, RequestOptions
from framehouse.domain.upload import download_key
from framehouse.engines.image_files import png_file
from framehouse.pipeline.masks import prepare_mask
from framehouse.pipeline.original_pixels import Original, generated_share, insert_original
from framehouse.pipeline.references import content_of
from framehouse.pipeline.uploads import save_upload
from tests.support.http_answers import http, server
from tests.support.image_files import encoded, image_file, png_chunk
from tests.support.in_process_deployment import RULES, Deployment, MakeDeployment
from tests.support.mask_files import Area, inside, mask_file, mask_image, photo
from tests.support.tasks import wait_for_task

SIZE, AREA = (400, 300), (100, 50, 250, 200)
SAME = Size(*SIZE)


def edited(content: bytes, first: tuple[int, int] = SIZE, size: Size = SAME) -> NDArray[np.bool_] | None:
    """Return whether each pixel of the first reference may be edited, or None if all of them may."""
    mask = prepare_mask(content, first, size)
    if mask is None:
        return None
    with Image.open(io.BytesIO(mask.content)) as image:
        assert (image.mode, image.size, mask.role) == ("L", first, "mask")
        assert (mask.width, mask.height) == first
        values = np.asarray(image)
    assert set(np.unique(values)) == {0, 255}
    result: NDArray[np.bool_] = values == 255
    return result


def same(one: NDArray[np.bool_] | None, other: NDArray[np.bool_]) -> bool:
    return one is not None and np.array_equal(one, other)


def png_of(rows: bytes, colour_type: int, depth: int, *chunks: bytes, size: tuple[int, int] = SIZE) -> bytes:
    """A PNG file. Each row starts with a zero for the filter."""
    header = struct.pack(">IIBBBBB", *size, depth, colour_type, 0, 0, 0)
    body = [png_chunk(b"IHDR", header), *chunks, png_chunk(b"IDAT", zlib.compress(rows)), png_chunk(b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def rows_of(kept: bytes, transparent: bytes) -> bytes:
    lines = []
    for y in range(SIZE[1]):
        pixels = [transparent if AREA[0] <= x < AREA[2] and AREA[1] <= y < AREA[3] else kept for x in range(SIZE[0])]
        lines.append(b"\0" + b"".join(pixels))
    return b"".join(lines)


def unusual_masks() -> dict[str, bytes]:
    palette = png_chunk(b"PLTE", bytes(range(6)))
    with_exif = Image.Exif()
    with_exif[0x0112] = 6  # to be rotated by 90 degrees
    turned = mask_image(*SIZE, AREA).transpose(Image.Transpose.ROTATE_90)
    return {
        "RGBA": mask_file(*SIZE, AREA),
        "16-bit RGBA": png_of(rows_of(b"\x12\x34" * 3 + b"\xff\xff", b"\x12\x34" * 3 + b"\0\0"), 6, 16),
        "greyscale with alpha": encoded(mask_image(*SIZE, AREA).convert("LA"), "PNG"),
        "16-bit greyscale with alpha": png_of(rows_of(b"\0\x09\xff\xff", b"\0\x09\0\0"), 4, 16),
        "palette with tRNS": png_of(rows_of(b"\0", b"\1"), 3, 8, palette, png_chunk(b"tRNS", b"\xff\0")),
        "greyscale with tRNS": png_of(rows_of(b"\x50", b"\x77"), 0, 8, png_chunk(b"tRNS", b"\0\x77")),
        "16-bit greyscale with tRNS": png_of(rows_of(b"\x50\1", b"\x50\2"), 0, 16, png_chunk(b"tRNS", b"\x50\2")),
        "RGB with tRNS": png_of(rows_of(b"abc", b"xyz"), 2, 8, png_chunk(b"tRNS", b"\0x\0y\0z")),
        "rotated": encoded(turned, "PNG", exif=with_exif),
    }


@pytest.mark.parametrize("name", unusual_masks())
def test_the_transparent_pixels_of_every_kind_of_png_are_edited(name: str) -> None:
    assert same(edited(unusual_masks()[name]), inside(*SIZE, AREA))


def test_only_fully_transparent_pixels_are_edited() -> None:
    image = mask_image(*SIZE, AREA)
    alpha = image.getchannel("A").point([0, *[1] * 255])
    image.putalpha(alpha)
    assert same(edited(encoded(image, "PNG")), inside(*SIZE, AREA))


@pytest.mark.parametrize("factor", [2, 3])
def test_a_mask_of_another_size_is_scaled(factor: int) -> None:
    larger: Area = (AREA[0] * factor, AREA[1] * factor, AREA[2] * factor, AREA[3] * factor)
    scaled = edited(mask_file(SIZE[0] * factor, SIZE[1] * factor, larger))
    assert same(scaled, inside(*SIZE, AREA))
    double = edited(mask_file(*SIZE, AREA), (800, 600), Size(800, 600))
    assert same(double, inside(800, 600, (200, 100, 500, 400)))


def test_a_mask_that_permits_everything_is_no_mask() -> None:
    assert edited(mask_file(*SIZE, (0, 0, *SIZE))) is None
    assert edited(mask_file(*SIZE, (50, 0, 350, 300)), size=Size(300, 300)) is None, "the kept pixels are cropped"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (mask_file(*SIZE, (0, 0, 0, 0)), "has no fully transparent pixels"),
        (encoded(mask_image(*SIZE, AREA).convert("RGB"), "PNG"), "has no alpha channel"),
        (encoded(mask_image(*SIZE, AREA).convert("L"), "PNG"), "has no alpha channel"),
        (encoded(mask_image(*SIZE, AREA), "WEBP", lossless=True), "must be a PNG file with an alpha channel"),
        (image_file(*SIZE, "JPEG"), "must be a PNG file with an alpha channel"),
        (mask_file(400, 320, AREA), "is 400x320 px, but the first image is 400x300 px"),
        (mask_file(*SIZE, AREA)[:300], "is damaged"),
        (png_of(rows_of(b"\0", b"\1"), 3, 8, png_chunk(b"tRNS", b"\xff\0")), "is damaged"),
        (png_of(b"", 6, 8), "is damaged"),
    ],
)
def test_a_file_that_is_not_a_mask_is_refused(content: bytes, problem: str) -> None:
    with pytest.raises(BadImage, match=problem):
        edited(content)


def test_a_mask_that_permits_only_cropped_pixels_is_refused() -> None:
    content = mask_file(*SIZE, (0, 0, 40, 300))
    assert edited(content, size=Size(400, 300)) is not None
    with pytest.raises(BadImage, match="cropped at its centre to the aspect ratio of 300x300 px"):
        edited(content, size=Size(300, 300))


def test_the_soft_edge_is_inside_the_mask() -> None:
    mask = inside(*SIZE, AREA).astype(np.uint8) * 255
    share = generated_share(mask)
    assert (share[mask == 0] == 0).all()
    assert (share[mask == 255] > 0).all()
    row = share[125]
    assert row[99] == 0
    assert 0 < row[100] < row[101] < row[102] < row[103] < 255
    assert (row[104:246] == 255).all()
    thin = np.zeros((300, 400), np.uint8)
    thin[100] = thin[200:204] = thin[:, 7] = 255
    assert np.array_equal(generated_share(thin), thin), "thin lines have no soft edge"
    whole = np.full((300, 400), 255, np.uint8)
    assert np.array_equal(generated_share(whole), whole)
    at_border = generated_share(inside(*SIZE, (0, 0, 200, 300)).astype(np.uint8) * 255)
    assert (at_border[:, :196] == 255).all(), "the border of the image has no soft edge"


@pytest.mark.parametrize("size", [(400, 300), (800, 600), (200, 150), (300, 300), (400, 225), (640, 960)])
def test_outside_the_mask_are_the_scaled_and_cropped_pixels_of_the_original(size: tuple[int, int]) -> None:
    image, mask = photo(*SIZE), prepare_mask(mask_file(*SIZE, AREA), SIZE, Size(*size))
    assert mask is not None
    generated = np.full((size[1], size[0], 3), (255, 0, 255), np.uint8)
    result = insert_original(generated, Original(encoded(image, "PNG"), mask=mask.content))
    expected = resize_and_crop(np.asarray(image), Size(*size))
    area = resize_and_crop(inside(*SIZE, AREA).astype(np.uint8) * 255, Size(*size), Image.Resampling.BILINEAR)
    assert np.array_equal(result[area == 0], expected[area == 0])
    core = generated_share(area) == 255
    assert core.any()
    eroded = core[2:-2, 2:-2] & core[4:, 2:-2] & core[:-4, 2:-2] & core[2:-2, 4:] & core[2:-2, :-4]
    assert (result[2:-2, 2:-2][eroded] == (255, 0, 255)).all()
    assert (generated == (255, 0, 255)).all(), "the generated image was changed in place"


# --- tasks ----------------------------------------------------------------------------------------------------------

PHOTO = png_file(photo(1024, 1024))
PHOTO_AREA: Area = (300, 400, 700, 900)
PREVIZ: dict[str, object] = {"engine": "previz"}


def data(content: bytes) -> str:
    return base64.b64encode(content).decode()


def edit(mask: bytes | str, image: bytes | str = PHOTO, **fields: Any) -> ImageRequest:
    files = [file if isinstance(file, str) else data(file) for file in (image, mask)]
    images = (SentImage("image[0]", files[0]), SentImage("mask", files[1], "mask"))
    return ImageRequest("kling-v3-omni", "a red car", images=images, **fields)


async def result_of(deployment: Deployment, request: ImageRequest) -> np.ndarray[Any, Any]:
    """Process an edit, and return the pixels of its first image."""
    ticket = await deployment.submit_request(request)
    deployment.start_worker()
    task = await wait_for_task(deployment, ticket.task_id)
    assert task.status == "succeed", task.status_message
    content = await deployment.storage.get(task.images[0].key)
    assert content
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


async def failure_of(deployment: Deployment, request: ImageRequest) -> str:
    """Process an edit that must fail, and return the message."""
    ticket = await deployment.submit_request(request)
    deployment.start_worker()
    task = await wait_for_task(deployment, ticket.task_id)
    assert (task.status, task.units_charged) == ("failed", 0)
    return task.status_message


async def test_an_edit_changes_only_the_masked_area(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment(PREVIZ)
    pixels = await result_of(deployment, edit(mask_file(1024, 1024, PHOTO_AREA)))
    original, area = np.asarray(photo(1024, 1024)), inside(1024, 1024, PHOTO_AREA)
    assert pixels.shape == original.shape
    assert np.array_equal(pixels[~area], original[~area])
    assert (pixels[area] != original[area]).any(axis=1).mean() > 0.9
    rows = await deployment.db.rows("select role, field from task_references order by index")
    assert [tuple(row) for row in rows] == [("", "image[0]"), ("mask", "mask")]


async def test_the_centre_of_the_image_and_of_the_mask_is_kept_if_the_ratio_differs(
    make_deployment: MakeDeployment,
) -> None:
    deployment = await make_deployment(PREVIZ)
    pixels = await result_of(deployment, edit(mask_file(512, 512, (150, 200, 350, 300)), ratio="16:9"))
    height, width = pixels.shape[:2]
    original = resize_and_crop(np.asarray(photo(1024, 1024)), Size(width, height))
    area = resize_and_crop(
        inside(1024, 1024, (300, 400, 700, 600)).astype(np.uint8) * 255, Size(width, height), Image.Resampling.BILINEAR
    )
    assert np.array_equal(pixels[area == 0], original[area == 0])
    assert (pixels[area == 255] != original[area == 255]).any(axis=1).mean() > 0.9


@pytest.mark.parametrize("size", [None, (1100, 1000), (1000, 1100), (640, 1400), (1999, 1003)])
@pytest.mark.parametrize("ratio", ["1:1", "16:9", "2:3"])
async def test_the_generated_image_has_the_same_place_as_the_original(
    make_deployment: MakeDeployment, size: tuple[int, int] | None, ratio: str
) -> None:
    deployment = await make_deployment({"engine": "tests.support.echo_engine:Echo"})
    image = photo(1500, 1000)
    mask = mask_file(1500, 1000, (650, 300, 850, 700))
    request = edit(mask, png_file(image), ratio=ratio, options=RequestOptions(size=Size(*size) if size else None))
    pixels = await result_of(deployment, request)
    assert size is None or pixels.shape[1::-1] == size
    expected = resize_and_crop(np.asarray(image), Size(pixels.shape[1], pixels.shape[0]))
    assert np.abs(pixels.astype(int) - expected).max() <= 3


async def test_without_a_ratio_the_first_image_decides_and_not_the_mask(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment(PREVIZ)
    pixels = await result_of(deployment, edit(mask_file(600, 400, (100, 100, 300, 300)), image_file(1200, 800)))
    assert pixels.shape[1] / pixels.shape[0] == pytest.approx(1.5, rel=0.01)


async def test_a_completely_transparent_mask_permits_to_edit_the_whole_image(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment(PREVIZ)
    pixels = await result_of(deployment, edit(mask_file(1024, 1024, (0, 0, 1024, 1024))))
    assert (pixels != np.asarray(photo(1024, 1024))).any(axis=2).mean() > 0.9


async def test_a_mask_can_be_a_url(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment(PREVIZ)
    deployment.rules = replace(RULES, allow_private_addresses=True)
    async with server(lambda _: http("200 OK", mask_file(1024, 1024, PHOTO_AREA))) as url:
        pixels = await result_of(deployment, edit(f"{url}/mask.png"))
    area = inside(1024, 1024, PHOTO_AREA)
    assert np.array_equal(pixels[~area], np.asarray(photo(1024, 1024))[~area])


async def upload(deployment: Deployment, content: bytes) -> str:
    """Upload an image, and return its URL."""
    id, account_id = uuid4(), deployment.caller.account_id
    await save_upload(content_of(content), id=id, account_id=account_id, db=deployment.db, storage=deployment.storage)
    return f"http://127.0.0.1/{download_key(account_id, id)}?expires=1&signature={'0' * 40}"


async def test_a_mask_can_be_an_upload(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment(PREVIZ)
    pixels = await result_of(deployment, edit(await upload(deployment, mask_file(1024, 1024, PHOTO_AREA))))
    area = inside(1024, 1024, PHOTO_AREA)
    assert np.array_equal(pixels[~area], np.asarray(photo(1024, 1024))[~area])
    wide = await upload(deployment, mask_file(1024, 600, PHOTO_AREA))
    with pytest.raises(Refused, match="mask is 1024x600 px, but the first image is 1024x1024 px"):
        await deployment.submit_request(edit(wide))
    opaque = await upload(deployment, image_file(1024, 1024))
    assert "mask has no alpha channel" in await failure_of(deployment, edit(opaque))


@pytest.mark.parametrize(
    ("mask", "problem"),
    [
        (image_file(1024, 1024), "mask has no alpha channel; its transparent pixels must show the area to edit"),
        (image_file(1024, 1024, "JPEG"), "mask must be a PNG file with an alpha channel"),
        (mask_file(1024, 768, PHOTO_AREA), "mask is 1024x768 px, but the first image is 1024x1024 px"),
        (mask_file(200, 200, (0, 0, 100, 100)), "mask is 200x200 px; both sides must be at least 300 px"),
        (mask_file(1024, 1024, PHOTO_AREA) + bytes(10_000_000), "mask has 10,"),
        (png_of(b"", 6, 8, size=(8000, 8000)), "mask is 8000x8000 px; at most 51 megapixels are allowed"),
        ("https:/x", "mask is neither"),
    ],
)
async def test_a_mask_that_cannot_be_used_is_refused(
    make_deployment: MakeDeployment, mask: bytes | str, problem: str
) -> None:
    deployment = await make_deployment(PREVIZ)
    with pytest.raises(Refused) as refused:
        await deployment.submit_request(edit(mask))
    assert problem in str(refused.value)
    assert await deployment.db.value("select count(*) from tasks") == 0


async def test_a_model_without_an_engine_for_masks_refuses_a_mask(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()  # the misbehaving engine cannot use masks
    with pytest.raises(Refused, match="cannot be used with kling-v3-omni, because none of its engines can use a mask"):
        await deployment.submit_request(edit(mask_file(1024, 1024, PHOTO_AREA)))


@pytest.mark.parametrize(
    ("mask", "problem"),
    [
        (mask_file(1024, 1024, (0, 0, 0, 0)), "mask has no fully transparent pixels, so it shows no area to edit"),
        (mask_file(1024, 1024, PHOTO_AREA)[:2000], "mask is damaged: it ends before the end of its pixels"),
    ],
)
async def test_a_mask_whose_pixels_cannot_be_used_fails_the_task(
    make_deployment: MakeDeployment, mask: bytes, problem: str
) -> None:
    assert problem in await failure_of(await make_deployment(PREVIZ), edit(mask))


async def test_a_mask_from_a_url_is_checked_by_the_worker(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment(PREVIZ)
    deployment.rules = replace(RULES, allow_private_addresses=True)
    async with server(lambda _: http("200 OK", image_file(1024, 1024))) as url:
        assert "mask has no alpha channel" in await failure_of(deployment, edit(f"{url}/mask.png"))
    async with server(lambda _: http("200 OK", mask_file(1024, 600, PHOTO_AREA))) as url:
        assert "mask is 1024x600 px, but the first image is 1024x1024 px" in await failure_of(
            deployment, edit(f"{url}/mask.png")
        )


async def test_a_batch_with_a_mask_uses_the_next_route_if_the_first_cannot(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment({"engine": "framehouse.testing.misbehaving:Misbehaving"}, PREVIZ)
    pixels = await result_of(deployment, edit(mask_file(1024, 1024, PHOTO_AREA)))
    area = inside(1024, 1024, PHOTO_AREA)
    assert np.array_equal(pixels[~area], np.asarray(photo(1024, 1024))[~area])
