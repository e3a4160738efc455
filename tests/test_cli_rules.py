"""The analyst's commands: check proves, test counts, fmt writes, impact compares."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from byreport.cli import main
from test_fmt import UGLY
from test_impact import EDITED, RULES, _files, _line, _write

CONFLICT = (
    RULES
    + """
  - id: x.none
    title: None
    when: {setting: office}
    then: [{prior_authorization: not_required}]
    source: {document: d, statement: s}
    examples:
      - given: {setting: office}
        fires: true
      - given: {setting: asc}
        fires: false
"""
)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    _write(tmp_path / "tree", _files(RULES))
    return tmp_path / "tree"


def test_check_shows_the_claim_line_of_a_conflict(tree: Path) -> None:
    assert run("check", tree).exit_code == 0
    _write(tree, _files(CONFLICT))
    shown = run("check", tree)
    assert shown.exit_code == 1
    assert "x.none and x.pa fire together and disagree on prior_authorization" in shown.stdout
    claim = next(line.partition("claim:")[2] for line in shown.stdout.splitlines() if "claim:" in line)
    (tree / "claim.json").write_text(claim)
    decided = run("--rules", tree, "--log", tree / "log.db", "decide", "--json", tree / "claim.json")
    assert json.loads(decided.stdout)["outcome"] == "review"
    (finding,) = json.loads(run("check", tree, "--format", "json").stdout)
    assert finding["witness"] == json.loads(claim)
    assert run("check", tree, "--quick").exit_code == 0
    assert run("check", tree, "--only", "private/y").exit_code == 0
    assert run("check", tree, "--only", "private/x").exit_code == 1


def test_examples_and_what_they_exercise(tree: Path) -> None:
    shown = run("test", tree, "--coverage")
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[-2].startswith("total")
    assert "2/2" in shown.stdout
    _write(tree, _files(RULES.replace("when: {line.noc: true}", "when: {line.noc: true, setting: office}")))
    listed = run("test", tree, "--coverage", "--only", "private/x").stdout
    assert "never true: setting is office" in listed


def test_fmt(tree: Path) -> None:
    ugly = tree / "rules" / "private" / "z.yaml"
    ugly.write_text(UGLY)
    looked = run("fmt", tree, "--check")
    assert (looked.exit_code, ugly.read_text()) == (1, UGLY)
    assert f"would rewrite {ugly}" in looked.stdout
    assert run("fmt", tree).exit_code == 0
    assert ugly.read_text() != UGLY
    assert run("fmt", tree, "--check").exit_code == 0
    ugly.write_text("rules: [\n")
    refused = run("fmt", tree)
    assert refused.exit_code == 1
    assert f"{ugly}:" in refused.stderr


def test_impact_of_claims_and_of_the_log(tree: Path, tmp_path: Path) -> None:
    new, claims, log = tmp_path / "new", tmp_path / "claims.jsonl", tmp_path / "log.db"
    _write(new, _files(EDITED))
    claims.write_text("".join(json.dumps(_line(charge=charge)) + "\n" for charge in ("1.00", "2.00")))
    assert "required → not_required" in run("impact", tree, new, "--claims", claims).stdout
    data = json.loads(run("impact", tree, new, "--claims", claims, "--format", "json").stdout)
    assert (data["lines"], data["changed"], data["changed_charge"]) == (2, 2, "3.00")
    run("--rules", tree, "--log", log, "decide", "--json", claims)
    stored = json.loads(run("--log", log, "impact", tree, new, "--format", "json").stdout)
    assert (stored["lines"], stored["changed"], stored["changed_charge"]) == (2, 2, "3.00")
    page = tmp_path / "impact.html"
    assert run("impact", tree, new, "--claims", claims, "--format", "html", "--output", page).stdout == ""
    assert page.read_text().startswith("<!doctype html>")


def test_impact_of_what_is_no_tree(tree: Path) -> None:
    assert run("impact", tree, "no-such-revision").exit_code == 2
    (tree / "rules" / "private" / "x.yaml").write_text("ruleset: [\n")
    assert run("impact", tree, tree).exit_code == 2
