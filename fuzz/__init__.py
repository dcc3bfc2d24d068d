"""Fuzzing: whatever anybody may send us is sent at random, and properties are asked of what becomes of it.

Each target is a module here: its `test_one` takes any bytes, and raises where a property does not hold. It needs no
fuzzer, so tests/test_fuzz.py calls it with every input that is kept in `corpus/<target>/`, in every run of the tests.

`make fuzz SECONDS=600` fuzzes each target for ten minutes, beginning with the kept inputs. What it learns stays in
`.cache/fuzz/corpus/<target>/`; an input that breaks a property ends it and is `.cache/fuzz/<target>-crash-…` (or
`-timeout-…`, `-oom-…`). Keep that one under any name, mend what it broke, and the tests hold it from then on:

    cp .cache/fuzz/prompt-crash-… fuzz/corpus/prompt/

Of what a run learned, this adds to the kept inputs the smallest ones that reach something new:

    PYTHONPATH=.cache/fuzz .venv/bin/python -m fuzz prompt -merge=1 fuzz/corpus/prompt .cache/fuzz/corpus/prompt
"""
