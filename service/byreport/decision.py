"""From firings to the decision: precedence, what to change or attach, denials, price, questions, explanation.

Every entry names the rules that put it there; nothing in a decision comes from anywhere else.
"""

from __future__ import annotations

import calendar
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from functools import cached_property, lru_cache, partial
from typing import Any

from dateutil.relativedelta import relativedelta

from byreport.brief import brief
from byreport.case import Case, case_of
from byreport.chain import concluded_facts
from byreport.evaluate import holds
from byreport.facts import REFERENCE, Facts
from byreport.jsontext import decision_text, dumps
from byreport.lens import priced_by
from byreport.precedence import Claim, codes_of
from byreport.questions import MATTERS, WEIGHT, Question, questions
from byreport.rule import Conclusion, Rule, Test
from byreport.rulebook import PayerRules
from byreport.standing import Standing, State, standings
from byreport.template import Hole, Holes, Piece, Template, cut, joined, origin, shown
from byreport.vocabulary import Vocabulary, vocabulary

OUTCOMES = ("not_billable", "review", "fix", "needs_information", "ready")
NOTICE = "A decision reports published policy. It is no promise of payment and no medical or legal advice."

Part = dict[str, Any]


@dataclass(frozen=True)
class Decision:
    """What was decided on one line: the template of its situation with the line's own facts.

    The id and the time come from the log.
    """

    payer: str
    rulebook: str
    template: Template
    facts: Facts

    @cached_property
    def text(self) -> str:
        """The body as JSON text."""
        return self.template.whole.render(self.facts)

    @property
    def body(self) -> dict[str, Any]:
        """The body as data: every part of the contract but the id, the time, the rulebook and the payer."""
        result: dict[str, Any] = json.loads(self.text)
        return result

    def json(self, decision_id: str, decided_at: str) -> str:
        """The decision as the contract has it, as the log keeps it."""
        return decision_text(decision_id, decided_at, self.rulebook, self.payer, self.text)

    def as_dict(self, decision_id: str, decided_at: str) -> dict[str, Any]:
        """The decision as the contract has it, as data."""
        result: dict[str, Any] = json.loads(self.json(decision_id, decided_at))
        return result


def decide(
    payer: PayerRules,
    facts: Facts,
    fired: Iterable[Rule],
    rulebook_hash: str,
    vocab: Vocabulary | None = None,
) -> Decision:
    """The decision on `facts` under the payer's rules, given the rules that the engine says fired."""
    return Decision(payer.payer, rulebook_hash, argue(payer, facts, fired, vocab or vocabulary()), facts)


def argue(payer: PayerRules, facts: Facts, fired: Iterable[Rule], vocab: Vocabulary) -> Template:
    """The template of the decision on every line in the situation of `facts`."""
    return argued(payer, facts, fired, standings(payer, vocab).of(facts.keys), vocab)


def argued(payer: PayerRules, facts: Facts, fired: Iterable[Rule], standing: Standing, vocab: Vocabulary) -> Template:
    """As `argue`, where it is known already what each rule comes to.

    Raises EngineDisagrees when the engine and the evaluator do not say the same rules fire.
    """
    rules = list(fired)
    if {rule.id for rule in rules} != {rule.id for rule in standing.fired}:
        raise EngineDisagrees(payer.payer, rules, standing.fired)
    builder = _Builder(payer, facts, case_of(payer, rules, facts.keys, standing.cases), standing, vocab)
    return builder.template(builder.body())


class EngineDisagrees(RuntimeError):
    """The engine and the evaluator came to different rules: a fault of the program, and no decision."""

    def __init__(self, payer: str, fired: Iterable[Rule], standing: Iterable[Rule]) -> None:
        one, other = {rule.id for rule in fired}, {rule.id for rule in standing}
        super().__init__(f"{payer}: the engine alone fires {sorted(one - other)}, the evaluator {sorted(other - one)}")


