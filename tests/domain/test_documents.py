"""The analysts' documents name everything there is, and what they show is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from byreport import policy, rule, rulefile, yamlfile
from byreport.decision import OUTCOMES
from byreport.desk import Desk
from byreport.policy import KINDS, NO_RULE, TOPICS
from byreport.rulebook import Rulebook
from byreport.verbs import VERBS
from byreport.vocabulary import vocabulary

DOCS = Path(__file__).resolve().parents[2] / "docs"
FORMAT = (DOCS / "rule-format.md").read_text(encoding="utf-8")
GUIDE = (DOCS / "writing-rules.md").read_text(encoding="utf-8")
READING = (DOCS / "reading-a-decision.md").read_text(encoding="utf-8")
FACTS = vocabulary().facts.values()


def table_row(text: str, first: str) -> str:
    """The row of a table of the document whose first cell is `first`."""
    rows = [line for line in text.splitlines() if line.startswith(f"| `{first}` |")]
    assert len(rows) == 1, f"{len(rows)} table rows for {first}"
    return rows[0]


@pytest.mark.parametrize("operator", rule.OPERATORS)
def test_every_test_is_explained(operator: str) -> None:
    assert table_row(FORMAT, operator)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_explained_with_all_its_settings(verb: str) -> None:
    row = table_row(FORMAT, verb)
    for name in VERBS[verb].settings:
        assert f"`{name}`" in row
    if VERBS[verb].short is not None:
        assert f"**`{VERBS[verb].short}`**" in row


def test_no_verb_or_test_is_explained_that_does_not_exist() -> None:
    explained = re.findall(r"^\| `([a-z_]+)` \|", FORMAT.partition("## Conclusions")[2].partition("## Tables")[0], re.M)
    assert set(explained) == set(VERBS)
    tests = re.findall(r"^\| `([a-z_]+)` \| `", FORMAT.partition("## Conditions")[2].partition("**Facts**")[0], re.M)
    assert set(tests) == set(rule.OPERATORS)


@pytest.mark.parametrize("key", [*rulefile.RULE_KEYS, *rulefile._FILE_KEYS])
def test_every_key_of_a_rule_file_is_named(key: str) -> None:
    assert f"| `{key}` |" in FORMAT


@pytest.mark.parametrize(
    "key", sorted({*policy._FILE_KEYS, *policy._DOCUMENT_KEYS, *policy._STATEMENT_KEYS, *KINDS, *TOPICS, *NO_RULE})
)
def test_every_word_of_a_policy_document_is_named(key: str) -> None:
    assert f"`{key}`" in FORMAT.partition("## A policy document file")[2]


@pytest.mark.parametrize("name", sorted(fact.name for fact in FACTS if fact.origin != "claim" or fact.filled))
def test_every_fact_that_a_claim_need_not_give_is_named(name: str) -> None:
    assert f"`{name}`" in FORMAT


def test_the_documents_name_no_fact_that_does_not_exist() -> None:
    groups = {fact.name.split(".")[0] for fact in FACTS if "." in fact.name}
    for text in (FORMAT, READING):
        for name in re.findall(r"`([a-z]+(?:\.[a-z_0-9]+)+)`", text):
            if name.split(".")[0] in groups:
                assert name in vocabulary().facts, name


@pytest.mark.parametrize("text", [FORMAT, GUIDE], ids=["rule-format", "writing-rules"])
def test_every_example_of_a_document_is_yaml(text: str) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.S)
    assert len(blocks) >= 4
    for block in blocks:
        yaml.safe_load(block)


def rules_shown(text: str) -> list[str]:
    """The blocks of a document that hold whole rules."""
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.S)
    return [block for block in blocks if re.match(r"  - id: \S+\n    title:", block)]


def test_the_table_that_is_shown_is_one_of_the_rules(rulebook: Rulebook) -> None:
    (shown,) = rules_shown(FORMAT)
    head, _, rest = shown.partition("    rows:\n")
    file = rulebook.files["rules/medicaid/NC.yaml"].decode()
    assert head in file
    rows = [line for line in rest.splitlines() if line.startswith("      - {drug")]
    assert rows
    assert all(row in file for row in rows)


def test_the_guides_draft_has_the_faults_that_the_guide_shows(rulebook: Rulebook) -> None:
    draft, corrected = rules_shown(GUIDE)
    head = "ruleset: medicaid/TX/tchp\ntitle: x\nrules:\n"

    def findings(text: str) -> list[str]:
        files = {**rulebook.files, "rules/medicaid/TX/tchp.yaml": (head + text).encode()}
        return [finding.message for finding in Rulebook(files).load() if finding.file == "rules/medicaid/TX/tchp.yaml"]

    assert findings(draft)
    for message in findings(draft):
        assert message in GUIDE
    assert findings(corrected) == []


def test_the_guides_statement_and_examples_are_those_of_the_payer(rulebook: Rulebook) -> None:
    statement = GUIDE.split("```yaml\n")[1].partition("```")[0]
    assert statement in rulebook.files["policy_docs/medicaid/TX/tchp.yaml"].decode()
    rules = rulebook.files["rules/medicaid/TX/tchp.yaml"].decode()
    examples = [line for line in GUIDE.splitlines() if line.startswith("      - given:") and "recommends.code" in line]
    assert len(examples) == 3
    assert all(example in rules for example in examples)
    assert yamlfile.parse(rules.encode(), "tchp.yaml").findings == []


def test_a_decision_is_told_with_every_part_and_outcome(desk: Desk) -> None:
    body = desk.decide(
        {"payer": "medicaid/TX", "date_of_service": "2026-02-03", "setting": "office", "line": {"code": "J3490"}}
    ).decision.body
    for part in set(body) - {"notice"}:
        assert f"| `{part}` |" in READING, part
    for word in (*OUTCOMES, *vocabulary().lists["caution"], *vocabulary().lists["prior_authorization"]):
        assert f"`{word}`" in READING, word


@pytest.mark.parametrize("text", [FORMAT, GUIDE, READING], ids=["rule-format", "writing-rules", "reading-a-decision"])
def test_links_between_the_documents_lead_somewhere(text: str) -> None:
    for file, anchor in re.findall(r"\]\(([\w-]+\.md)(?:#([\w-]+))?\)", text):
        target = (DOCS / file).read_text(encoding="utf-8")
        assert not anchor or re.search(rf"^#+ {anchor}$", target, re.M | re.I), (file, anchor)
