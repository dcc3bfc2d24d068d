"""The `framehouse comfyui …` commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from framehouse.cli.options import json_option
from framehouse.cli.output import EXIT_FAILED, Problem, echo, print_json

if TYPE_CHECKING:
    from framehouse.engines.comfyui.workflows import Workflow


@click.group()
def comfyui() -> None:
    """Check workflows for the engine comfyui."""


@comfyui.command("check")
@click.argument("workflow", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--server",
    "servers",
    metavar="URL",
    multiple=True,
    default=["http://127.0.0.1:8188"],
    show_default=True,
    help="The URL of a ComfyUI server. Can be repeated.",
)
@click.option("--header", "headers", metavar="NAME:VALUE", multiple=True, help="A header for a proxy. Can be repeated.")
@json_option
def check(workflow: Path, servers: tuple[str, ...], headers: tuple[str, ...], as_json: bool) -> None:
    """List the nodes, models and inputs of WORKFLOW that a ComfyUI server does not have.

    WORKFLOW is a file in API format. The command generates no image. The exit code is 1 if something is missing.

    Example: framehouse comfyui check text.json --server http://gpu-1:8188
    """
    import asyncio

    from framehouse.engines.comfyui.comfyui_options import check_headers
    from framehouse.engines.comfyui.workflows import option_for, parse_workflow
    from framehouse.engines.option_checks import BadOption, check_urls

    try:
        content = workflow.expanduser().read_bytes()
    except OSError as error:
        raise Problem(f'The file "{workflow}" cannot be read: {error.strerror}.') from error
    option = option_for(content)
    try:
        parsed = parse_workflow(option, content)
        urls = check_urls("--server", list(dict.fromkeys(servers)), "http://127.0.0.1:8188")
        sent = check_headers({name.strip(): value.strip() for name, _, value in (h.partition(":") for h in headers)})
    except BadOption as error:
        raise Problem(str(error)) from error
    problems = asyncio.run(_check(parsed, urls, sent))
    if as_json:
        print_json({"option": option, "servers": [{"server": url, "problems": problems[url]} for url in urls]})
    else:
        echo(f"{workflow} can be the option {option}. It has {len(parsed.nodes)} nodes and these placeholders:")
        echo(f"  {', '.join(sorted(parsed.placeholders))}")
        for url in urls:
            echo(f"{url}: {'problems:' if problems[url] else 'the server has all nodes and models.'}")
            for problem in problems[url]:
                echo(f"  - {problem}")
    if any(problems.values()):
        raise click.exceptions.Exit(EXIT_FAILED)


async def _check(workflow: Workflow, urls: tuple[str, ...], headers: dict[str, str]) -> dict[str, list[str]]:
    """Return the problems of the workflow on each server."""
    from framehouse.engines.comfyui.comfyui_api import ComfyUIApi
    from framehouse.engines.comfyui.workflow_check import find_problems
    from framehouse.engines.http_exchange import NotAccepted, OutcomeUnknown

    api = ComfyUIApi(headers)
    problems = {}
    try:
        for url in urls:
            try:
                await api.version(url)
                infos = {name: await api.node_info(url, name) for name in workflow.class_types}
                problems[url] = find_problems(workflow, infos)
            except (NotAccepted, OutcomeUnknown) as error:
                problems[url] = [f"the server {error.reason}"]
    finally:
        await api.close()
    return problems
