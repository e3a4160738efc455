"""What an edit changes: groups, counts, charges and examples; from files and the log; trees of any kind."""

from __future__ import annotations

import io
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from byreport.desk import Desk
from byreport.docket import Docket
from byreport.findings import RulebookError
from byreport.impact import Impact, ImpactError, Refused, Subject, compare, from_file, from_log, html, open_tree, text
from byreport.log import Log
from byreport.reference import Reference
from byreport.rulebook import Rulebook

POLICY = """payer: private/x
name: X
documents:
  - {id: d, title: D, publisher: P, url: https://example.org, published: 2026-01-01, kind: bulletin, authority: primary,
     statements: [{id: s, topic: pricing, statement: S., confidence: high}]}
"""
OTHER = POLICY.replace("private/x", "private/y").replace("name: X", "name: Other")
RULES = """ruleset: private/x
title: X
rules:
  - id: x.pa
    title: PA
    when: {line.noc: true}
    then:
      - prior_authorization: required
      - price: {basis: wac, percent: 103}
      - require_document: invoice
    source: {document: d, statement: s}
    examples:
      - given: {line.code: J3490}
        fires: true
      - given: {line.code: J3032}
        fires: false
"""
EDITED = RULES.replace("prior_authorization: required", "prior_authorization: not_required").replace("103", "106")


def _files(rules: str, other: str | None = RULES) -> dict[str, bytes]:
    files = {"rules/private/x.yaml": rules, "policy_docs/private/x.yaml": POLICY}
    if other is not None:
        moved = other.replace("private/x", "private/y").replace("x.pa", "y.pa")
        files |= {"rules/private/y.yaml": moved, "policy_docs/private/y.yaml": OTHER}
    return {name: content.encode() for name, content in files.items()}


def _line(payer: str = "private/x", charge: str | None = "100.00", code: str = "J3490") -> dict[str, Any]:
    line: dict[str, Any] = {"code": code, "charge": charge}
    return {"payer": payer, "date_of_service": "2026-02-03", "setting": "office", "line": line, "documentation": []}


def _subjects(*claims: Any) -> list[Subject | Refused]:
    return [Subject(f"f:{number}", data) for number, data in enumerate(claims, 1)]


def _impact(
    reference: Reference, *claims: Any, old: str = RULES, new: str = EDITED, other: str | None = RULES
) -> Impact:
    before, after = Rulebook(_files(old), origin="old"), Rulebook(_files(new, other), origin="new")
    assert before.load() == after.load() == []
    return compare(before, after, reference, _subjects(*claims))


def test_groups_with_counts_charges_and_an_example(reference: Reference) -> None:
    claims = (_line(), _line(charge="250.50"), _line(charge=None), _line(code="J3032"), _line("private/y"))
    impact = _impact(reference, *claims)
    assert (impact.lines, impact.changed, impact.refused) == (5, 3, 0)
    assert str(impact.changed_charge) == "350.50"
    assert impact.payers == {"private/x": 3}
    (authorization,) = impact.parts()["prior_authorization"]
    assert (authorization.before, authorization.after) == ("required", "not_required")
    assert (authorization.lines, str(authorization.charge), authorization.uncharged) == (3, "350.50", 1)
    example = authorization.example
    assert (example["where"], example["payer"], example["claim"]) == ("f:1", "private/x", claims[0])
    assert example["before"]["rules"] == example["after"]["rules"] == ["x.pa"]
    assert example["before"]["says"]["status"] == "required"
    (pricing,) = impact.parts()["pricing"]
    assert (pricing.before, pricing.after) == ("wac 103%", "wac 106%")
    assert "documentation" not in impact.parts()


def test_the_example_is_what_a_desk_decides(reference: Reference) -> None:
    impact = _impact(reference, _line())
    for rules, side in ((RULES, "before"), (EDITED, "after")):
        desk = Desk(Rulebook(_files(rules)), reference)
        body = desk.decide(_line()).decision.body
        desk.close()
        for group in impact.ordered():
            assert group.example[side]["says"] == body[group.part]


def test_lists_tell_only_what_came_and_went(reference: Reference) -> None:
    new = RULES.replace("require_document: invoice", "require_document: [dose, invoice]")
    (group,) = _impact(reference, _line(), new=new).parts()["documentation"]
    assert (group.before, group.after) == ("nothing", "dose missing")


def test_nothing_changes_between_a_tree_and_itself(reference: Reference) -> None:
    impact = _impact(reference, _line(), _line("private/y"), new=RULES)
    assert (impact.lines, impact.changed, impact.explained_otherwise, impact.groups) == (2, 0, 0, {})
    assert "No decision changes" in html(impact)


