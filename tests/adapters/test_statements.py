"""Every SQL statement of the server: the caller passes exactly its parameter names, and PostgreSQL accepts it."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

import framehouse
from framehouse.adapters.postgres import pool
from framehouse.adapters.postgres.named_parameters import bind, numbered
from framehouse.adapters.postgres.pool import Database, sql
from tests.support.syntax_tree import parse

SOURCE = Path(framehouse.__file__).parent
FILES = {file.stem for file in (Path(pool.__file__).parent / "sql").glob("*.sql")}
METHODS = {"rows", "row", "value"}


@dataclass(frozen=True)
class Call:
    """One call of a database method.

    `location` is its file and line, `file` the SQL file of its statement or "". `names` are the parameters that the
    call passes by name; `positional` is the number of parameters that it passes by position.
    """

    location: str
    statement: str
    file: str
    names: frozenset[str | None]
    positional: int

    def __str__(self) -> str:
        return self.location


def calls() -> Iterator[Call]:
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                continue
            if node.func.attr not in METHODS or "db" not in ast.unparse(node.func.value):
                continue
            location = f"{path.relative_to(SOURCE)}:{node.lineno}"
            match node.args[0]:
                case ast.Constant(str(statement)):
                    file = ""
                case ast.Call(ast.Name("sql"), [ast.Constant(str(file))]):
                    statement = sql(file)
                case other:
                    raise AssertionError(f"{location}: this test cannot check the statement {ast.unparse(other)}")
            names = frozenset(keyword.arg for keyword in node.keywords)
            yield Call(location, statement, file, names, len(node.args) - 1)


CALLS = list(calls())


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_each_call_passes_exactly_the_parameter_names_of_its_statement(call: Call) -> None:
    _, names = numbered(call.statement)
    assert call.names == set(names)
    assert not call.positional, "a value is passed by position"


def test_each_file_has_a_caller() -> None:
    assert len(CALLS) > 50
    assert {call.file for call in CALLS} - {""} == FILES


async def test_postgres_accepts_each_statement(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        for call in CALLS:
            text, names = numbered(call.statement)
            prepared = await connection.prepare(text)
            assert len(prepared.get_parameters()) == len(names), call
    finally:
        await connection.close()


def test_names_become_numbers_in_the_order_of_their_first_use() -> None:
    assert numbered("select :b, :sha256, :b") == ("select $1, $2, $1", ("b", "sha256"))


@pytest.mark.parametrize(
    "statement",
    [
        "select now()::date, a::text::jsonb",
        "select 'at 12:30, :name', 'it''s :name'",
        'select ":name"',
        "select 1 -- worker's :name\n",
        "select (array[1, 2, 3])[1:2]",
    ],
)
def test_casts_strings_comments_and_slices_contain_no_parameter_names(statement: str) -> None:
    assert numbered(statement) == (statement, ())


def test_a_name_before_a_cast_is_a_parameter_name() -> None:
    assert numbered("select :a::int, ':b' -- it's :c\n, :d") == ("select $1::int, ':b' -- it's :c\n, $2", ("a", "d"))


@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), ((), {"a": 1}), ((), {"a": 1, "c": 2}), ((), {"a": 1, "b": 2, "c": 3}), ((1, 2), {}), ((1,), {"b": 2})],
)
def test_missing_and_unknown_parameters_raise_type_error(values: tuple[int, ...], named: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="the parameters of the statement are a, b"):
        bind("select :a, :b", values, named)


async def test_values_are_bound_by_name(db: Database) -> None:
    assert await db.value("select :b::int - :a::int", a=1, b=3) == 2
    assert await db.value("select $1::int - $2::int", 1, 3) == -2
    with pytest.raises(TypeError):
        await db.rows("select :a::int", b=1)