class _Builder:
    def __init__(self, payer: PayerRules, facts: Facts, case: Case, standing: Standing, vocab: Vocabulary) -> None:
        self.payer = payer
        self.facts = facts
        self.case = case
        self.standing = standing
        self.vocab = vocab
        self.form = facts.shown.get("claim_form")
        self.resolution = case.resolution
        # Rules that fire, but that an answer could still silence.
        self.provisional = {state.rule.id for state in standing.states if state.fires and state.turns}
        self.direct: dict[str, set[str]] = defaultdict(set)
        self.holes = Holes()
        self.must_fix = False
        self.open = False

    def body(self) -> dict[str, Any]:
        code = self.code()
        authorization = self.prior_authorization()
        documents = self.documentation()
        edits = self.edits(code)
        denials = self.denials()
        pricing = self.pricing()
        deadlines = self.deadlines()
        if self._code_rests_on_product():
            self.direct["drug.compounded"].add("code")
        asked = questions(self.standing, self.facts.keys, self.direct, self.vocab)
        return {
            "outcome": self.outcome(authorization, asked),
            "code": code,
            "prior_authorization": authorization,
            "documentation": documents,
            "edits": edits,
            "denials": denials,
            "pricing": pricing,
            "deadlines": deadlines,
            "exclusions": self.exclusions(),
            "questions": [*self.which_drug(asked), *(_asked(question, self.vocab) for question in asked)],
            "cautions": self.cautions(authorization, pricing, code),
        }

    def template(self, body: dict[str, Any]) -> Template:
        states = [self.standing.of[rule.id] for rule in self.case.fired]
        case, holes = self.case, self.holes
        return Template(
            write=partial(_whole, body, holes, states, case, self.standing.remembered),
            write_brief=lambda: cut(dumps(brief(body, case.ids)), holes),
            outcome=body["outcome"],
            authorization=body["prior_authorization"]["status"],
            recommended=body["code"]["recommended"],
            fired=case.ids,
            denials=tuple(" ".join(filter(None, (d["group"], d["carc"], d["rarc"]))) for d in body["denials"]),
        )

    # --- the parts -----------------------------------------------------------------------------------------------

    def code(self) -> Part:
        billed = self.facts.shown.get("line.code")
        claims = self.resolution.live.get("code", [])
        codes = codes_of(claims, self.facts.keys)
        part: Part = {"billed": billed, "recommended": None, "rules": _ids(claims)}
        if self._conflict("code"):
            return part
        if billed in codes:
            part["recommended"] = billed
        elif len(codes) == 1:
            part["recommended"] = codes[0]
        if len(codes) > 1:
            part["candidates"] = codes
        notes = _notes(claims)
        if notes:
            part["note"] = notes
        return part

    def prior_authorization(self) -> Part:
        claims = self.resolution.live.get("prior_authorization", [])
        valued = [claim for claim in claims if claim.value is not None]
        status = "unknown" if not valued or self._conflict("prior_authorization") else valued[0].value
        how = _texts(claim.conclusion.settings.get("how") for claim in claims)
        if status == "not_required" and not self._certain(valued):
            # The one answer that must not be given while a question could still turn it.
            status = "unknown"
            how = _texts(["Published policy asks for none unless an answer to the questions below says otherwise", how])
        if not how and status in ("required", "conditional"):
            how = f"Ask {self.payer.name} before the drug is given; no published policy on file says where."
        elif not how:
            how = f"No published policy on file says whether authorization is needed; ask {self.payer.name} first."
        number = self.facts.shown.get("prior_authorization.number")
        if status in ("required", "conditional"):
            if number is None:
                self.direct["prior_authorization.number"].add("prior_authorization")
            elif number != "":
                status = "on_file"
        return {"status": status, "how": how, "rules": _ids(claims)}

    def _certain(self, claims: list[Claim]) -> bool:
        """Whether no rule that still waits for an answer could ask for authorization instead."""
        nearest = self.payer.depth[claims[0].rule.ruleset]
        if any(claim.rule.id in self.provisional for claim in claims if claim.rule.ruleset == claims[0].rule.ruleset):
            return False
        return not any(
            conclusion.verb == "prior_authorization" and conclusion.settings["status"] in ("required", "conditional")
            for state in self.standing.states
            if state.truth is None and state.turns and self.payer.depth[state.rule.ruleset] >= nearest
            for conclusion in state.rule.then
        )

    def documentation(self) -> list[Part]:
        held = self.facts.shown.get("documentation")
        gathered: dict[str, list[tuple[Rule, Conclusion]]] = defaultdict(list)
        for rule, conclusion in self.case.said("require_document"):
            gathered[conclusion.settings["item"]].append((rule, conclusion))
        if gathered and held is None:
            self.direct["documentation"].add("documentation")
        parts = []
        for item in sorted(gathered):
            entries = gathered[item]
            present = held is not None and item in held
            if held is not None and not present:
                self._settle(rule for rule, _ in entries)
            part: Part = {
                "item": item,
                "status": "present" if present else "missing",
                "where": self._document_place(item, entries),
            }
            part["label"] = self.vocab.lists["documentation"][item]
            notes = _texts(conclusion.settings.get("note") for _, conclusion in entries)
            if notes:
                part["note"] = notes
            parts.append({**part, "rules": sorted({rule.id for rule, _ in entries})})
        return parts

    def _document_place(self, item: str, entries: list[tuple[Rule, Conclusion]]) -> str:
        stated = _texts(conclusion.settings.get("where") for _, conclusion in entries)
        return stated or self.vocab.where(self.vocab.document_facts.get(item, "documentation"), self.form)

    def edits(self, code: Part) -> list[Part]:
        edits = [*self._code_edit(code), *self._field_edits(), *self._modifier_edits(), *self._unit_edits()]
        return sorted(edits, key=lambda edit: (edit["field"], edit["expected"]))

    def _code_edit(self, code: Part) -> Iterable[Part]:
        wanted = code["recommended"] or " or ".join(code.get("candidates", ()))
        if wanted and code["billed"] not in (wanted, None):
            claims = self.resolution.live["code"]
            self._settle(claim.rule for claim in claims)
            yield self._edit("line.code", code["billed"], wanted, code["rules"], code.get("note"))

    def _field_edits(self) -> Iterable[Part]:
        gathered: dict[tuple[str, tuple[str, ...]], list[tuple[Rule, Conclusion]]] = defaultdict(list)
        for rule, conclusion in self.case.said("require_field"):
            gathered[conclusion.settings["field"], conclusion.settings.get("one_of", ())].append((rule, conclusion))
        for (field, allowed), entries in sorted(gathered.items()):
            key = self.facts.keys.get(field)
            if key is None:
                self.direct[field].add("edits")
            elif self._satisfied(field, key, allowed):
                continue
            else:
                self._settle(rule for rule, _ in entries)
            found = None if key is None else self._shown(field)
            expected = " or ".join(str(value) for value in allowed) or "filled in"
            notes = _texts(conclusion.settings.get("note") for _, conclusion in entries)
            yield self._edit(field, found, expected, sorted({rule.id for rule, _ in entries}), notes)

    def _satisfied(self, field: str, key: Any, allowed: tuple[str, ...]) -> bool:
        if not allowed:
            return key not in ("", frozenset())
        fact = self.vocab.facts[field]
        return holds(Test(field, "one_of", tuple(fact.constant(value) for value in allowed)), key) is True

    def _modifier_edits(self) -> Iterable[Part]:
        gathered: dict[str, list[tuple[Rule, Conclusion]]] = defaultdict(list)
        for rule, conclusion in self.case.said("require_modifier"):
            gathered[conclusion.settings["modifier"]].append((rule, conclusion))
        held = self.facts.shown.get("line.modifiers")
        for modifier, entries in sorted(gathered.items()):
            if held is None:
                self.direct["line.modifiers"].add("edits")
            elif modifier in held:
                continue
            else:
                self._settle(rule for rule, _ in entries)
            found = None if held is None else self._shown("line.modifiers")
            notes = _texts(conclusion.settings.get("note") for _, conclusion in entries)
            yield self._edit("line.modifiers", found, modifier, sorted({rule.id for rule, _ in entries}), notes)

    def _unit_edits(self) -> Iterable[Part]:
        claims = [claim for claim in self.resolution.live.get("units", []) if not self._conflict("units")]
        if not claims:
            return
        wanted, key = claims[0].value, self.facts.keys.get("line.units")
        if key is None:
            self.direct["line.units"].add("edits")
        elif key == self.vocab.facts["line.units"].constant(wanted):
            return
        else:
            self._settle(claim.rule for claim in claims)
        yield self._edit(
            "line.units",
            None if key is None else self._shown("line.units"),
            wanted,
            _ids(claims),
            _notes(claims),
        )

    def _edit(self, field: str, found: Any, expected: str, rules: list[str], note: str | None) -> Part:
        edit: Part = {
            "field": field,
            "found": found,
            "expected": expected,
            "where": self.vocab.where(field, self.form),
        }
        if note:
            edit["note"] = note
        return {**edit, "rules": rules}

    def denials(self) -> list[Part]:
        gathered: dict[tuple[str, ...], list[Rule]] = defaultdict(list)
        for rule, conclusion in self.case.said("deny"):
            settings = conclusion.settings
            gathered[settings["group"], settings["carc"], settings.get("rarc") or "", settings["unless"]].append(rule)
        parts = []
        for (group, carc, rarc, unless), rules in sorted(gathered.items()):
            self._settle(rules)
            parts.append(
                {
                    "group": group,
                    "carc": carc,
                    "rarc": rarc or None,
                    "unless": unless,
                    "rules": sorted({r.id for r in rules}),
                }
            )
        return parts

    def pricing(self) -> Part:
        claims = [claim for claim in self.resolution.live.get("pricing", []) if claim.value is not None]
        part: Part = {"basis": None, "percent": None, "estimate": None, "rules": _ids(claims)}
        if not claims or self._conflict("pricing"):
            return part
        part["basis"], part["percent"] = claims[0].value
        part["label"] = self.vocab.lists["pricing_basis"][part["basis"]]
        notes = _notes(claims)
        if notes:
            part["note"] = notes
        part["estimate"] = self._estimate(part["basis"], part["percent"])
        return part

    def _estimate(self, basis: str, percent: str | None) -> Any:
        """The percentage of the price that the claim gives; none where either is not published or not known."""
        name = priced_by(basis)
        if percent is None or name not in self.vocab.facts:
            return None
        amount = self.facts.shown.get(name)
        if amount is None:
            self.direct[name].add("pricing")
        if not amount:
            return None
        return self.holes.mark(_estimate(name, percent))

    def deadlines(self) -> list[Part]:
        parts = []
        for name, claims in sorted(self.resolution.live.items()):
            if not name.startswith("deadline.") or self._conflict(name):
                continue
            unit, count, start = claims[0].value
            what = name.removeprefix("deadline.")
            part: Part = {
                "what": what,
                "date": self._last_day(unit, count, start),
                "text": _deadline_text(what, unit, count, start),
            }
            notes = _notes(claims)
            if notes:
                part["note"] = notes
            parts.append({**part, "rules": _ids(claims)})
        return parts

    def _last_day(self, unit: str, count: int, start: str) -> Any:
        if not self.facts.shown.get("date_of_service") or start not in ("date_of_service", "month_end"):
            return None
        return self.holes.mark(_last_day(unit, count, start))

    def exclusions(self) -> list[Part]:
        gathered: dict[str, set[str]] = defaultdict(set)
        for rule, conclusion in self.case.said("not_billable"):
            gathered[conclusion.settings["reason"]].add(rule.id)
        return [{"reason": reason, "rules": sorted(rules)} for reason, rules in sorted(gathered.items())]

    # --- outcome, questions, cautions -----------------------------------------------------------------------------

    def outcome(self, authorization: Part, asked: list[Question]) -> str:
        if any(rule.id not in self.provisional for rule, _ in self.case.said("not_billable")):
            return "not_billable"
        if self.resolution.conflicts:
            return "review"
        if self.must_fix:
            return "fix"
        if self.open or authorization["status"] == "unknown" or any(MATTERS & set(q.would_decide) for q in asked):
            return "needs_information"
        if self.facts.candidates:
            return "needs_information"
        return "ready"

    def _code_rests_on_product(self) -> bool:
        """Whether reference data gave the product's code, which would not describe a compound of it."""
        given = self.facts.origin.get("drug.specific_code") != REFERENCE
        return not given and bool(self.facts.shown["drug.specific_code"]) and "drug.compounded" not in self.facts.keys

    def which_drug(self, asked: list[Question]) -> list[_Known]:
        """The question which drug is meant, where the name given is only near names that reference data has."""
        if not self.facts.candidates:
            return []
        # The right name may bring all that reference data knows of the drug, its code first of all.
        parts = {"code"}.union(*(q.would_decide for q in asked if self.vocab.facts[q.fact].filled))
        part = {
            "fact": "drug.name",
            "ask": f"Reference data has no drug named {self.facts.shown['drug.name']!r}. Is it one of these?",
            "would_decide": sorted(parts, key=lambda part: (-WEIGHT[part], part)),
            "candidates": list(self.facts.candidates),
        }
        return [_known(part)]

    def cautions(self, authorization: Part, pricing: Part, code: Part) -> list[_Known]:
        cautions = [
            *self._conflict_cautions(),
            *self._gap_cautions(authorization, pricing, code),
            *self._source_cautions(),
            *[_caution("policy", said.settings["text"], [rule.id]) for rule, said in self.case.said("caution")],
        ]
        return sorted(cautions, key=_caution_order)

    def _conflict_cautions(self) -> Iterable[_Known]:
        for part, claims in self.resolution.conflicts:
            said = "; ".join(
                f"{claim.rule.id} says {_said(claim)}" for claim in sorted(claims, key=lambda c: c.rule.id)
            )
            yield _caution("conflict", f"Rules of {claims[0].rule.ruleset} disagree on {part}: {said}.", _ids(claims))
        for disagreement in self.facts.disagreements:
            yield _caution("conflict", disagreement.text, [])

    def _gap_cautions(self, authorization: Part, pricing: Part, code: Part) -> Iterable[_Known]:
        name = self.payer.name
        if not self.payer.has_own_rules:
            yield _caution("no_policy_on_file", f"No published policy of {name} itself is on file.", [])
        if authorization["status"] == "unknown":
            yield _caution(
                "no_policy_on_file",
                f"No published policy on file says whether {name} needs authorization for this line.",
                [],
            )
        if pricing["basis"] is None and not self._conflict("pricing"):
            yield _caution("no_policy_on_file", f"No published policy on file says how {name} prices this line.", [])
        if code["recommended"] is None and not code.get("candidates") and not self._conflict("code"):
            yield _caution("no_policy_on_file", "Which code fits this line can't be told from the facts given.", [])

    def _source_cautions(self) -> Iterable[_Known]:
        day = self.facts.shown.get("date_of_service")
        gathered: dict[tuple[str, str], frozenset[str]] = {}
        for first_day, kind, text, rules in self.case.doubts:
            if not first_day or (day and day >= first_day):
                gathered[kind, text] = gathered.get((kind, text), rules) | rules
        for (kind, text), ids in gathered.items():
            yield _caution(kind, text, sorted(ids))

    # --- small things ------------------------------------------------------------------------------------------------

    def _settle(self, rules: Iterable[Rule]) -> None:
        if any(rule.id not in self.provisional for rule in rules):
            self.must_fix = True
        else:
            self.open = True

    def _conflict(self, part: str) -> bool:
        return any(name == part for name, _ in self.resolution.conflicts)

    def _shown(self, name: str) -> Any:
        """The value of a field as text, a list with commas."""
        return self.holes.mark(_text(name))


