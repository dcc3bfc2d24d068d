"""The console's downloads contain the same bytes that were signed."""

import asyncio
import zipfile
from dataclasses import replace

from playwright.async_api import Browser

from framehouse.adapters.content_credentials.certificates import create_identity
from framehouse.adapters.content_credentials.credential_signer import CredentialSigner
from framehouse.pipeline.finish import Finishing
from tests.support.api_server import serving
from tests.support.browser import PREVIZ, open_console
from tests.support.in_process_deployment import RULES, MakeDeployment
from tests.support.outside_readers import signature_problems


async def test_downloads_of_the_console_leave_signed_files_unchanged(
    browser: Browser, make_deployment: MakeDeployment
) -> None:
    identity = create_identity()
    deployment = await make_deployment(PREVIZ)
    deployment.rules = replace(RULES, finishing=Finishing("Framehouse 1", signer=CredentialSigner(identity)))
    deployment.start_worker()
    async with serving(deployment) as api, open_console(browser, api) as console:
        created = await api.create(n=2, watermark_info={"enabled": True})
        task = await api.wait_for_task(created["task_id"])
        stored = [
            (await api.anonymous.get(image[field])).content
            for image in task["task_result"]["images"]
            for field in ("url", "watermark_url")
        ]
        await console.open(f"tasks/{task['task_id']}/1")
        async with console.page.expect_download() as downloading:
            await console.page.get_by_role("link", name="Download", exact=True).first.click()
        files = [await asyncio.to_thread((await (await downloading.value).path()).read_bytes)]
        assert files == stored[:1]
        await console.open(f"tasks/{task['task_id']}")
        async with console.page.expect_download() as downloading:
            await console.page.get_by_role("button", name="Download all").click()
        with zipfile.ZipFile(await (await downloading.value).path()) as archive:
            files += [archive.read(name) for name in archive.namelist()]
        assert files[1:] == stored
        for file in files:
            assert signature_problems(file, "image/png", identity.chain) == []
