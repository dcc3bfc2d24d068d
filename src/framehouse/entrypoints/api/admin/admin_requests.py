"""Authenticate a request to the admin API, and read its body and its query parameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request

from framehouse.adapters.postgres.admin_keys import ADMIN_KEY_PREFIX, find_admin_key
from framehouse.domain.errors import Refused, refused_fields
from framehouse.domain.field_reader import FieldReader, quoted
from framehouse.entrypoints.api.authentication import authorization_of
from framehouse.entrypoints.api.context import ApiContext


async def authenticate_operator(context: ApiContext, request: Request) -> str:
    """Return the actor for the audit log. Raises Refused (1001 or 1002) unless the request has an active admin key."""
    header = authorization_of(request.scope)
    if not header or not header.strip():
        raise Refused(1001, "the Authorization header is missing; send Authorization: Bearer <admin key>")
    scheme, _, key = header.strip().partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key.startswith(ADMIN_KEY_PREFIX) or not key.isascii():
        raise Refused(1002, "this is not an admin key; to create an admin key: framehouse admin-key create NAME")
    found = await context.admin_key_cache.look_up(key, lambda: find_admin_key(context.db, key))
    if found is None:
        raise Refused(1002, "the admin key is unknown or revoked")
    return f"{found.name} ({found.prefix})"


_MAX_NAMED_FIELDS = 10


@dataclass(slots=True)
class AdminFields:
    """The fields of a body or of a query string. `done` refuses the request if a field is unknown or invalid."""

    values: Mapping[str, Any]
    reader: FieldReader
    known: set[str]

    @classmethod
    def of(cls, values: object) -> "AdminFields":
        """Raises Refused (1201) if `values` is not a JSON object."""
        if not isinstance(values, Mapping):
            raise Refused(1201, "the body must be a JSON object")
        return cls(values, FieldReader(values), set())

    def text(self, name: str, *, max_characters: int = 1000) -> str | None:
        """Return a string, or None if the field is absent."""
        return self.reader.text(name, max_characters=max_characters) if self._present(name) else None

    def required_text(self, name: str, *, max_characters: int = 100) -> str:
        self.known.add(name)
        return self.reader.required_text(name, max_characters=max_characters)

    def integer(self, name: str, low: int, high: int) -> int | None:
        return self.reader.integer(name, low, high, low) if self._present(name) else None

    def number(self, name: str, low: float, high: float) -> float | None:
        return self.reader.number(name, low, high, low) if self._present(name) else None

    def boolean(self, name: str) -> bool | None:
        value = self.values[name] if self._present(name) else None
        if value is not None and not isinstance(value, bool):
            self.reader.add_problem(name, f"must be true or false, not {quoted(value)}")
            return None
        return value

    def strings(self, name: str, *, max_entries: int) -> list[str] | None:
        """Return a list of strings, or None if the field is absent."""
        value = self.values[name] if self._present(name) else None
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            self.reader.add_problem(name, f"must be a list of strings, not {quoted(value)}")
            return None
        if len(value) > max_entries:
            self.reader.add_problem(name, f"has {len(value)} entries; at most {max_entries} are allowed")
        return value

    def time(self, name: str) -> datetime | None:
        """Read a time in ISO 8601 format. A time without an offset is in UTC. Returns None if the field is absent."""
        text = self.text(name, max_characters=40)
        if text is None:
            return None
        try:
            at = datetime.fromisoformat(text)
            return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            self.reader.add_problem(name, f"must be a time such as 2026-11-30T12:00:00Z, not {quoted(text)}")
            return None

    def done(self) -> None:
        """Raise Refused (1201) with all problems, if there are any."""
        unknown = [name for name in self.values if name not in self.known]
        if unknown:
            names = ", ".join(quoted(name) for name in unknown[:_MAX_NAMED_FIELDS])
            self.reader.add_problem("", f"unknown fields: {names}; the fields are {', '.join(sorted(self.known))}")
        if self.reader.problems:
            raise refused_fields(self.reader.problems)

    def _present(self, name: str) -> bool:
        """Return whether an optional field has a value. An empty string is a problem.

        A script may send an empty string because a variable is not set. An absent field may select everything.
        """
        self.known.add(name)
        value = self.values.get(name)
        if value == "":
            self.reader.add_problem(name, "must not be empty")
        return value is not None and value != ""


async def read_body(context: ApiContext, request: Request) -> AdminFields:
    """Read the JSON body of a request. Raises Refused (1201) if the body is not a JSON object."""
    async with context.body(request, None) as (body, _):
        return AdminFields.of(body)


def read_query(request: Request) -> AdminFields:
    return AdminFields.of(dict(request.query_params))
