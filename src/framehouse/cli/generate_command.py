"""The `framehouse generate` command."""

from pathlib import Path

import click

from framehouse.cli.options import data_options, json_option


@click.command()
@click.argument("prompt")
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="PATH|URL",
    help="A reference image. The prompt cites the first reference image as <<<image_1>>>. Repeatable.",
)
@click.option(
    "--element",
    "elements",
    multiple=True,
    metavar="ID",
    help="A saved element. The prompt cites the first element as <<<element_1>>>. Repeatable.",
)
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
    default="auto",
    metavar="RATIO",
    help="Aspect ratio: 16:9, 9:16, 1:1, 4:3, 3:4, 3:2, 2:3, 21:9 or auto. [default: auto]",
)
@click.option(
    "--resolution", type=click.Choice(["1k", "2k", "4k"], case_sensitive=False), default="1k", show_default=True
)
@click.option("--watermark", is_flag=True, help="Also create a watermarked copy of each image.")
@click.option("--seed", type=click.IntRange(0, 2**53 - 1), help="Seed. The same seed produces the same images.")
@click.option("--model", default="kling-v3-omni", show_default=True, help="Name of a configured model.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("out"),
    show_default=True,
    help="Folder for the images.",
)
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
    prompt: str,
    images: tuple[str, ...],
    elements: tuple[str, ...],
    series: str | None,
    n: int | None,
    aspect: str,
    resolution: str,
    watermark: bool,
    seed: int | None,
    model: str,
    out: Path,
    server: str | None,
    key: str | None,
    data_dir: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Generate images from PROMPT.

    Without --server, the command generates the images on this machine and needs no running server. With --server and
    --key, the command sends the task to a server. Any server that implements the API can be used.

    \b
    framehouse generate "A red fox in the snow" -n 2 --aspect 3:2
    framehouse generate "Frame 1: a seed. Frame 2: a sprout. Frame 3: a tree" --series
    framehouse generate "The bag of <<<image_1>>> on a beach" --image bag.png --resolution 2k
    framehouse generate "四格漫画：一只猫学做饭" --series --server http://127.0.0.1:8000 --key fh_…
    """
    from framehouse.cli.generate_images import generate_images

    generate_images(
        prompt=prompt,
        images=images,
        elements=elements,
        series=series,
        n=n,
        aspect=aspect,
        resolution=resolution,
        watermark=watermark,
        seed=seed,
        model=model,
        out=out,
        server=server,
        key=key,
        data_dir=data_dir,
        config=config,
        as_json=as_json,
    )
