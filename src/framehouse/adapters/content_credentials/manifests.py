"""The definition of a C2PA manifest: what Framehouse states about an image, as the c2pa library expects it.

The actions and assertions are specified at https://spec.c2pa.org.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from framehouse.domain.provenance import IPTC_SOURCE_TYPES, DigitalSourceType

GENERATION = "org.framehouse.generation"
"""The label of the assertion that contains the task, the model and the prompt (or its SHA-256)."""
SOFTWARE = "Framehouse"


class SigningFailed(Exception):
    """Raised when an image could not be signed. The message is for the log."""


@dataclass(frozen=True, slots=True)
class Ingredient:
    """A file that contains a manifest itself: a reference, or the image of an upstream. `title` describes the file."""

    content: bytes
    title: str


@dataclass(frozen=True, slots=True)
class Claims:
    """What a manifest states about an image.

    `version` is the version of Framehouse. `source_type` states how the pixels were made. `generator` is the name of
    the model or engine that generated them. `generation` contains the data of the assertion GENERATION. The changes
    after the generation are `resized_from` (such as `1024x1024`, or empty), `upscaled_by` (the name of a neural
    network, or empty), `expanded` (the pixels of the original image were inserted), `masked` (only the masked area of
    the original image was replaced) and `labelled` (a visible label was added).
    """

    version: str
    source_type: DigitalSourceType
    generator: str
    generation: Mapping[str, object]
    resized_from: str = ""
    upscaled_by: str = ""
    expanded: bool = False
    masked: bool = False
    labelled: bool = False


@dataclass(frozen=True, slots=True)
class Relation:
    """How an ingredient is related to the image: the relationship in C2PA, and the label that an action refers to."""

    relationship: str
    label: str


def relate_ingredients(claims: Claims, inputs: int, *, parent: bool) -> list[Relation]:
    """Return the relations of the ingredients: first of the parent, then of each input.

    The parent is the file that an upstream has returned. The first input of an expanded image, and of an edit
    with a mask, is the original image, which is part of the image.
    """
    relations = [Relation("parentOf", "parent")] if parent else []
    for number in range(inputs):
        is_part = (claims.expanded or claims.masked) and number == 0
        relations.append(Relation("componentOf" if is_part else "inputTo", f"input {number + 1}"))
    return relations


def manifest_definition(claims: Claims, relations: Sequence[Relation]) -> dict[str, Any]:
    """Return the definition of a manifest. `relations` belong to the ingredients that are added to the manifest."""
    labels: dict[str, list[str]] = {}
    for relation in relations:
        labels.setdefault(relation.relationship, []).append(relation.label)
    return {
        "claim_generator_info": [{"name": SOFTWARE, "version": claims.version}],
        "assertions": [
            {"label": "c2pa.actions.v2", "created": True, "data": {"actions": _actions(claims, labels)}},
            {"label": GENERATION, "created": True, "data": dict(claims.generation)},
        ],
    }


def _actions(claims: Claims, labels: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Return the actions in their order. `labels` contains the labels of the ingredients by relationship."""
    source_type = IPTC_SOURCE_TYPES + claims.source_type
    agent = {"softwareAgent": {"name": claims.generator}}
    if "parentOf" in labels:
        # the manifest of the upstream's file states how the image was created
        actions = [{"action": "c2pa.opened", **_ingredients(labels["parentOf"])}]
        if "inputTo" in labels:
            actions.append({"action": "org.framehouse.ordered", **agent, **_ingredients(labels["inputTo"])})
    else:
        created = {"action": "c2pa.created", "digitalSourceType": source_type, **agent}
        actions = [created | _ingredients(labels.get("inputTo", ()))]
    if claims.upscaled_by:
        actions.append(
            {
                "action": "c2pa.enhanced",
                "softwareAgent": {"name": claims.upscaled_by},
                "description": "enlarged by a neural network",
            }
        )
    if claims.resized_from:
        actions.append({"action": "c2pa.resized", "description": f"resized from {claims.resized_from} pixels"})
    # "placed" must refer to an ingredient, and an original without a manifest is not an ingredient
    original = _ingredients(labels.get("componentOf", ()))
    inserted = {"description": "the pixels of the original image were inserted", **original}
    if original:
        actions.append({"action": "c2pa.placed", **inserted})
    elif claims.expanded:
        actions.append({"action": "c2pa.edited", **inserted})
    if claims.masked:
        description = "only the masked area of the original image was replaced"
        actions.append({"action": "c2pa.edited", "description": description})
    if claims.labelled:
        actions.append({"action": "c2pa.edited", "description": "a visible label was added"})
    return actions


def _ingredients(labels: Sequence[str]) -> dict[str, Any]:
    return {"parameters": {"ingredientIds": list(labels)}} if labels else {}
