"""Fuzzing: each target gets random input, and its properties must hold.

A target is a module of this package. Its function `test_one` takes any bytes, and raises if a property does not hold.
The function needs no fuzzer, so tests/test_fuzz.py calls it in every test run with all inputs in `corpus/<target>/`.

`make fuzz SECONDS=600` fuzzes each target for ten minutes. It starts with the inputs of the corpus, and stores new
inputs in `.cache/fuzz/corpus/<target>/`. An input that breaks a property stops the run, and is stored as
`.cache/fuzz/<target>-crash-…` (or `-timeout-…`, `-oom-…`). Add this input to the corpus under any name, and fix the
defect; from then on, the tests verify the fix:

    cp .cache/fuzz/prompt-crash-… fuzz/corpus/prompt/

The following command adds new inputs to the corpus: the smallest ones that reach code which no other input reaches.

    PYTHONPATH=.cache/fuzz .venv/bin/python -m fuzz prompt -merge=1 fuzz/corpus/prompt .cache/fuzz/corpus/prompt
"""
