"""One style for rule files: idempotent, faithful to meaning and comments, and careful with what it can't read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byreport import yamlfile
from byreport.findings import RulebookError
from byreport.fmt import RULE_KEYS, format_tree, formatted
from byreport.resources import bundled

FILES = sorted(bundled("rules").rglob("*.yaml"))

UGLY = """\
# head
ruleset: private/x
title: X
rules:
    # the first rule
    -   title: "A title: quoted"
        id: x.one
        examples:
        -   fires: true
            given:
                line.code: J3490
                documentation: [invoice,
                                dose]
        -   {given: {line.code: '0636'}, fires: false}
        # why the note
        then:
        - caution: >-
            A folded text
            of two lines
        when: {any: [{line.code: J3490}, {line.noc: true}]} # both
        source: {document: d, statement: s}
        effective:
            from: 2024-01-01


    - id: x.two
      title: Two
      rows:
        - name: a
          units: 1.50
        # between rows
        - {name: b, units: 2}
      when: {}
      then: [caution: Text]
      source:
        - document: d
          statement: s
      examples: []
"""

PRETTY = """\
# head
ruleset: private/x
title: X
rules:
  # the first rule
  - id: x.one
    title: "A title: quoted"
    effective: {from: 2024-01-01}
    when: {any: [{line.code: J3490}, {line.noc: true}]} # both
    # why the note
    then:
      - caution: >-
          A folded text
          of two lines
    source: {document: d, statement: s}
    examples:
      - fires: true
        given: {line.code: J3490, documentation: [invoice, dose]}
      - {given: {line.code: '0636'}, fires: false}

  - id: x.two
    title: Two
    when: {}
    then: [{caution: Text}]
    source:
      - {document: d, statement: s}
    rows:
      - name: a
        units: 1.50
      # between rows
      - {name: b, units: 2}
    examples: []
"""


def test_the_style() -> None:
    assert formatted(UGLY, "x.yaml").splitlines() == PRETTY.splitlines()
    assert formatted(PRETTY, "x.yaml") == PRETTY


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(bundled("rules"))))
def test_every_bundled_file_keeps_its_meaning_and_settles_at_once(path: Path) -> None:
    text = path.read_text()
    once = formatted(text, path.name)
    assert formatted(once, path.name) == once
    assert yamlfile.parse(once, path.name).data == yamlfile.parse(text, path.name).data
    comments = sorted(line.strip() for line in text.splitlines() if line.strip().startswith("#"))
    assert sorted(line.strip() for line in once.splitlines() if line.strip().startswith("#")) == comments


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9))
def test_keys_in_any_order_come_out_the_same(seed: int) -> None:
    random = Random(seed)
    parts = {
        "title": "title: T",
        "effective": "effective: {from: 2024-01-01}",
        "when": "when:\n      line.code: J3490\n      drug.name: {one_of: [a, b]}",
        "then": "then:\n      - caution: C",
        "source": "source: {document: d, statement: s}",
        "overrides": "overrides: [x.two]",
        "examples": "examples:\n      - given: {line.code: J3490}\n        fires: true",
    }
    names = list(parts)
    random.shuffle(names)
    head = "ruleset: private/x\ntitle: X\nrules:\n  - id: x.one\n"
    shuffled = head + "".join(f"    # on {name}\n    {parts[name]}\n" for name in names)
    straight = head + "".join(f"    # on {name}\n    {parts[name]}\n" for name in RULE_KEYS if name in parts)
    assert formatted(shuffled, "x") == formatted(straight, "x") == straight


@pytest.mark.parametrize(
    "text",
    ["rules: [", "a: 1\na: 2\n", "- a\n- b\n", "a: &x 1\nb: *x\n", "a: no\n", "", "a: !tag b\n"],
)
def test_what_is_no_rule_file_is_refused(text: str) -> None:
    with pytest.raises(RulebookError) as refused:
        formatted(text, "x.yaml")
    assert refused.value.findings[0].file == "x.yaml"


def test_a_tree(tmp_path: Path) -> None:
    rules = tmp_path / "rules" / "private"
    rules.mkdir(parents=True)
    ugly, bad, pretty = rules / "ugly.yaml", rules / "bad.yaml", rules / "pretty.yaml"
    ugly.write_text(UGLY)
    ugly.chmod(0o640)
    bad.write_text("rules: [\n")
    pretty.write_text(PRETTY)
    before = pretty.stat().st_mtime_ns
    looked = format_tree(tmp_path, check=True)
    assert (looked.changed, looked.unchanged) == ((ugly,), 1)
    assert [finding.file for finding in looked.refused] == [str(bad)]
    assert ugly.read_text() == UGLY
    done = format_tree(tmp_path)
    assert done.changed == (ugly,)
    assert ugly.read_text().splitlines() == PRETTY.splitlines()
    assert stat.S_IMODE(ugly.stat().st_mode) == 0o640
    assert bad.read_text() == "rules: [\n"
    assert pretty.stat().st_mtime_ns == before
    assert format_tree(tmp_path, check=True).changed == ()
    assert sorted(os.listdir(rules)) == ["bad.yaml", "pretty.yaml", "ugly.yaml"]