def test_another_title_is_only_another_explanation(reference: Reference) -> None:
    impact = _impact(reference, _line(), new=RULES.replace("title: PA", "title: Authorization"))
    assert (impact.changed, impact.explained_otherwise) == (0, 1)
    assert list(impact.parts()) == ["explanation"]


def test_a_payer_that_goes(reference: Reference) -> None:
    impact = _impact(reference, _line("private/y"), _line("private/z"), new=RULES, other=None)
    (group,) = impact.ordered()
    assert (group.part, group.after) == ("outcome", "no such payer")
    assert impact.refused == 1
    assert "private/z" in impact.refusals[0].why


def test_lines_that_can_not_be_read_are_counted(reference: Reference) -> None:
    bad = io.BytesIO(b'{"payer": 1}\nnot json\n' + json.dumps(_line()).encode() + b"\n")
    old, new = Rulebook(_files(RULES)), Rulebook(_files(EDITED))
    impact = compare(old, new, reference, from_file(bad, "f"))  # type: ignore[arg-type]
    assert (impact.lines, impact.refused, impact.changed) == (3, 2, 1)
    assert [refused.where for refused in impact.refusals] == ["f:1", "f:2"]


def test_stored_decisions_keep_the_facts_they_had(reference: Reference, tmp_path: Path) -> None:
    old, new = Rulebook(_files(RULES)), Rulebook(_files(EDITED))
    docket = Docket(Desk(old, reference), Log.open(tmp_path / "log.db"))
    claims = [_line(), _line(charge="9.00")]
    docket.record([docket.decide(data) for data in claims], claims)
    seen: list[int] = []
    impact = compare(old, new, reference, from_log(docket.log), seen.append)
    direct = compare(old, new, reference, _subjects(*claims))
    ids = {record.decision_id for record in docket.log.iterate()}
    docket.close()
    assert seen == [1, 2]
    assert (impact.lines, impact.changed, str(impact.changed_charge)) == (2, 2, "109.00")
    assert {group.example["where"] for group in impact.ordered()} <= ids
    summary = [(group.part, group.before, group.after, group.lines, group.charge) for group in impact.ordered()]
    assert summary == [(g.part, g.before, g.after, g.lines, g.charge) for g in direct.ordered()]


def test_text_json_and_page_say_the_same(reference: Reference) -> None:
    impact = _impact(reference, _line(), _line(charge=None))
    told, page, data = text(impact), html(impact), json.loads(json.dumps(impact.as_dict()))
    assert "required → not_required" in told
    assert "$100.00, 1 without a charge" in told
    assert "$100.00, 1 without a charge" in page
    assert data["changed"] == 2
    assert [group["part"] for group in data["changes"]] == [group.part for group in impact.ordered()]
    assert data["changes"][0]["example"]["claim"] == _line()


def test_the_page_needs_nothing_else_and_escapes_what_it_shows(reference: Reference) -> None:
    line = _line()
    line["line"]["description"] = "<script>alert(1)</script>"
    page = html(_impact(reference, line))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"(?:src|href|url)\s*[=(]", page)


def _git(directory: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=directory, check=True, capture_output=True)


def _write(directory: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)


def test_trees_are_directories_or_revisions(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    _write(repository / "mine", _files(RULES))
    _git(repository.parent, "init", "-q", str(repository))
    _git(repository, "add", ".")
    _git(repository, "commit", "-q", "-m", "one")
    _write(repository / "mine", _files(EDITED))
    (repository / "mine" / "rules" / "notes.txt").write_text("no rules")
    _git(repository, "add", ".")
    _git(repository, "commit", "-q", "-m", "two")
    assert open_tree("HEAD~1:mine", repository).hash == Rulebook(_files(RULES)).hash
    assert open_tree("HEAD:mine/", repository / "mine").hash == Rulebook(_files(EDITED)).hash
    assert open_tree(str(repository / "mine")).hash == Rulebook(_files(EDITED)).hash
    with pytest.raises(RulebookError):
        open_tree("HEAD", repository)


@pytest.mark.parametrize("name", ["no-such-thing", "--output=/tmp/x", "", "HEAD:nowhere", "HEAD~99"])
def test_what_is_no_tree_is_said(name: str, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    _write(repository, _files(RULES))
    _git(repository.parent, "init", "-q", str(repository))
    _git(repository, "add", ".")
    _git(repository, "commit", "-q", "-m", "one")
    with pytest.raises(ImpactError):
        open_tree(name, repository)
    with pytest.raises(ImpactError):
        open_tree(name, tmp_path)


def test_faults_of_a_tree_are_told_before_anything_is_decided(tmp_path: Path) -> None:
    _write(tmp_path, _files(RULES.replace("line.noc", "line.nock")))
    with pytest.raises(RulebookError, match=r"line\.nock"):
        open_tree(str(tmp_path))
