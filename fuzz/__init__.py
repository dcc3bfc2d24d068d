"""Fuzzing: what anybody may send us is sent at random, and properties are asked of what becomes of it.

Each module here is a target: its `test_one` takes any bytes and raises where a property does not hold. It needs no
fuzzer, so tests/test_fuzz.py runs every kept input of `corpus/<target>/` through it.

- `make fuzz SECONDS=600` fuzzes each target for ten minutes, from the kept inputs on. What it learns stays in
  `.cache/fuzz/corpus/<target>/`; an input that broke something is `.cache/fuzz/<target>-crash-…`.
- After mending what an input broke, keep it: `cp .cache/fuzz/prompt-crash-… fuzz/corpus/prompt/`. Any name will do.
- `python -m fuzz.keep` puts the smallest set of what was learned, that reaches as much of our code, into `corpus/`.
"""
