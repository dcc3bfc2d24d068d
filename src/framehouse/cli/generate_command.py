"""The `framehouse generate` command."""

from pathlib import Path
from typing import Any

import click

from framehouse.cli.options import data_options, json_option, out_option


@click.command()
@click.argument("prompt", required=False)
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="PATH|URL",
    help="A reference image. The prompt cites the first reference image as <<<image_1>>>. This option can be repeated.",
)
@click.option(
    "--element",
    "elements",
    multiple=True,
    metavar="ID",
    help="A saved element. The prompt cites the first element as <<<element_1>>>. This option can be repeated.",
)
@click.option("--negative-prompt", metavar="TEXT", help="A description of what must not be in the images.")
@click.option(
    "--subject",
    "subjects",
    multiple=True,
    metavar="PATH|URL",
    help="Combine 1 to 4 subjects in a new image. This option can be repeated. PROMPT is optional.",
)
@click.option("--scene", metavar="PATH|URL", help="The scene for the subjects.")
@click.option("--style", metavar="PATH|URL", help="An image in the style that the new image must have.")
@click.option(
    "--expand",
    metavar="SIDE=RATIO,…",
    help="Expand the image of --image beyond its edges. The sides are up, down, left and right. A ratio is a multiple "
    "of the height or width, for example left=0.5,right=0.5. PROMPT is optional.",
)
@click.option("--human", metavar="PATH|URL", help="Show this person in the clothes of --cloth. PROMPT is not allowed.")
@click.option("--cloth", metavar="PATH|URL", help="The clothes for --human.")
@click.option(
    "--series",
    is_flag=False,
    flag_value="auto",
    default=None,
    metavar="[N]",
    help="Generate a series of 2 to 9 images that belong together. Without N, the prompt determines the number.",
)
@click.option("-n", "n", type=click.IntRange(1, 9), help="Number of single images. [default: 1]")
@click.option(
    "--aspect",
    metavar="RATIO",
    help="Aspect ratio: 16:9, 9:16, 1:1, 4:3, 3:4, 3:2, 2:3, 21:9 or auto. "
    "[default: 16:9 with --negative-prompt or --subject, otherwise auto]",
)
@click.option("--resolution", type=click.Choice(["1k", "2k", "4k"], case_sensitive=False), help="[default: 1k]")
@click.option("--watermark", is_flag=True, help="Also create a watermarked copy of each image.")
@click.option("--seed", type=click.IntRange(0, 2**53 - 1), help="Seed. The same seed produces the same images.")
@click.option(
    "--model",
    metavar="NAME",
    help="Name of a configured model. [default: kling-v3-omni, or the default of the endpoint that the options need]",
)
@out_option("out", "Folder for the images.")
@click.option(
    "--server",
    envvar="FRAMEHOUSE_SERVER",
    metavar="URL",
    help="Generate the images on this server instead of on this machine.",
)
@click.option("--key", envvar="FRAMEHOUSE_KEY", metavar="KEY", help="API key for --server.")
@data_options
@json_option
def generate(
    out: Path,
    server: str | None,
    key: str | None,
    data_dir: Path | None,
    config: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Generate images from PROMPT.

    Without --server, the command generates the images on this machine and needs no running server. With --server and
    --key, the command sends the task to a server. Any server that implements the API can be used.

    \b
    framehouse generate "A red fox in the snow" -n 2 --aspect 3:2
    framehouse generate "Frame 1: a seed. Frame 2: a sprout. Frame 3: a tree" --series
    framehouse generate "The bag of <<<image_1>>> on a beach" --image bag.png --resolution 2k
    framehouse generate "A quiet street" --negative-prompt "cars, people"
    framehouse generate --subject bag.png --scene beach.jpg --style drawing.png
    framehouse generate --image photo.jpg --expand left=0.5,right=0.5
    framehouse generate --human person.jpg --cloth coat.png
    framehouse generate "四格漫画：一只猫学做饭" --series --server http://127.0.0.1:8000 --key fh_…
    """
    from framehouse.cli.generate_images import generate_images
    from framehouse.cli.generate_request import GenerateOptions

    generate_images(
        GenerateOptions(**options),
        out=out,
        server=server,
        key=key,
        data_dir=data_dir,
        config=config,
        as_json=as_json,
    )
