"""The JSON object that represents the result of a verification, in the API and on the command line."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from framehouse.domain.task_json import milliseconds
from framehouse.domain.verification import Verification, sentences

_REQUIRED = ("verdict", "made_here", "sentences")


def verification_data(verification: Verification) -> dict[str, Any]:
    """Return the result as JSON. Values that are not known are omitted."""
    time = verification.created_at
    data: dict[str, Any] = {
        "verdict": verification.verdict,
        "made_here": verification.made_here,
        "sentences": sentences(verification),
        "evidence": verification.evidence,
        "altered": verification.altered,
        "copied_metadata": verification.copied_metadata or None,
        "model": verification.model,
        "engine": verification.engine,
        "created_at": milliseconds(time) if isinstance(time, datetime) else None,
        "task_id": verification.task_id,
        "image_index": verification.index,
        "account": verification.account,
        "source_type": verification.source_type,
        "signer": asdict(verification.signer) if verification.signer else None,
        "label": asdict(verification.label) if verification.label else None,
        "made_from": [
            {name: value for name, value in asdict(used).items() if value is not None}
            for used in verification.used_files
        ],
        "distance": verification.distance,
    }
    return {name: value for name, value in data.items() if name in _REQUIRED or value not in (None, "", [])}
