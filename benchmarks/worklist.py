"""Work lists as billing offices have them, made from a seed: `python benchmarks/worklist.py 100000 list.jsonl`.

Real work lists can't be published, so every frequency below is an assumption, written down to be disputed. What is not
assumed: payers are those of the rulebook, drugs and the dates of their codes those of the reference tables.

A site has a stock of *regimens*: one payer's patient group getting one drug at one dose for one diagnosis, with the
papers that the site's staff attach for that payer. Lines are draws from that stock with Zipf weights, so that settings
repeat as they do in an office that gives the same infusions every week, while date, charge, units, waste and slips vary
from line to line.

| site          | regimens                   | payers with patients in | settings                         |
|---------------|----------------------------|-------------------------|----------------------------------|
| practice      | 400                        | TX, OK, LA              | office                           |
| hospital      | 1,500                      | PA, NJ, DE              | hospital outpatient, 4 % inpatient |
| clearinghouse | lines / 12, at least 5,000 | every state             | all                              |
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
import time
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

from byreport.claim import flat
from byreport.reference import DrugCode, Reference, read_table
from byreport.rulebook import Rulebook
from byreport.vocabulary import vocabulary

FIRST_DAY, DAYS = date(2021, 10, 1), 5 * 365
"""Dates of service: five years, weekdays only, each year 8 % busier than the one before."""
GROWTH = 1.08

ZIPF = 0.9
"""How much more the frequent regimens weigh; see Site."""

PROGRAM_SHARES = {"medicare": 0.36, "advantage": 0.12, "medicaid": 0.17, "private": 0.35}
"""Who pays for drugs given by providers: about half Medicare and Medicare Advantage."""

PRIVATE_WEIGHTS = {
    "uhc": 15,
    "anthem": 12,
    "aetna": 10,
    "cigna": 8,
    "hcsc": 8,
    "centene": 4,
    "humana": 5,
    "kaiser": 2,
    "tricare": 3,
    "va-ccn": 2,
    "highmark": 3,
    "bcbs-mi": 2,
    "bcbs-fl": 3,
    "molina": 1,
    "upmc": 1,
}
"""By size of enrollment, roughly; others weigh 1."""

STATE_WEIGHTS = {
    "CA": 39,
    "TX": 31,
    "FL": 23,
    "NY": 20,
    "PA": 13,
    "IL": 12,
    "OH": 12,
    "GA": 11,
    "NC": 11,
    "MI": 10,
    "NJ": 9,
    "VA": 9,
    "WA": 8,
    "AZ": 7,
    "TN": 7,
    "MA": 7,
    "IN": 7,
    "MD": 6,
    "MO": 6,
    "WI": 6,
    "CO": 6,
    "MN": 6,
    "SC": 5,
    "AL": 5,
    "LA": 5,
    "KY": 5,
    "OR": 4,
    "OK": 4,
    "CT": 4,
    "UT": 3,
    "IA": 3,
    "NV": 3,
    "AR": 3,
    "MS": 3,
    "KS": 3,
    "NM": 2,
    "NE": 2,
    "ID": 2,
    "WV": 2,
    "HI": 1,
    "NH": 1,
    "ME": 1,
    "MT": 1,
    "RI": 1,
    "DE": 1,
    "SD": 1,
    "ND": 1,
    "AK": 1,
    "DC": 1,
    "VT": 1,
    "WY": 1,
}
"""People, in millions."""

STATE_OF_PLAN = {
    "bcbs-al": "AL",
    "bcbs-fl": "FL",
    "bcbs-ma": "MA",
    "bcbs-mi": "MI",
    "bcbs-mn": "MN",
    "bcbs-nc": "NC",
    "bcbs-ne": "NE",
    "bcbs-ri": "RI",
    "bcbs-tn": "TN",
    "blue-shield-ca": "CA",
    "carefirst": "MD",
    "careoregon": "OR",
    "geisinger": "PA",
    "harvard-pilgrim-tufts": "MA",
    "healthpartners": "MN",
    "highmark": "PA",
    "hmsa": "HI",
    "horizon-nj": "NJ",
    "independence-ibx": "PA",
    "medica": "MN",
    "moda": "OR",
    "premera": "WA",
    "priority-health": "MI",
    "regence": "OR",
    "upmc": "PA",
    "kaiser": "CA",
    "healthnet": "CA",
    "hcsc": "TX",
}

NOC_WITHOUT_NEED = 0.06
"""Lines that carry a NOC code although the drug has one of its own on that day: the mistake the service is for."""
UNCODED_SHARE = 0.45
"""Regimens of drugs without a code of their own; the rest are drugs that got a code within the five years or before."""

MISSING = {
    "drug.strength": 0.25,
    "drug.dose": 0.2,
    "drug.route": 0.12,
    "drug.manufacturer": 0.85,
    "line.ndc": 0.12,
    "line.description": 0.2,
    "drug.name": 0.1,
    "diagnoses": 0.03,
    "documentation": 0.3,
    "line.modifiers": 0.35,
    "drug.labeled_indication": 0.45,
    "drug.compounded": 0.4,
    "drug.self_administered": 0.7,
    "drug.single_dose_container": 0.55,
    "provider.participating": 0.5,
    "patient.age_years": 0.3,
    "coverage.product": 0.7,
    "claim_form": 0.05,
    "line.charge": 0.002,
    "line.units": 0.004,
}
"""Chance that a regimen's lines lack a field: a site's software sends it or does not. SLIPS take more."""

SLIPS = {"typo": 0.01, "drop": 0.02, "units": 0.01, "bad": 0.002}
"""Chances per line: a misspelled drug name, one more field left out, wrong units, a line that can't be read at all."""