# --- explanation -----------------------------------------------------------------------------------------------------


def _whole(
    body: dict[str, Any], holes: Holes, states: Sequence[State], case: Case, remembered: dict[Any, Piece]
) -> Piece:
    head = dumps({name: part for name, part in body.items() if name not in _KNOWN_PARTS})
    known = [f',"{name}":[{",".join([each.text for each in body[name]])}]' for name in _KNOWN_PARTS]
    return joined([cut(f"{head[:-1]}{''.join(known)}", holes), explanations(states, remembered), _closing(case)])


def explanations(states: Sequence[State], remembered: dict[Any, Piece]) -> Piece:
    """Why each rule fired and what it says, as a JSON member; it follows from the rules' states."""
    key = tuple(states)
    found = remembered.get(key)
    if found is None:
        between = [each for state in states for each in (_COMMA, explained(state))][1:]
        found = remembered[key] = joined([_OPENING, *between, _CLOSING])
    return found


def _closing(case: Case) -> Piece:
    """What a decision ends with, as JSON members: which rules were overridden, and the notice."""
    overridden = [{"rule": rule, "by": by, "part": part} for rule, by, part in sorted(case.resolution.overridden)]
    return Piece((f',"overridden":{dumps(overridden)},"notice":{dumps(NOTICE)}}}',))


