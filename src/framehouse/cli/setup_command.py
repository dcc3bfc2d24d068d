"""The `framehouse setup` command."""

from pathlib import Path
from typing import Any

import click

from framehouse.cli.options import data_options, json_option, out_option


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
    "--timeout",
    "timeout_s",
    type=click.FloatRange(1, 86_400),
    default=300,
    show_default=True,
    metavar="SECONDS",
    help="Time limit for each image, including the time for loading a model.",
)
@out_option("setup", "Folder for the images.")
@click.option("--yes", is_flag=True, help="Ask nothing: also test paid accounts, and replace framehouse.toml.")
@data_options
@json_option
def setup(**options: Any) -> None:
    """Find engines that work on this machine, test each of them, and write framehouse.toml.

    The command looks for a GPU with the weights of FLUX.2 klein 4B, for ComfyUI and model servers, and for keys in the
    environment variables OPENAI_API_KEY, GEMINI_API_KEY, FAL_KEY, XAI_API_KEY, ARK_API_KEY, KLING_API_KEY, and
    KLING_ACCESS_KEY with KLING_SECRET_KEY. If you buy from a reseller, set the URL of the reseller in OPENAI_BASE_URL,
    GOOGLE_GEMINI_BASE_URL, FAL_QUEUE_RUN_HOST, XAI_BASE_URL, ARK_BASE_URL or KLING_BASE_URL.

    The command asks before it generates an image with each of them, and writes a route for each that works. Without a
    terminal, it tests only engines that cost nothing. To skip the questions, add --yes.
    """
    from framehouse.cli.setup import run_setup

    run_setup(**options)