OLD_DRUGS = [
    # name, strength, route, price of a dose, usual diagnoses, flags
    ("bevacizumab, repackaged", "1.25 mg/0.05 mL", "intravitreal", 70, ["H35.3211", "E11.311"], {"compounded": True}),
    ("hydroxyprogesterone caproate, compounded", "250 mg/mL", "intramuscular", 35, ["O09.212"], {"compounded": True}),
    ("testosterone pellets", "75 mg", "implant", 120, ["E29.1"], {}),
    ("methylcobalamin, compounded", "1 mg/mL", "intramuscular", 20, ["E53.8"], {"compounded": True}),
    (
        "morphine and bupivacaine, compounded",
        "20 mL",
        "intrathecal",
        260,
        ["G89.4"],
        {"compounded": True, "infused_by_pump": True},
    ),
    ("moxifloxacin, intracameral", "0.5 mg/0.1 mL", "other", 25, ["H25.11"], {"compounded": True}),
    ("phenylephrine and ketorolac", "4 mL", "other", 480, ["H25.12"], {}),
    ("sodium tetradecyl sulfate", "3%", "intravenous", 95, ["I83.811"], {}),
    ("glycopyrrolate", "0.2 mg/mL", "intravenous", 12, ["Z01.818"], {}),
    ("vasopressin", "20 units/mL", "intravenous", 150, ["R57.9"], {}),
    ("dexmedetomidine", "200 mcg/2 mL", "intravenous", 40, ["Z01.818"], {}),
    ("tranexamic acid", "100 mg/mL", "intravenous", 18, ["D68.9"], {}),
    ("esmolol", "10 mg/mL", "intravenous", 22, ["I47.1"], {}),
    ("sugammadex", "100 mg/mL", "intravenous", 110, ["Z01.818"], {}),
    ("lidocaine and epinephrine", "1%", "subcutaneous", 8, ["L72.0"], {}),
    ("vitamin B complex", "1 mL", "intramuscular", 9, ["E53.9"], {"self_administered": False}),
    ("ketamine", "50 mg/mL", "intravenous", 30, ["F33.2"], {"labeled_indication": False}),
    ("satralizumab", "120 mg/mL", "subcutaneous", 9200, ["G36.0"], {"self_administered": True}),
    ("sotatercept-csrk", "60 mg", "subcutaneous", 14500, ["I27.21"], {"self_administered": True}),
    ("bevacizumab-tnjn", "25 mg/mL", "intravenous", 2100, ["C18.9"], {"antineoplastic": True}),
]