def explained(state: State) -> Piece:
    """Why a rule fired and what it says, as JSON; it follows from the rule's state."""
    found: Piece | None = state.remembered.get("explained")
    if found is None:
        holes = Holes()
        found = state.remembered["explained"] = cut(dumps(_explanation(state, holes)), holes)
    return found


def _explanation(state: State, holes: Holes) -> Part:
    rule = state.rule
    part: Part = {"rule": rule.id, "title": rule.title}
    if rule.row is not None:
        part["table"], part["row"] = rule.table, rule.row
    part["because"] = [_reason(test, wanted, state, holes) for test, wanted in state.reasons]
    part["concluded"] = [str(conclusion) for conclusion in rule.then]
    part["source"] = rule.sources[0].as_dict()
    if len(rule.sources) > 1:
        part["also"] = [source.as_dict() for source in rule.sources[1:]]
    return part


def _reason(test: Test, wanted: bool, state: State, holes: Holes) -> Part:
    text = test.shown if wanted else f"not: {test.shown}"
    if test.fact in concluded_facts():
        values = test.value if test.operator == "one_of" else (test.value,)
        by = sorted({rule for value in values for rule in state.concluded.certain.get((test.fact, value), ())})
        return {"fact": test.fact, "is": _json_value(test.value), "test": text, "from": "concluded", "by": by}
    return {
        "fact": test.fact,
        "is": holes.mark(shown(test.fact)),
        "test": text,
        "from": holes.mark(origin(test.fact)),
    }


