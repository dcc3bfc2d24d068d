"""The OpenAPI document describes every operation, parameter and field, with examples that match their schemas."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from framehouse.domain.errors import HTTP_STATUS
from framehouse.entrypoints.api.documentation import Operation, ResponseDoc
from framehouse.entrypoints.api.kling.response_schemas import ErrorOut
from framehouse.entrypoints.api.openapi import make_document
from framehouse.entrypoints.api.router import Endpoint
from framehouse.entrypoints.api.static_endpoints import docs

DOCUMENT = json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text())
VERBS = {
    "cancel", "change", "check", "combine", "control", "create", "delete", "edit", "generate", "get", "list", "put",
    "retry", "revoke", "rotate", "send", "verify",
}  # fmt: skip
OPERATIONS = {
    operation["operationId"]: operation for methods in DOCUMENT["paths"].values() for operation in methods.values()
}


def content_of(response: dict[str, Any]) -> dict[str, Any]:
    """The content of a response, or of the response in the components to which it refers."""
    if "$ref" in response:
        response = DOCUMENT["components"]["responses"][response["$ref"].rpartition("/")[2]]
    content: dict[str, Any] = response.get("content", {})
    return content


def bodies() -> Iterator[tuple[str, dict[str, Any]]]:
    """The JSON bodies of all requests and responses, with a name."""
    for name, operation in OPERATIONS.items():
        if body := operation.get("requestBody", {}).get("content", {}).get("application/json"):
            yield f"request of {name}", body
        for status, response in operation["responses"].items():
            if body := content_of(response).get("application/json"):
                yield f"{status} of {name}", body


def test_operation_ids_are_a_verb_and_a_noun_and_are_unique() -> None:
    assert len(OPERATIONS) == sum(len(methods) for methods in DOCUMENT["paths"].values())
    for name in OPERATIONS:
        assert re.fullmatch("[a-z0-9]+(_[a-z0-9]+)+", name), name
        assert name.split("_")[0] in VERBS, name


def test_every_tag_is_used_and_described() -> None:
    described = {tag["name"]: tag["description"] for tag in DOCUMENT["tags"]}
    assert all(described.values())
    assert {tag for operation in OPERATIONS.values() for tag in operation["tags"]} == set(described)


def test_every_parameter_and_every_field_has_a_description() -> None:
    missing = [
        f"{name}: {parameter['name']}"
        for name, operation in OPERATIONS.items()
        for parameter in operation.get("parameters", ())
        if not parameter.get("description")
    ]
    for name, schema in DOCUMENT["components"]["schemas"].items():
        missing += [f"{name}.{field}" for field, value in schema["properties"].items() if not value.get("description")]
        missing += [] if schema.get("description") else [name]
    assert missing == []


def test_every_operation_says_whether_it_needs_a_key() -> None:
    for name, operation in OPERATIONS.items():
        schemes = {scheme for requirement in operation["security"] for scheme in requirement}
        assert schemes <= set(DOCUMENT["components"]["securitySchemes"]), name
        assert ("401" in operation["responses"]) == bool(schemes), name


def test_every_json_body_has_examples_that_match_its_schema() -> None:
    registry: Any = Registry().with_resource("urn:document", DRAFT202012.create_resource(DOCUMENT))
    for name, body in bodies():
        assert body.get("examples"), f"{name} has no examples"
        validator = Draft202012Validator({"$ref": f"urn:document{body['schema']['$ref']}"}, registry=registry)
        for title, example in body["examples"].items():
            errors = [error.message for error in validator.iter_errors(example["value"])]
            assert errors == [], f"{name}, example {title}"
            assert example["summary"]


def test_the_codes_of_error_examples_belong_to_their_status() -> None:
    for name, operation in OPERATIONS.items():
        for status, response in operation["responses"].items():
            examples = content_of(response).get("application/json", {}).get("examples", {})
            for code in (example["value"].get("code") for example in examples.values()):
                if code:  # the OpenAI dialect has other codes
                    # the statuses 413 and 415 also have the code 1200
                    assert int(status) == HTTP_STATUS[code] or (code, status) in ((1200, "413"), (1200, "415")), name


def test_two_responses_cannot_have_the_same_name() -> None:
    rows = [
        Endpoint(
            "GET", path, docs, "docs", Operation("health", path, {200: ResponseDoc(path, ErrorOut, component="Same")})
        )
        for path in ("/a", "/b")
    ]
    with pytest.raises(ValueError, match="two responses have the name Same"):
        make_document(rows, "")