DIAGNOSES = {
    "antineoplastic": ["C50.911", "C34.90", "C90.00", "C18.9", "C83.30"],
    "biologic": ["M06.9", "K50.90", "L40.0", "G35", "J45.50"],
    "other": ["N18.6", "D50.9", "E11.9", "R11.2", "G43.709", "M81.0", "H35.3211"],
}
ITEMS = (
    "drug_name",
    "dose",
    "ndc",
    "strength",
    "route",
    "invoice",
    "medical_necessity",
    "medical_records",
    "order",
    "fda_approval",
    "package_insert",
    "administration_date",
)
NDC_UNITS = ("ML", "UN", "ME", "GR", "F2")


@dataclass(frozen=True)
class Site:
    """Who writes the list: how many regimens it has for so many lines, of which states' payers, in which settings.

    The weight of the n-th most frequent regimen is (n + `even`) to the power of -ZIPF: the bigger the site, the less a
    single regimen counts in it.
    """

    regimens: Callable[[int], int]
    states: Sequence[str]
    settings: dict[str, float]
    institutional: bool
    even: int


SITES = {
    "practice": Site(lambda lines: 400, ("TX", "OK", "LA"), {"office": 1.0}, False, 2),
    "hospital": Site(
        lambda lines: 1_500, ("PA", "NJ", "DE"), {"hospital_outpatient": 0.96, "inpatient": 0.04}, True, 5
    ),
    "clearinghouse": Site(
        lambda lines: max(5_000, lines // 12),
        tuple(STATE_WEIGHTS),
        {
            "office": 0.6,
            "hospital_outpatient": 0.29,
            "home_infusion": 0.05,
            "asc": 0.03,
            "dme": 0.015,
            "esrd_facility": 0.015,
        },
        False,
        50,
    ),
}


@dataclass(frozen=True)
class Drug:
    """A drug as sites know it. `code` is its own code where it has one, with its first day."""

    name: str
    other_name: str
    strength: str
    route: str
    price: int
    diagnoses: Sequence[str]
    flags: dict[str, bool]
    noc: str
    code: DrugCode | None
    ndc: str | None


def drugs(reference: Reference, chance: random.Random) -> tuple[list[Drug], list[Drug]]:
    """Drugs without a code of their own, and drugs that have one; the earlier in the list, the more often given."""
    products: dict[str, str] = {}
    for row in read_table("ndc.csv"):
        products.setdefault(row["code"], row["product"])
    uncoded = [
        Drug(
            name,
            name.title(),
            strength,
            route,
            price,
            found,
            flags,
            "J9999"
            if flags.get("antineoplastic")
            else "J7999"
            if flags.get("compounded")
            else "J3590"
            if "mab" in name
            else "J3490",
            None,
            None if flags.get("compounded") else f"{chance.randrange(10**4, 10**5)}{chance.randrange(10**5, 10**6)}",
        )
        for name, strength, route, price, found, flags in OLD_DRUGS
    ]
    coded = [
        code for code in reference.codes.values() if code.code[0] in "JQ" and code.brands and not code.private_only
    ]
    # Drugs whose code came within the dates of the list, or shortly before, are where NOC codes are used and misused.
    recent = [code for code in coded if code.effective_from >= date(2020, 1, 1)]
    older = [code for code in coded if code.effective_from < date(2020, 1, 1)]
    chosen = chance.sample(recent, min(120, len(recent))) + chance.sample(older, min(60, len(older)))
    chance.shuffle(chosen)
    return uncoded, [_coded(code, products.get(code.code), chance) for code in chosen]


def _route(code: DrugCode) -> str | None:
    routes = [route.replace("-", "_") for route in code.routes]
    return next((route for route in routes if route in vocabulary().lists["route"]), None)


def _coded(code: DrugCode, product: str | None, chance: random.Random) -> Drug:
    kind = "antineoplastic" if code.antineoplastic else "biologic" if code.biologic else "other"
    return Drug(
        code.generic,
        code.brands[0],
        chance.choice(["10 mg/mL", "25 mg/mL", "50 mg/mL", "100 mg", "500 mg", "1 gram"]),
        _route(code) or chance.choice(["intravenous", "intravenous", "subcutaneous", "intramuscular"]),
        round(10 ** chance.uniform(1.2, 4.3)),
        chance.sample(DIAGNOSES[kind], 2),
        {"biologic": True} if code.biologic else {},
        "J9999" if code.antineoplastic else "J3590" if code.biologic else "J3490",
        code,
        product + "01" if product else f"{chance.randrange(10**4, 10**5)}{chance.randrange(10**5, 10**6)}",
    )


# --- payers ---------------------------------------------------------------------------------------------------------


def payers(rulebook: Rulebook, states: Sequence[str]) -> list[tuple[str, str, float]]:
    """(payer, state, weight) of every payer that has patients in the states."""
    found: list[tuple[str, str, float]] = []
    weights = {state: STATE_WEIGHTS[state] for state in states}
    every = sum(weights.values())
    for state, people in weights.items():
        found.append(("medicare", state, PROGRAM_SHARES["medicare"] * people / every))
    for path in rulebook.payers():
        parts = path.split("/")
        if parts[0] == "medicaid" and parts[1] in weights:
            # Most Medicaid patients are in managed care; a state's own rules are the ones most often on file.
            share = PROGRAM_SHARES["medicaid"] * weights[parts[1]] / every * (0.5 if len(parts) == 2 else 0.12)
            found.append((path, parts[1], share))
        elif parts[0] == "private":
            home = STATE_OF_PLAN.get(parts[1])
            if home is not None and home not in weights:
                continue
            share = PRIVATE_WEIGHTS.get(parts[1], 1) / 100 * (1 if len(parts) == 2 else 0.3)
            advantage = path.endswith("medicare-advantage")
            state = home or max(weights, key=lambda name: weights[name])
            found.append((path, state, PROGRAM_SHARES["advantage" if advantage else "private"] * share))
    return found


# --- regimens and lines ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Regimen:
    """What the lines of one patient group have in common. `base` is the claim without what varies."""

    base: dict[str, Any]
    drug: Drug
    units: int
    waste: bool
    lacks: frozenset[str]


class Maker:
    """Makes the lines of one list."""

    def __init__(self, site: str, lines: int, seed: int, rulebook: Rulebook, reference: Reference) -> None:
        self.chance = random.Random(f"{site} {seed}")
        self.site = SITES[site]
        self.rulebook = rulebook
        self.uncoded, self.coded = drugs(reference, self.chance)
        found = payers(rulebook, self.site.states)
        self.payers, self.payer_weights = found, list(accumulate(weight for *_, weight in found))
        self.regimens = [self._regimen() for _ in range(self.site.regimens(lines))]
        self.weights = list(accumulate((rank + self.site.even) ** -ZIPF for rank in range(1, len(self.regimens) + 1)))
        self.days = _days()

    def _regimen(self) -> Regimen:
        chance = self.chance
        payer, state, _ = self.payers[bisect(self.payer_weights, chance.random() * self.payer_weights[-1])]
        stock = self.uncoded if chance.random() < UNCODED_SHARE else self.coded
        drug = stock[min(int(chance.expovariate(5 / len(stock))), len(stock) - 1)]
        setting = chance.choices(list(self.site.settings), list(self.site.settings.values()))[0]
        institutional = self.site.institutional or setting in ("hospital_outpatient", "esrd_facility")
        units = chance.choice((1, 1, 1, 2, 4, 10, 30, 100))
        base: dict[str, Any] = {
            "payer": payer,
            "claim_form": "institutional" if institutional else "professional",
            "setting": setting,
            "line": self._line(drug, institutional),
            "drug": self._drug(drug),
            "diagnoses": list(drug.diagnoses[: chance.randint(1, 2)]),
            "documentation": sorted(chance.sample(ITEMS, chance.randint(1, 7))),
            "provider": {
                "type": "hospital" if institutional else chance.choice(("physician", "clinic")),
                "state": state,
                "participating": chance.random() < 0.95,
            },
            "patient": {"age_years": max(0, min(99, int(chance.gauss(61, 18))))},
        }
        if chance.random() < 0.4:
            base["prior_authorization"] = {"number": ""}
        if payer.startswith("private") and chance.random() < 0.3:
            base["coverage"] = {"product": chance.choice(("commercial_insured", "commercial_self_funded", "exchange"))}
        lacks = frozenset(name for name, rate in MISSING.items() if chance.random() < rate)
        for name in lacks:
            _drop(base, name)
        return Regimen(base, drug, units, chance.random() < 0.5, lacks)

    def _line(self, drug: Drug, institutional: bool) -> dict[str, Any]:
        line: dict[str, Any] = {
            "code": drug.noc,
            "modifiers": [],
            "description": f"{drug.other_name} {drug.strength}",
        }
        if drug.ndc is not None:
            line["ndc"] = {"code": drug.ndc, "unit": self.chance.choice(NDC_UNITS)}
        if institutional:
            line["revenue_code"] = "0636"
        return line

    def _drug(self, drug: Drug) -> dict[str, Any]:
        chance = self.chance
        return {
            "name": drug.name if chance.random() < 0.55 else drug.other_name,
            "strength": drug.strength,
            "dose": f"{chance.choice((10, 20, 50, 100, 200, 400))} mg",
            "route": drug.route,
            "manufacturer": "the maker on the label",
            "labeled_indication": chance.random() < 0.9,
            "compounded": False,
            "self_administered": False,
            "single_dose_container": chance.random() < 0.7,
            **drug.flags,
        }

    def line(self) -> dict[str, Any]:
        """The next line."""
        chance = self.chance
        regimen = self.regimens[bisect(self.weights, chance.random() * self.weights[-1])]
        day = self.days[int(chance.random() * len(self.days))]
        drug, line = regimen.drug, dict(regimen.base["line"])
        claim = {**regimen.base, "date_of_service": day.isoformat(), "line": line}
        line["code"] = self._code(drug, day, claim["setting"])
        slip = chance.random()
        units = regimen.units if chance.random() < 0.8 else max(1, regimen.units + chance.randint(-2, 3))
        if slip < SLIPS["units"]:
            units *= 10
        if "line.units" not in regimen.lacks:
            # Drugs billed without a code of their own are billed as one unit.
            line["units"] = "1" if line["code"] == drug.noc else str(units)
        # The price list is revised every January; one line in twenty has another charge (contract, rebill).
        charge = drug.price * (1 + 0.04 * (day.year - FIRST_DAY.year)) * units
        if "line.charge" not in regimen.lacks:
            line["charge"] = f"{charge * (chance.uniform(0.6, 1.4) if chance.random() < 0.05 else 1):.2f}"
        if "ndc" in line:
            line["ndc"] = {**line["ndc"], "quantity": str(units)}
        if "modifiers" in line and regimen.waste and day >= date(2023, 7, 1):
            line["modifiers"] = ["JZ"] if chance.random() < 0.7 else ["JW"]
        if "prior_authorization" in claim and chance.random() < 0.6:
            claim["prior_authorization"] = {"number": f"A{int(chance.random() * 10**8):08d}"}
        return self._slipped(claim, slip)

    def _code(self, drug: Drug, day: date, setting: str) -> str:
        own = drug.code
        if own is not None and own.in_force(day) and self.chance.random() >= NOC_WITHOUT_NEED:
            return own.code
        if setting in ("hospital_outpatient", "asc") and own is not None and self.chance.random() < 0.2:
            return "C9399"
        return drug.noc

    def _slipped(self, claim: dict[str, Any], slip: float) -> dict[str, Any]:
        chance = self.chance
        if chance.random() < SLIPS["typo"] and "name" in claim.get("drug", {}):
            name = claim["drug"]["name"]
            at = int(chance.random() * max(1, len(name) - 1))
            claim["drug"] = {**claim["drug"], "name": name[:at] + name[at + 1 : at + 2] + name[at] + name[at + 2 :]}
        if chance.random() < SLIPS["drop"]:
            for name in chance.sample(list(MISSING), 1):
                claim = json.loads(json.dumps(claim))
                _drop(claim, name)
        if chance.random() < SLIPS["bad"]:
            claim = _spoiled(claim, chance)
        return claim


def _days() -> list[date]:
    """Weekdays of the five years, later ones more than once as the list grows."""
    days = []
    for offset in range(DAYS):
        day = FIRST_DAY + timedelta(days=offset)
        if day.weekday() < 5:
            days += [day] * round(10 * GROWTH ** (offset / 365))
    return days


def _drop(claim: dict[str, Any], name: str) -> None:
    *groups, leaf = name.split(".")
    node = claim
    for group in groups:
        node = node.get(group, {})
    node.pop(leaf, None)


def _spoiled(claim: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """A line as it should not be sent."""
    fault = chance.randrange(5)
    claim = json.loads(json.dumps(claim))
    if fault == 0:
        claim["payer"] = claim["payer"].upper().replace("/", "-")
    elif fault == 1:
        claim["date_of_service"] = "13/45/2024"
    elif fault == 2:
        claim["setting"] = "clinic"
    elif fault == 3:
        claim["line"]["code"] = ""
    else:
        claim["line"]["charge"] = "12,50"
    return claim


def lines(
    site: str, count: int, seed: int = 1, rulebook: Rulebook | None = None, reference: Reference | None = None
) -> Iterator[dict[str, Any]]:
    """`count` claim lines of a site; the same for the same seed, rulebook and reference tables."""
    maker = Maker(site, count, seed, rulebook or Rulebook.open(), reference or Reference.load())
    for _ in range(count):
        yield maker.line()


# --- files ----------------------------------------------------------------------------------------------------------


def write(claims: Iterator[dict[str, Any]], path: Path) -> None:
    """Write claim lines as JSON lines, CSV or Parquet, by the ending of the path."""
    kind = path.suffix.lower()
    if kind == ".jsonl":
        encode = json.JSONEncoder(separators=(",", ":")).encode
        with path.open("w") as file:
            while some := [encode(claim) + "\n" for claim in islice(claims, 10_000)]:
                file.writelines(some)
    elif kind == ".csv":
        _write_csv(claims, path)
    elif kind == ".parquet":
        _write_parquet(claims, path)
    else:
        raise SystemExit(f"{path}: expected .jsonl, .csv or .parquet")


def columns() -> list[str]:
    """The columns that tables of these lists have."""
    used = [
        "payer",
        "date_of_service",
        "claim_form",
        "setting",
        "line.code",
        "line.modifiers",
        "line.units",
        "line.charge",
        "line.description",
        "line.revenue_code",
        "line.ndc.code",
        "line.ndc.quantity",
        "line.ndc.unit",
        "drug.name",
        "drug.strength",
        "drug.dose",
        "drug.route",
        "drug.manufacturer",
        "drug.labeled_indication",
        "drug.compounded",
        "drug.biologic",
        "drug.antineoplastic",
        "drug.self_administered",
        "drug.single_dose_container",
        "drug.infused_by_pump",
        "diagnoses",
        "documentation",
        "provider.type",
        "provider.state",
        "provider.participating",
        "patient.age_years",
        "prior_authorization.number",
        "coverage.product",
    ]
    unknown = set(used) - set(vocabulary().facts) - {"payer"}
    assert not unknown, unknown
    return used


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return "|".join(value) or "|"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "|" if value == "" else str(value)


def _row(claim: dict[str, Any]) -> dict[str, Any]:
    return {"payer": claim["payer"], **flat(claim)}


def _write_csv(claims: Iterator[dict[str, Any]], path: Path) -> None:
    names = columns()
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for claim in claims:
            row = _row(claim)
            writer.writerow(["" if (value := row.get(name)) is None else _cell(value) for name in names])


def _write_parquet(claims: Iterator[dict[str, Any]], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    words = vocabulary().facts
    kinds = {"boolean": pa.bool_(), "integer": pa.int64()}
    fields = []
    for name in columns():
        fact = words.get(name)
        kind = kinds.get(fact.type, pa.string()) if fact else pa.string()
        fields.append((name, pa.list_(kind) if fact and fact.is_list else kind))
    schema = pa.schema(fields)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while some := [_row(claim) for claim in islice(claims, 50_000)]:
            writer.write_table(pa.Table.from_pylist(some, schema=schema))


def main() -> None:
    """Write a list."""
    parser = argparse.ArgumentParser(description="Write a made-up work list.")
    parser.add_argument("lines", type=int)
    parser.add_argument("output", type=Path, help="a .jsonl, .csv or .parquet file")
    parser.add_argument("--site", choices=sorted(SITES), default="clearinghouse")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    began = time.monotonic()
    write(lines(chosen.site, chosen.lines, chosen.seed), chosen.output)
    print(f"{chosen.lines:,} lines in {time.monotonic() - began:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
