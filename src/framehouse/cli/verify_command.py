"""The `framehouse verify` command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from framehouse.cli.options import data_options, json_option
from framehouse.cli.output import EXIT_FAILED, Problem, echo, print_json

if TYPE_CHECKING:
    from framehouse.domain.verification import Verification
    from framehouse.settings import Settings


@click.command()
@click.argument("image", metavar="FILE|URL")
@data_options
@json_option
def verify(image: str, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """Say whether an image was made here, by which model, and whether it was changed.

    The exit code is 0 only if the signature of this deployment shows that the image was made here and was not changed.
    Otherwise, the exit code is 1. A running server is not required. If there is no database yet, none is created, and
    only the file itself is examined.
    """
    import asyncio

    from framehouse.domain.verification import sentences
    from framehouse.domain.verification_json import verification_data
    from framehouse.settings import load_settings

    found = asyncio.run(_verify(image, load_settings(config, data_dir=data_dir)))
    if as_json:
        print_json(verification_data(found))
    else:
        for sentence in sentences(found):
            echo(sentence)
    if not found.proven:
        raise click.exceptions.Exit(EXIT_FAILED)


async def _verify(image: str, settings: Settings) -> Verification:
    from contextlib import AsyncExitStack

    from framehouse.adapters.images.checker import ImageChecker
    from framehouse.adapters.postgres.embedded import EmbeddedPostgres
    from framehouse.adapters.reference_files.header import BadImage
    from framehouse.pipeline.verify import verify
    from framehouse.wiring import open_database, read_signing_files, trust_configured_certificates

    trust_configured_certificates(settings)
    content = await _content(image, allow_private=settings.allow_private_addresses)
    identity = read_signing_files(settings)
    async with AsyncExitStack() as stack:
        checker = ImageChecker(processes=1)
        stack.push_async_callback(checker.close)
        db = None
        if settings.database_url or EmbeddedPostgres(settings.data_dir).exists:
            db = await stack.enter_async_context(open_database(settings))
        try:
            return await verify(content, checker=checker, db=db, chain=identity.chain if identity else "")
        except BadImage as error:
            raise Problem(f"{image} {error}.") from error


async def _content(image: str, *, allow_private: bool) -> bytes:
    """Read a file, or fetch it with the same restrictions as a reference. Raises Problem."""
    from framehouse.adapters.fetch import FetchFailed, fetch
    from framehouse.domain.reference import is_url
    from framehouse.domain.verification import MAX_VERIFIED_BYTES

    if is_url(image):
        try:
            return await fetch(image, max_bytes=MAX_VERIFIED_BYTES, allow_private=allow_private)
        except FetchFailed as error:
            raise Problem(f"{image} {error.message}.") from error
    try:
        with Path(image).open("rb") as file:  # noqa: ASYNC230 - nothing else runs in this process
            content = file.read(MAX_VERIFIED_BYTES + 1)
    except OSError as error:
        raise Problem(f"Cannot read the image {image}: {error.strerror}.") from error
    if len(content) > MAX_VERIFIED_BYTES:
        raise Problem(f"{image} has more than {MAX_VERIFIED_BYTES:,} bytes.")
    return content