# --- the line's own values -------------------------------------------------------------------------------------------


@lru_cache(maxsize=1_024)
def _text(name: str) -> Hole:
    """The value of a field as text, a list with commas."""
    return Hole(lambda facts: _with_commas(facts.shown.get(name)))


@lru_cache(maxsize=1_024)
def _estimate(name: str, percent: str) -> Hole:
    return Hole(lambda facts: _share(facts.shown[name], percent))


@lru_cache(maxsize=1_024)
def _last_day(unit: str, count: int, start: str) -> Hole:
    return Hole(lambda facts: last_day(facts.shown["date_of_service"], unit, count, start))


def _with_commas(value: Any) -> Any:
    return ", ".join(value) if isinstance(value, tuple) else value


def _share(amount: str, percent: str) -> str:
    return str((Decimal(amount) * Decimal(percent) / 100).quantize(Decimal("0.01"), ROUND_HALF_UP))


@lru_cache(maxsize=16_384)
def last_day(day: str, unit: str, count: int, start: str) -> str:
    """The last day of a deadline: `count` days, months or years from the date of service or the end of its month."""
    first = date.fromisoformat(day)
    if start == "month_end":
        first = _month_end(first)
    last = first + _SPANS[unit](count)
    return (_month_end(last) if start == "month_end" and unit != "days" else last).isoformat()


