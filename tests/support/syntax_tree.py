"""The syntax tree of Python files, for tests that check the repository's own code."""

import ast
import gc


def parse(source: str) -> ast.Module:
    """Parse Python code.

    The garbage collector is off meanwhile: Python 3.11.7 raises SystemError if the collector runs another `ast.parse`
    inside of this one (https://github.com/python/cpython/issues/106905).
    """
    gc.disable()
    try:
        return ast.parse(source)
    finally:
        gc.enable()
