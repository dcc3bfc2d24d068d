"""Fuzz one target: `python -m fuzz prompt -max_total_time=60 …`, with the options and folders of libFuzzer."""

import importlib
import sys

import atheris


def main() -> None:
    target = sys.argv.pop(1)
    # Only the parts of Pillow that read the two formats: with all of Pillow, decoding is ten times slower.
    pillow = ["PIL.PngImagePlugin", "PIL.JpegImagePlugin", "PIL.TiffImagePlugin"]
    with atheris.instrument_imports(include=["framehouse", *pillow]):
        module = importlib.import_module(f"fuzz.{target}")
    command = f"{sys.executable} -m fuzz {target}"  # libFuzzer starts this command to merge
    atheris.Setup([command, *sys.argv[1:]], module.test_one)
    atheris.Fuzz()


main()
