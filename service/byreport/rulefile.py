"""One rule file (YAML) read into rules, with every fault at once and the place of each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from byreport import yamlfile
from byreport.dnf import MAX_ALTERNATIVES, TooManyAlternatives, conjunctions
from byreport.findings import nearest
from byreport.rule import OPERATORS, All, AnyOf, Conclusion, Condition, Example, Not, Rule, Source, Test
from byreport.verbs import VerbError, conclusions
from byreport.vocabulary import ORDERED, Fact, UnfitValue, Vocabulary, fold

SourceLookup = Callable[[str, str, str | None], Source | None]
"""(document, statement, payer or None for the ruleset's own) to the source, None when it dangles."""

_FILE_KEYS = ("ruleset", "title", "rules")
RULE_KEYS = ("id", "title", "effective", "when", "then", "source", "overrides", "rows", "examples", "note")
_ID = re.compile(r"[a-z0-9][a-z0-9_.-]{0,118}[a-z0-9]")
_COLUMN = re.compile(r"\$([a-z][a-z0-9_]*)")
_NESTED_REPEAT = re.compile(r"[+*}][)][+*{]|\\[1-9]|\(\?[^:]")
MAX_NESTING = 8
ANY = "any"
"""In a table's row: this column does not restrict the rule, its test is left out."""


@dataclass(frozen=True)
class Ruleset:
    """The rules of one payer (or of `common`), from one file of the tree."""

    path: str
    title: str
    rules: tuple[Rule, ...]
    file: str


def build(file: yamlfile.Document, vocabulary: Vocabulary, sources: SourceLookup) -> Ruleset | None:
    """The ruleset of a parsed file, or None when it has no usable head; faults go to `file.findings`."""
    data = file.data
    if not isinstance(data, dict):
        if not file.findings:
            file.add((), "ruleset", "a rule file is a mapping", expected="ruleset, title, rules")
        return None
    _unknown_keys(file, (), data, _FILE_KEYS)
    if not isinstance(data.get("ruleset"), str):
        file.add((), "ruleset", "the file does not name its ruleset", expected="ruleset: medicaid/TX")
        return None
    entries = data.get("rules")
    if entries is None:
        entries = []
    if not isinstance(entries, list):
        file.add(("rules",), "ruleset", "`rules` has to be a list")
        entries = []
    reader = _Reader(file, vocabulary, sources, data["ruleset"])
    rules = [rule for index, entry in enumerate(entries) for rule in reader.rules(("rules", index), entry)]
    return Ruleset(data["ruleset"], str(data.get("title") or data["ruleset"]), tuple(rules), file.file)


def _unknown_keys(
    file: yamlfile.Document, path: yamlfile.ValuePath, data: Mapping[str, Any], allowed: tuple[str, ...]
) -> None:
    for key in data:
        if key not in allowed:
            close = nearest(key, allowed)
            file.add(
                (*path, key, ""),
                "unknown-key",
                f"unknown key {key!r}",
                found=key,
                expected=", ".join(allowed),
                nearest=close[0] if close else None,
            )


class _Reader:
    """Builds the rules of one file."""

    def __init__(self, file: yamlfile.Document, vocabulary: Vocabulary, sources: SourceLookup, ruleset: str) -> None:
        self.file = file
        self.vocabulary = vocabulary
        self.sources = sources
        self.ruleset = ruleset

    def rules(self, path: yamlfile.ValuePath, entry: Any) -> Iterator[Rule]:
        if not isinstance(entry, dict):
            self.file.add(path, "rule", "a rule is a mapping", expected=", ".join(RULE_KEYS))
            return
        _unknown_keys(self.file, path, entry, RULE_KEYS)
        for key in ("id", "title", "then", "source", "examples"):
            if entry.get(key) in (None, "", []):
                self.file.add(path, "missing-key", f"the rule has no `{key}`", expected=key)
        name = entry.get("id")
        if not isinstance(name, str) or not _ID.fullmatch(name):
            if name is not None:
                self.file.add(
                    (*path, "id"),
                    "id",
                    f"{name!r} can't be a rule's id",
                    found=str(name),
                    expected="lower-case letters, digits, dots, hyphens and underscores",
                )
            return
        if "rows" not in entry:
            rule = self.rule(path, entry, {}, None)
            if rule:
                yield rule
            return
        yield from self.table(path, entry)

    def table(self, path: yamlfile.ValuePath, entry: Mapping[str, Any]) -> Iterator[Rule]:
        rows = entry["rows"]
        if not isinstance(rows, list) or not rows:
            self.file.add((*path, "rows"), "table", "`rows` has to be a list with at least one row")
            return
        used = {column for key in ("when", "then", "title", "source") for column in _columns(entry.get(key))}
        seen: dict[str, int] = {}
        for index, row in enumerate(rows):
            place = (*path, "rows", index)
            if not isinstance(row, dict):
                self.file.add(place, "table", "a row is a mapping of columns")
                continue
            for column in row:
                if column not in used and column not in ("row", "effective", "source", "note"):
                    close = nearest(column, used)
                    self.file.add(
                        (*place, column, ""),
                        "table",
                        f"no `${column}` stands in the rule",
                        found=column,
                        expected=", ".join(sorted(used)),
                        nearest=close[0] if close else None,
                    )
            for column in sorted(used - set(row)):
                self.file.add(
                    place,
                    "table",
                    f"the row has no column {column!r}",
                    expected=f"{column}: …, or `{column}: any` to leave its test out",
                )
            if used - set(row):
                continue
            label = str(row.get("row") or next(iter(row.values())))
            slug = re.sub(r"[^a-z0-9]+", "-", fold(label)).strip("-") or str(index + 1)
            if slug in seen:
                self.file.add(
                    (*place, "row"),
                    "repeated-row",
                    f"the row {label!r} has the name of row {seen[slug] + 1}",
                    found=label,
                    expected="a `row:` name of its own",
                )
                continue
            seen[slug] = index
            rule = self.rule(path, entry, row, (slug, place))
            if rule:
                yield rule

    def rule(
        self,
        path: yamlfile.ValuePath,
        entry: Mapping[str, Any],
        row: Mapping[str, Any],
        named: tuple[str, yamlfile.ValuePath] | None,
    ) -> Rule | None:
        before = len(self.file.findings)
        place = named[1] if named else path
        effective_from, effective_to = self.effective(
            *(
                ((*place, "effective"), row["effective"])
                if "effective" in row
                else ((*path, "effective"), entry.get("effective"))
            )
        )
        when = self.condition((*path, "when"), entry.get("when", {}), row, place)
        if when is not None:
            self.fit_for_engine((*path, "when"), when)
        then = tuple(self.then((*path, "then"), entry.get("then"), row, place))
        given_source = (
            ((*place, "source"), row["source"])
            if "source" in row
            else ((*path, "source"), _filled(entry.get("source"), row))
        )
        cited = self.cited(*given_source)
        first = named is None or named[1][-1] == 0
        examples = self.examples((*path, "examples"), entry.get("examples"), row) if first or named else ()
        if len(self.file.findings) > before or when is None:
            return None
        title = str(entry.get("title"))
        return Rule(
            id=f"{entry['id']}:{named[0]}" if named else entry["id"],
            title=_COLUMN.sub(lambda m: _text(row.get(m[1])), " ".join(title.split())),
            ruleset=self.ruleset,
            when=when,
            then=then,
            sources=cited,
            effective_from=effective_from,
            effective_to=effective_to,
            overrides=self.overrides((*path, "overrides"), entry.get("overrides")),
            examples=examples,
            table=entry["id"] if named else None,
            row=named[0] if named else None,
            file=self.file.file,
            line=self.file.place(place)[0],
        )

    def effective(self, path: yamlfile.ValuePath, value: Any) -> tuple[str | None, str | None]:
        if value is None:
            return None, None
        if not isinstance(value, dict) or set(value) - {"from", "to"}:
            self.file.add(
                path,
                "effective",
                "`effective` holds from, to or both",
                expected="{from: 2025-06-01, to: 2026-05-31}",
            )
            return None, None
        bounds: dict[str, str | None] = {}
        for end in ("from", "to"):
            bound = value.get(end)
            if bound is not None and not _is_date(bound):
                self.file.add(
                    (*path, end),
                    "effective",
                    f"{bound!r} is no date",
                    found=str(bound),
                    expected="YYYY-MM-DD",
                )
                bound = None
            bounds[end] = bound
        if bounds["from"] and bounds["to"] and bounds["from"] > bounds["to"]:
            self.file.add(
                path,
                "effective",
                "the rule ends before it starts",
                found=f"{bounds['from']} to {bounds['to']}",
                expected="from on or before to",
            )
        return bounds["from"], bounds["to"]

    # --- conditions ------------------------------------------------------------------------------------------

    def condition(
        self, path: yamlfile.ValuePath, value: Any, row: Mapping[str, Any], place: yamlfile.ValuePath, depth: int = 0
    ) -> Condition | None:
        if depth > MAX_NESTING:
            self.file.add(path, "condition", f"nested deeper than {MAX_NESTING} levels")
            return None
        if isinstance(value, list):
            items = [self.condition((*path, index), item, row, place, depth + 1) for index, item in enumerate(value)]
            return All(tuple(item for item in items if item is not None))
        if not isinstance(value, dict):
            self.file.add(
                path,
                "condition",
                "a condition is a mapping of facts to tests",
                found=str(value)[:60],
                expected="for example {line.code: J3490}",
            )
            return None
        items = []
        for key, entry in value.items():
            if key == "not":
                inner = self.condition((*path, key), entry, row, place, depth + 1)
                items.append(Not(inner) if inner is not None else None)
            elif key in ("any", "all"):
                items.append(self.group(key, (*path, key), entry, row, place, depth + 1))
            else:
                items.extend(self.tests(path, _fact_name(key, row), entry, row, place))
        kept = tuple(item for item in items if item is not None)
        return kept[0] if len(kept) == 1 else All(kept)

    def fit_for_engine(self, path: yamlfile.ValuePath, condition: Condition) -> None:
        try:
            literals = {literal for conjunction in conjunctions(condition) for literal in conjunction}
        except TooManyAlternatives:
            self.file.add(
                path,
                "condition",
                f"`any` and `not` multiply to more than {MAX_ALTERNATIVES} alternatives",
                expected="several rules, or a table",
            )
            return
        for test, wanted in literals:
            if not wanted and self.vocabulary.facts[test.fact].origin == "concluded":
                self.file.add(
                    path,
                    "condition",
                    f"{test.fact} is concluded by rules and can't stand under `not`",
                    found=test.shown,
                    expected="a test that it holds",
                )

    def group(
        self,
        word: str,
        path: yamlfile.ValuePath,
        value: Any,
        row: Mapping[str, Any],
        place: yamlfile.ValuePath,
        depth: int,
    ) -> Condition | None:
        if not isinstance(value, list) or not value:
            self.file.add(
                path,
                "condition",
                f"`{word}` holds a list of conditions",
                expected=f"{word}: [{{line.code: J3490}}, {{drug.biologic: true}}]",
            )
            return None
        items = []
        for index, entry in enumerate(value):
            faults = len(self.file.findings)
            items.append(self.condition((*path, index), entry, row, place, depth + 1))
            if word == "any" and items[-1] == All(()) and len(self.file.findings) == faults:
                self.file.add(
                    (*path, index),
                    "condition",
                    "an alternative of `any` that tests nothing makes the whole always true",
                    expected="a test, or the alternative taken out",
                )
        kept = tuple(item for item in items if item is not None)
        return AnyOf(kept) if word == "any" else All(kept)

    def tests(
        self, path: yamlfile.ValuePath, name: str, value: Any, row: Mapping[str, Any], place: yamlfile.ValuePath
    ) -> Iterator[Test]:
        fact = self.vocabulary.facts.get(name)
        if fact is None:
            self.file.add(
                (*path, name, ""),
                "unknown-fact",
                f"unknown fact {name!r}",
                found=name,
                expected="a fact of schemas/vocabulary.yaml, or any, all, not",
                nearest=self.vocabulary.nearest(name),
            )
            return
        if not isinstance(value, dict):
            word = isinstance(value, str) and value in ("present", "missing", "unknown")
            value = {value: True} if word else {"equals": value}
        for operator, constant in value.items():
            test = self.test((*path, name), fact, operator, constant, row, place)
            if test is not None:
                yield test

    def test(
        self,
        path: yamlfile.ValuePath,
        fact: Fact,
        operator: str,
        constant: Any,
        row: Mapping[str, Any],
        place: yamlfile.ValuePath,
    ) -> Test | None:
        if operator not in OPERATORS:
            close = nearest(operator, OPERATORS)
            self.file.add(
                (*path, operator, ""),
                "operator",
                f"unknown test {operator!r}",
                found=operator,
                expected=", ".join(OPERATORS),
                nearest=close[0] if close else None,
            )
            return None
        if fact.origin == "concluded" and operator not in ("equals", "one_of"):
            self.file.add(
                (*path, operator, ""),
                "operator",
                f"{fact.name} is concluded by rules; test it by value",
                found=operator,
                expected="equals or one_of",
            )
            return None
        if operator in ("present", "missing", "unknown"):
            if constant is not True:
                self.file.add(
                    (*path, operator),
                    "operator",
                    f"`{operator}` takes true",
                    found=str(constant),
                    expected=f"{operator}: true, or `not:` around it",
                )
                return None
            return Test(fact.name, operator, None, f"{fact.name} {operator}")
        # A bare value has no operator of its own in the file: its place is then that of the fact's value.
        where: yamlfile.ValuePath = (*path, operator)
        if isinstance(constant, str) and (column := _COLUMN.fullmatch(constant)):
            if column[1] not in row:
                self.file.add((*path, operator), "table", f"there is no column {column[1]!r}", found=constant)
                return None
            constant, where = row[column[1]], (*place, column[1])
            if constant == ANY:
                return None
            if operator == "equals" and isinstance(constant, list):
                operator = "one_of"
        return self.valued(where, fact, operator, constant)

    def valued(self, path: yamlfile.ValuePath, fact: Fact, operator: str, constant: Any) -> Test | None:
        if operator in ("at_least", "below", "before", "on_or_after") and (
            fact.type not in ORDERED or (fact.type == "date") != (operator in ("before", "on_or_after"))
        ):
            self.file.add(
                path,
                "type",
                f"`{operator}` does not fit {fact.name}, which is {fact.type}",
                found=operator,
                expected="before, on_or_after for dates; at_least, below for numbers",
            )
            return None
        if operator == "matches":
            return self.matches(path, fact, constant)
        many = operator == "one_of"
        if many and (not isinstance(constant, list) or not constant):
            self.file.add(
                path,
                "type",
                "`one_of` takes a list",
                found=str(constant)[:60],
                expected="a list of " + fact.expected(),
            )
            return None
        if not many and isinstance(constant, list):
            self.file.add(
                path,
                "type",
                f"{fact.name} is compared with one value",
                found=str(constant)[:60],
                expected="one_of: […] for several",
            )
            return None
        keys = []
        for item in constant if many else [constant]:
            try:
                keys.append(fact.constant(item))
            except UnfitValue as error:
                self.file.add(
                    path,
                    "type",
                    str(error),
                    found=str(item)[:60],
                    expected=error.expected,
                    nearest=error.nearest,
                )
        if len(keys) != (len(constant) if many else 1):
            return None
        if many:
            return Test(fact.name, "one_of", tuple(dict.fromkeys(keys)), f"{fact.name} is one of {_listed(constant)}")
        words = {
            "equals": "is",
            "at_least": "at least",
            "below": "below",
            "before": "before",
            "on_or_after": "on or after",
        }
        verb = "has" if fact.is_list else words[operator]
        return Test(fact.name, operator, keys[0], f"{fact.name} {verb} {_text(constant)}")

    def matches(self, path: yamlfile.ValuePath, fact: Fact, constant: Any) -> Test | None:
        if fact.type not in ("text", "code", "ndc") or not isinstance(constant, str):
            self.file.add(
                path,
                "type",
                f"`matches` does not fit {fact.name}, which is {fact.type}",
                expected="a pattern, on text, codes or NDCs",
            )
            return None
        if len(constant) > 300 or _NESTED_REPEAT.search(constant):
            self.file.add(
                path,
                "pattern",
                "the pattern is too long or could take for ever",
                found=constant[:60],
                expected="at most 300 characters; no repeated repeats, no back references, no look-around",
            )
            return None
        try:
            re.compile(constant)
        except re.error as error:
            self.file.add(path, "pattern", f"no valid pattern: {error}", found=constant[:60])
            return None
        return Test(fact.name, "matches", constant, f"{fact.name} matches {constant}")

    # --- conclusions, sources, examples ------------------------------------------------------------------------

    def then(
        self, path: yamlfile.ValuePath, value: Any, row: Mapping[str, Any], place: yamlfile.ValuePath
    ) -> Iterator[Conclusion]:
        if not isinstance(value, list):
            if value is not None:
                self.file.add(path, "then", "`then` is a list of verbs", expected="- use_code: J3590")
            return
        for index, entry in enumerate(value):
            if not isinstance(entry, dict) or len(entry) != 1:
                self.file.add(
                    (*path, index),
                    "then",
                    "each entry of `then` is one verb with its settings",
                    found=str(entry)[:60],
                    expected="- prior_authorization: required",
                )
                continue
            (verb, settings), *_ = entry.items()
            filled = _filled(settings, row)
            if filled is _LEFT_OUT:
                continue
            try:
                yield from conclusions(verb, filled, self.vocabulary)
            except VerbError as error:
                target = (*path, index, verb, error.key) if error.key else (*path, index, verb)
                if row and list(_columns(settings)):
                    target = place
                self.file.add(
                    target,
                    "then",
                    str(error),
                    found=str(filled)[:80],
                    expected=error.expected,
                    nearest=error.nearest,
                )

    def cited(self, path: yamlfile.ValuePath, value: Any) -> tuple[Source, ...]:
        result = []
        for index, entry in enumerate(value if isinstance(value, list) else [value]):
            place = (*path, index) if isinstance(value, list) else path
            if value is None:
                continue
            if (
                not isinstance(entry, dict)
                or not {"document", "statement"} <= set(entry)
                or set(entry) - {"document", "statement", "payer"}
            ):
                self.file.add(
                    place,
                    "source",
                    "a source names a document and a statement",
                    found=str(entry)[:60],
                    expected="{document: id, statement: id}, and payer where it is another's",
                )
                continue
            source = self.sources(str(entry["document"]), str(entry["statement"]), entry.get("payer"))
            if source is None:
                self.file.add(
                    place,
                    "dangling-source",
                    "no such statement in policy_docs",
                    found=f"{entry['document']} / {entry['statement']}",
                    expected=f"a document and statement of policy_docs/{entry.get('payer') or self.ruleset}.yaml",
                )
                continue
            result.append(source)
        return tuple(result)

    def overrides(self, path: yamlfile.ValuePath, value: Any) -> tuple[str, ...]:
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.file.add(path, "overrides", "`overrides` is a list of rule ids of this ruleset")
            return ()
        return tuple(value)

    def examples(self, path: yamlfile.ValuePath, value: Any, row: Mapping[str, Any]) -> tuple[Example, ...]:
        result = []
        for index, entry in enumerate(value if isinstance(value, list) else []):
            place = (*path, index)
            if (
                not isinstance(entry, dict)
                or not isinstance(entry.get("given"), dict)
                or not isinstance(entry.get("fires"), bool)
            ):
                self.file.add(
                    place,
                    "example",
                    "an example has `given` (facts) and `fires` (true or false)",
                    expected="{given: {line.code: J3490}, fires: true}",
                )
                continue
            _unknown_keys(self.file, place, entry, ("given", "fires", "row", "note"))
            given = {}
            for name, shown in entry["given"].items():
                fact = self.vocabulary.facts.get(name)
                if fact is None:
                    self.file.add(
                        (*place, "given", name, ""),
                        "unknown-fact",
                        f"unknown fact {name!r}",
                        found=name,
                        nearest=self.vocabulary.nearest(name),
                    )
                    continue
                try:
                    given[name] = fact.shown([] if shown is None and fact.is_list else "" if shown is None else shown)
                except UnfitValue as error:
                    self.file.add(
                        (*place, "given", name),
                        "type",
                        str(error),
                        found=str(shown)[:60],
                        expected=error.expected,
                        nearest=error.nearest,
                    )
            row_name = re.sub(r"[^a-z0-9]+", "-", fold(str(entry["row"]))).strip("-") if "row" in entry else None
            result.append(Example(given, entry["fires"], row_name, entry.get("note")))
        return tuple(result)


_LEFT_OUT = object()


def _filled(value: Any, row: Mapping[str, Any]) -> Any:
    """`value` with `$column` replaced; a verb whose column says `any` is left out as a whole."""
    if isinstance(value, str):
        whole = _COLUMN.fullmatch(value)
        if whole and whole[1] in row:
            return _LEFT_OUT if row[whole[1]] == ANY else row[whole[1]]
        return _COLUMN.sub(lambda m: _text(row.get(m[1], m[0])), value) if row else value
    if isinstance(value, list):
        items = [_filled(item, row) for item in value]
        return [item for item in items if item is not _LEFT_OUT]
    if isinstance(value, dict):
        entries = {key: _filled(item, row) for key, item in value.items()}
        return {key: item for key, item in entries.items() if item is not _LEFT_OUT} or _LEFT_OUT
    return value


def _fact_name(key: str, row: Mapping[str, Any]) -> str:
    """A key of a condition; in a table it may be a column that names the fact."""
    column = _COLUMN.fullmatch(key)
    return str(row.get(column[1], key)) if column else key


def _columns(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from _COLUMN.findall(value)
    elif isinstance(value, list):
        for item in value:
            yield from _columns(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _columns(key)
            yield from _columns(item)


def _listed(values: list[Any]) -> str:
    shown = [_text(value) for value in values]
    return ", ".join(shown) if len(shown) <= 8 else ", ".join(shown[:7]) + f" … ({len(shown)} values)"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return _listed(value)
    return str(value)


def _is_date(value: Any) -> bool:
    try:
        return isinstance(value, str) and date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False
