"""What an analyst gets wrong in a rule file, and what the loader says: every fault at once, each with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from byreport import yamlfile
from byreport.findings import Finding
from byreport.rulebook import Rulebook

POLICY = """\
payer: private/acme
name: Acme Health
documents:
  - id: bulletin-1
    title: Bulletin 1
    publisher: Acme Health
    url: https://example.org/1
    published: 2026-01-05
    kind: bulletin
    authority: primary
    statements:
      - {id: acme-pa, topic: prior_authorization, statement: J3490 needs authorization., confidence: high}
"""
HEAD = "ruleset: private/acme\ntitle: Acme Health\nrules:\n"
GOOD = """\
  - id: acme.pa
    title: J3490 needs authorization
    when:
      line.code: J3490
    then:
      - prior_authorization: required
    source: {document: bulletin-1, statement: acme-pa}
    examples:
      - given: {line.code: J3490}
        fires: true
      - given: {line.code: J3590}
        fires: false
"""


SKYSONA, VYEPTI = "{name: Skysona, names: [Skysona]}", "{name: Vyepti, names: [Vyepti]}"


def findings(rules: str, policy: str = POLICY) -> list[Finding]:
    files = {"rules/private/acme.yaml": (HEAD + rules).encode(), "policy_docs/private/acme.yaml": policy.encode()}
    return Rulebook(files).load()


def one(rules: str) -> Finding:
    found = findings(rules)
    assert len(found) == 1, [str(f) for f in found]
    return found[0]


def test_a_good_file_has_no_findings() -> None:
    assert findings(GOOD) == []


def test_every_fault_is_reported_at_once_in_order_of_line() -> None:
    text = GOOD.replace("line.code: J3490\n    then", "line.cod: J3490\n    then").replace("required", "requird")
    text = text.replace("statement: acme-pa", "statement: acme-pq")
    found = findings(text)
    assert [f.kind for f in found] == ["unknown-fact", "then", "dangling-source"]
    assert [f.line for f in found] == sorted(f.line for f in found)
    assert all(f.file == "rules/private/acme.yaml" and f.line and f.column for f in found)


def test_an_unknown_fact_is_named_with_the_nearest_right_name_and_its_place() -> None:
    fault = one(GOOD.replace("      line.code: J3490\n    then", "      line.cod: J3490\n    then"))
    assert (fault.line, fault.column) == (7, 7)
    assert fault.nearest == "line.code"
    assert "did you mean: line.code" in str(fault)


@pytest.mark.parametrize(
    ("wrong", "kind", "words"),
    [
        ("drug.biologic: 'yes'", "type", "true or false"),
        ("drug.biologic: yes", "yaml-1.1", "boolean in YAML 1.1"),
        ("setting: offfice", "type", "one of office"),
        ("line.charge: {at_least: lots}", "type", "amount in US dollars"),
        ("line.charge: {before: 2024-01-01}", "type", "does not fit"),
        ("date_of_service: {before: 2024-02-30}", "date", "no date of the calendar"),
        ("date_of_service: {before: 2024-13-01}", "date", "no date of the calendar"),
        ("line.code: [J3490, J3590]", "type", "one_of"),
        ("line.code: {one_of: J3490}", "type", "takes a list"),
        ("line.code: {oneof: [J3490]}", "operator", "unknown test"),
        ("line.revenue_code: 0636", "yaml-1.1", "leading zero"),
        ("line.description: {matches: '(a+)+b'}", "pattern", "take for ever"),
        ("line.description: {matches: '('}", "pattern", "no valid pattern"),
        ("not: {requires.prior_authorization: true}", "condition", "can't stand under `not`"),
        ("requires.document: missing", "operator", "concluded by rules"),
        ("any: {line.code: J3490}", "condition", "list of conditions"),
        ("line.code: J3490\n      line.code: J3590", "duplicate-key", "stands twice"),
    ],
)
def test_wrong_conditions(wrong: str, kind: str, words: str) -> None:
    fault = one(GOOD.replace("      line.code: J3490\n    then", f"      {wrong}\n    then"))
    assert fault.kind == kind
    assert words in str(fault)
    assert fault.line in (7, 8)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("prior_authorisation: required", "did you mean: prior_authorization"),
        ("price: asp", "needs its settings by name"),
        ("price: {basis: aspp}", "is no basis"),
        ("deny: {group: CO, carc: 16}", "lacks unless"),
        ("use_code: {code: J3590, from: drug.specific_code}", "either a code or `from`"),
        ("deadline: {what: timely_filing, days: 365, months: 12}", "one of days, months, years"),
        ("require_document: invoic", "did you mean: invoice"),
        ("require_field: {field: line.units, one_of: [many]}", "number of at most 4 decimals"),
        ("conclude: {line.code: J3490}", "only concluded facts"),
        ("conclude: {excluded: false}", "never that it is false"),
    ],
)
def test_wrong_conclusions(wrong: str, words: str) -> None:
    fault = one(GOOD.replace("prior_authorization: required", wrong))
    assert fault.kind == "then"
    assert words in str(fault)
    assert fault.line == 9


def test_a_rule_that_ends_before_it_starts() -> None:
    fault = one(GOOD.replace("    when:", "    effective: {from: 2026-02-01, to: 2026-01-31}\n    when:"))
    assert "ends before it starts" in fault.message


def test_aliases_are_refused_however_small_the_file() -> None:
    bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n"
    document = yamlfile.parse(bomb, "bomb.yaml")
    assert [f.kind for f in document.findings] == ["alias"]
    assert document.findings[0].line == 2


def test_an_alias_bomb_is_read_in_no_time() -> None:
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 14)]
    assert yamlfile.parse("\n".join(lines), "bomb.yaml").findings[0].kind == "alias"


def test_oversized_deep_and_unreadable_files_are_findings(tmp_path: Path) -> None:
    assert yamlfile.parse("#" * (yamlfile.MAX_BYTES + 1), "x").findings[0].kind == "too-large"
    assert yamlfile.parse("[" * 40 + "]" * 40, "x").findings[0].kind == "too-deep"
    assert yamlfile.parse(b"a: \xff", "x").findings[0].kind == "encoding"
    assert yamlfile.parse("a: [", "x").findings[0].kind == "yaml"
    assert yamlfile.parse("", "x").findings[0].kind == "empty"
    assert yamlfile.read(tmp_path / "none.yaml").findings[0].kind == "unreadable"
    assert yamlfile.parse("a: !!python/object/apply:os.system [ls]", "x").findings


def test_a_table_is_one_rule_with_a_row_each() -> None:
    table = (
        GOOD.replace("title: J3490 needs authorization", "title: $name needs authorization")
        .replace(
            "      line.code: J3490\n    then", "      line.code: J3490\n      drug.name: {one_of: $names}\n    then"
        )
        .replace(
            "    examples",
            f"    rows:\n      - {SKYSONA}\n      - {VYEPTI}\n    examples",
        )
    )
    files = {"rules/private/acme.yaml": (HEAD + table).encode(), "policy_docs/private/acme.yaml": POLICY.encode()}
    rules = Rulebook(files).ruleset("private/acme")
    assert [(rule.id, rule.title, rule.row) for rule in rules] == [
        ("acme.pa:skysona", "Skysona needs authorization", "skysona"),
        ("acme.pa:vyepti", "Vyepti needs authorization", "vyepti"),
    ]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{name: Skysona}", "the row has no column 'names'"),
        ("{name: Skysona, names: [Skysona], nams: [x]}", "did you mean: names"),
        ("{name: Vyepti, names: [Skysona]}", "has the name of row"),
    ],
)
def test_wrong_rows(row: str, words: str) -> None:
    table = GOOD.replace("      line.code: J3490\n    then", "      drug.name: {one_of: $names}\n    then").replace(
        "title: J3490", "title: $name"
    )
    table = table.replace(
        "    examples", f"    rows:\n      - {{name: Vyepti, names: [Vyepti]}}\n      - {row}\n    examples"
    )
    assert any(words in str(fault) for fault in findings(table))


def test_an_empty_alternative_of_any_is_refused() -> None:
    table = GOOD.replace(
        "      line.code: J3490\n    then", "      any: [{drug.name: $name}, {line.code: J3590}]\n    then"
    )
    table = table.replace("    examples", "    rows:\n      - {row: all, name: any}\n    examples")
    assert "always true" in str(one(table))


def test_the_file_has_to_stand_where_its_ruleset_says() -> None:
    files = {"rules/private/other.yaml": (HEAD + GOOD).encode(), "policy_docs/private/other.yaml": POLICY.encode()}
    kinds = {fault.kind for fault in Rulebook(files).load()}
    assert {"ruleset", "payer"} <= kinds