def _month_end(day: date) -> date:
    return day.replace(day=calendar.monthrange(day.year, day.month)[1])


_KNOWN_PARTS = ("questions", "cautions")
_OPENING, _COMMA, _CLOSING = Piece((',"fired":[',)), Piece((",",)), Piece(("]",))
_SPANS = {
    "days": lambda count: relativedelta(days=count),
    "months": lambda count: relativedelta(months=count),
    "years": lambda count: relativedelta(years=count),
}
_CAUTION_ORDER = ["conflict", "no_policy_on_file", "policy", "old_source", "secondary_source"]


class _Known(dict[str, Any]):
    """A part that many decisions have in common, with its JSON text. Nobody changes it."""

    text: str


def _known(part: Part) -> _Known:
    found = _Known(part)
    found.text = dumps(part)
    return found


def _caution(kind: str, text: str, rules: Iterable[str]) -> _Known:
    return _known_caution(kind, text, tuple(rules))


@lru_cache(maxsize=16_384)
def _known_caution(kind: str, text: str, rules: tuple[str, ...]) -> _Known:
    return _known({"kind": kind, "text": text, "rules": list(rules)})


def _caution_order(caution: Part) -> tuple[int, str]:
    return _CAUTION_ORDER.index(caution["kind"]), caution["text"]


def _asked(question: Question, vocab: Vocabulary) -> _Known:
    return _known_question(question.fact, vocab.facts[question.fact].ask, question.would_decide)


@lru_cache(maxsize=16_384)
def _known_question(fact: str, ask: str, would_decide: tuple[str, ...]) -> _Known:
    return _known({"fact": fact, "ask": ask, "would_decide": list(would_decide)})


def _ids(claims: Iterable[Claim]) -> list[str]:
    return sorted({claim.rule.id for claim in claims})


def _texts(texts: Iterable[str | None]) -> str:
    """Sentences of several rules as one text."""
    return " ".join(text if text[-1] in ".!?" else f"{text}." for text in dict.fromkeys(filter(None, texts)))


def _notes(claims: Iterable[Claim]) -> str:
    return _texts(claim.conclusion.settings.get("note") for claim in claims)


def _said(claim: Claim) -> str:
    return json.dumps(claim.value) if not isinstance(claim.value, str) else claim.value


def _json_value(value: Any) -> Any:
    if isinstance(value, (tuple, frozenset)):
        return sorted(value) if isinstance(value, frozenset) else list(value)
    return value


def _deadline_text(what: str, unit: str, count: int, start: str) -> str:
    after = {
        "date_of_service": "the date of service",
        "month_end": "the end of the month of service",
        "denial": "the denial or payment notice",
        "other_payer_notice": "the notice of the payer billed before",
        "authorization_decision": "the decision on the authorization request",
    }[start]
    word = unit if count != 1 else unit.removesuffix("s")
    return f"{what.replace('_', ' ')}: {count} {word} after {after}"
