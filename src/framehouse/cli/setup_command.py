"""The `framehouse setup` command."""

from pathlib import Path

import click

from framehouse.cli.options import data_options, json_option


@click.command()
@click.option("--comfyui", "comfyui_url", default="http://127.0.0.1:8188", show_default=True, help="URL of ComfyUI.")
@click.option(
    "--workflow",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, resolve_path=True),
    help="A ComfyUI workflow in API format, with placeholders (see docs/engines/comfyui.md).",
)
@click.option(
    "--server",
    "server_urls",
    multiple=True,
    metavar="URL",
    help="URL of a model server. This option can be repeated. [default: the usual ports of SGLang, vLLM-Omni and "
    "Xinference on this machine]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("setup"),
    show_default=True,
    help="Folder for the images.",
)
@click.option("--yes", is_flag=True, help="Ask nothing: also test paid accounts, and replace framehouse.toml.")
@data_options
@json_option
def setup(
    comfyui_url: str,
    workflow: Path | None,
    server_urls: tuple[str, ...],
    out: Path,
    yes: bool,
    data_dir: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Find engines that work on this machine, test each of them, and write framehouse.toml.

    The command looks for a GPU with the weights of FLUX.2 klein 4B, for ComfyUI and model servers, and for keys in the
    environment variables OPENAI_API_KEY, GEMINI_API_KEY, FAL_KEY, XAI_API_KEY, ARK_API_KEY, and KLING_ACCESS_KEY with
    KLING_SECRET_KEY. It asks before it generates an image with each of them, and writes a route for each that works.
    Without a terminal, it tests only engines that cost nothing. To skip the questions, add --yes.
    """
    from framehouse.cli.setup import run_setup
    from framehouse.cli.setup_candidates import SERVER_URLS

    run_setup(
        comfyui_url=comfyui_url.rstrip("/"),
        server_urls=[url.rstrip("/") for url in server_urls] or SERVER_URLS,
        workflow=workflow,
        out=out,
        yes=yes,
        data_dir=data_dir,
        config=config,
        as_json=as_json,
    )
