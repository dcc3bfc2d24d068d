"""The output of the command `framehouse models plan`."""

from typing import Any

import click

from framehouse.cli.output import Problem, echo, print_json
from framehouse.engines.diffusers.child import default_command, probe
from framehouse.engines.diffusers.device_memory import GB, PACKAGES, PIXELS_1K
from framehouse.engines.diffusers.diffusers_options import check_model, public_name
from framehouse.engines.diffusers.memory_plan import (
    PlanRow,
    UnknownSize,
    best_row,
    model_size,
    pixels_of,
    plan_rows,
    route_toml,
)
from framehouse.engines.option_checks import BadOption

_PROBE_LIMIT_S = 60.0


def print_plan(model: str, vram_gb: float | None, *, batch: int, resolution: str, revision: str, as_json: bool) -> None:
    """Print how the model fits on a GPU with each combination of options.

    Raises Problem if the size of the model is unknown, or if `vram_gb` is None and this machine has no GPU.
    """
    try:
        model = check_model("MODEL", model)
        size = model_size(model, revision)
    except BadOption as error:
        raise click.UsageError(str(error)) from error
    except UnknownSize as error:
        raise Problem(str(error)) from error
    device: dict[str, Any] = {"id": "cuda:0", "name": "a GPU"} if vram_gb else _find_gpu()
    available_gb = vram_gb or device["memory_bytes"] / GB
    rows = plan_rows(
        size,
        available_gb,
        batch=batch,
        pixels=pixels_of(resolution, size.defaults.max_pixels),
        device=device["id"],
    )
    best = best_row(rows)
    toml = route_toml(model, best, batch) if best else ""
    if as_json:
        print_json(
            {
                "model": public_name(model),
                "licence": size.defaults.licence,
                "pipeline": size.pipeline,
                "weights_gb": _rounded(sum(size.parts.values())),
                "vram_gb": _rounded(available_gb),
                "batch": batch,
                "resolution": resolution,
                "combinations": [_row_json(row, recommended=row is best) for row in rows],
                "toml": toml,
            }
        )
        return
    source = "from the files on this machine" if size.from_files else "of the published model"
    licence = size.defaults.licence or "see the model card"
    echo(f"{public_name(model)}: {sum(size.parts.values()):.1f} GB of 16-bit weights ({source}). Licence: {licence}.")
    count = "one image" if batch == 1 else f"{batch} images"
    echo(
        f"Estimated memory in GB for {count} at {resolution} per call, on {device['name']} with {available_gb:.0f} GB."
    )
    if PIXELS_1K < pixels_of("4k", size.defaults.max_pixels) < pixels_of(resolution, 1 << 40):
        echo(f"The model generates at most {size.defaults.max_pixels:,} pixels; larger images are upscaled.")
    _print_table(rows, best)
    if not best:
        echo("No combination fits. Choose a smaller model, or a GPU with more memory.")
        return
    echo(f"\n{toml}\n")
    echo("These are estimates that were not compared with a GPU. Each reference needs as much as another image at 1k.")
    if command := PACKAGES.get(best.combination.quantize or ""):
        echo(f"{best.combination.quantize} needs another package: {command}")


def _find_gpu() -> dict[str, Any]:
    """Return the first GPU of this machine. Raises Problem if there is none."""
    found = probe(default_command(), _PROBE_LIMIT_S)
    devices: list[dict[str, Any]] = [one for one in found.get("devices", []) if one["id"] != "cpu"]
    if not devices:
        raise Problem("This machine has no GPU that torch lists. Add the memory of the GPU, for example: --vram 24")
    return devices[0]


def _print_table(rows: list[PlanRow], best: PlanRow | None) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("quantize", "offload", "weights", "work", "total", "RAM", "fits"):
        is_text = heading in ("quantize", "offload", "fits")
        table.add_column(heading, no_wrap=True, justify="left" if is_text else "right")
    for row in rows:
        needs = row.fit.needs
        table.add_row(
            row.combination.quantize or "-",
            row.combination.offload or "-",
            f"{needs.weights_gb:.1f}",
            f"{needs.work_gb:.1f}",
            f"{needs.total_gb:.1f}",
            f"{needs.ram_gb:.0f}" if needs.ram_gb else "-",
            _fits_text(row) + (" (fastest)" if row is best else ""),
            style="bold" if row is best else None,
        )
    Console().print(table)


def _fits_text(row: PlanRow) -> str:
    if row.fit.fits:
        return "yes, in tiles" if row.fit.tiled else "yes"
    return f"with batch = {row.batch}" if row.batch else "no"


def _row_json(row: PlanRow, *, recommended: bool) -> dict[str, Any]:
    needs = row.fit.needs
    return {
        "quantize": row.combination.quantize,
        "offload": row.combination.offload,
        "weights_gb": _rounded(needs.weights_gb),
        "work_gb": _rounded(needs.work_gb),
        "total_gb": _rounded(needs.total_gb),
        "ram_gb": _rounded(needs.ram_gb),
        "fits": row.fit.fits,
        "tiled": row.fit.tiled,
        "batch": row.batch,
        "recommended": recommended,
    }


def _rounded(gb: float) -> float:
    return round(gb, 2)
