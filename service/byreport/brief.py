"""A decision in short, as rows of a batch have it: what came out, and the rules that fired by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def brief(body: Mapping[str, Any], fired: Sequence[str]) -> dict[str, Any]:
    """What a decision's body comes to, and the rules that fired by name."""
    code, authorization, pricing = body["code"], body["prior_authorization"], body["pricing"]
    documents = body["documentation"]
    return {
        "outcome": body["outcome"],
        "code_billed": code["billed"],
        "code_recommended": code["recommended"],
        "prior_authorization": authorization["status"],
        "documents_missing": [entry["item"] for entry in documents if entry["status"] == "missing"],
        "documents_present": [entry["item"] for entry in documents if entry["status"] == "present"],
        "edits": [{name: edit[name] for name in ("field", "expected")} for edit in body["edits"]],
        "denials": [{name: denial[name] for name in ("group", "carc", "rarc")} for denial in body["denials"]],
        "pricing_basis": pricing["basis"],
        "pricing_percent": pricing["percent"],
        "pricing_estimate": pricing["estimate"],
        "deadlines": [{"what": entry["what"], "date": entry["date"]} for entry in body["deadlines"]],
        "exclusions": [entry["reason"] for entry in body["exclusions"]],
        "questions": [entry["fact"] for entry in body["questions"]],
        "cautions": sorted({entry["kind"] for entry in body["cautions"]}),
        "fired": list(fired),
    }
