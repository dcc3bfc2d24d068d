"""Both clients against a real server."""

from decimal import Decimal
from pathlib import Path

from framehouse_client import (
    AsyncClient,
)
from tests.support.api_server import Api
from tests.support.image_files import image_file


async def test_a_series_from_a_file_is_saved(api: Api, client: AsyncClient, tmp_path: Path) -> None:
    api.deployment.start_worker()
    (tmp_path / "bag.png").write_bytes(image_file(600, 400))
    task = await client.create("like <<<image_1>>>", images=[tmp_path / "bag.png"], series=3, resolution="2k")
    assert (task.kind, task.status, task.ended, task.images) == ("omni-image", "submitted", False, [])
    await task.wait()
    assert (task.status, task.progress, task.error, task.units) == ("succeed", 1.0, None, Decimal(24))
    paths = await task.save(tmp_path / "out")
    assert [path.name for path in paths] == [f"{task.id[-12:]}-{n}.png" for n in (1, 2, 3)]
    assert sorted(paths) == sorted((tmp_path / "out").iterdir())
    assert [path.read_bytes() for path in paths] == [await image.bytes() for image in task.images]
    found = await client.get(task.external_task_id)
    assert found.id == task.id
