"""Fuzzes one target: `python -m fuzz prompt -max_total_time=60 …`, with the options and folders of libFuzzer."""

import importlib
import sys

import atheris


def main() -> None:
    target = sys.argv.pop(1)
    # of Pillow what reads the two formats; to instrument all of it makes the decoding ten times slower
    pillow = ["PIL.PngImagePlugin", "PIL.JpegImagePlugin", "PIL.TiffImagePlugin"]
    with atheris.instrument_imports(include=["framehouse", *pillow]):
        module = importlib.import_module(f"fuzz.{target}")
    command = f"{sys.executable} -m fuzz {target}"  # that libFuzzer starts again to merge
    atheris.Setup([command, *sys.argv[1:]], module.test_one)
    atheris.Fuzz()


main()
