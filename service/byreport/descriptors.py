"""What a HCPCS Level II long descriptor says about a drug: ingredient, billing unit, maker, brand, route.

CMS writes "Injection, pemetrexed (pemfexy), 10 mg" or "Injection, bortezomib (hospira), not therapeutically
equivalent to j9041, 0.1 mg". The split follows that pattern and is mechanical: it never adds a word that the
descriptor lacks. What the ingredient's name proves (a biological product, an antineoplastic) is told by
`traits`, with the ground for it.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Split:
    """The parts of a descriptor, lower case as CMS writes them; empty where it does not say.

    ``labels`` are the parentheses that may be a brand or a maker; which of the two, the descriptor does not
    say, except that a maker stands before "not therapeutically equivalent".
    """

    generic: str
    other_names: tuple[str, ...]
    unit: str
    labels: tuple[str, ...]
    maker: str
    biosimilar: bool
    routes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Traits:
    """What follows firmly from name and code. None: nothing firm either way."""

    biologic: bool | None
    antineoplastic: bool | None
    basis: tuple[str, ...]


_FORM = re.compile(
    r"(injections?(?: \(or infusion\))?|infusion|instillation|inj|intravesical instillation"
    r"|prescription drug|topical administration)[,.;]?\s+(?=\S)"
)
_PARENTHESES = re.compile(r"\s*\(([^()]*)\)")
_NOT_EQUIVALENT = re.compile(r",?\s*not thera\w+ equivalent to [^,]*")
_NOT_SPECIFIED = re.compile(r",?\s*not otherwise (?:specified|classified)")
_MEASURES = (
    r"(?:mg|mgs|mcg|g|gm|gms|gram|grams|milligrams?|micrograms?|ml|cc|units?|usp|iu|i\.?u\.?|meq|mmol|mci"
    r"|millicuries?|microcuries?|kiu|therapeutic|pfu|vg|study|treatment|billion|million)"
)
_UNITS = (
    re.compile(rf"(?:,|\s)\s*((?:per |up to |each )?(?:up to )?\d[\d,.]*\s*{_MEASURES}\b[^,]*)$"),
    re.compile(r",\s*((?:per|each|up to)\b[^,]*)$"),
    re.compile(
        r"\s(per (?:i\.?u\.?|\d.*|gm|mg|gram|ml|millicurie.*|dose|(?:study|therapeutic|treatment) dose"
        r"|implant|vial|square cent.*|instillation|treatment))$"
    ),
)
_QUALIFIER = re.compile(
    r"(?:oral|intravenous|intramuscular|subcutaneous|iv|inhalation|fda.approved|non-?compounded"
    r"|compounded product|administered|unit dose|concentrated form|parenteral|implant|nasal spray|ophthalmic"
    r"|lacrimal|powder|granules|tablet|capsule|for (?!susp)|not |only |per |up to |excludes biosimilar"
    r"|biosimilar|including |less than|greater than|any type|intravesical|intraocular|intravitreal"
    r"|intracameral|via |when |single dose|sterile|unrefrigerated|diagnostic|therapeutic|e\.g\.)"
)
_NO_LABEL = re.compile(
    r"\d|human|recombinant|for |e\.g\.|code may|not |only |antihemophilic|ovine|equine|loading dose|non-esrd"
    r"|per |up to |i\.e\.|contraceptive|any type|intravesical"
)
_SYNONYMS = frozenset({"vitamin k", "nitrogen mustard", "dxr", "ddi", "ivig"})
_ROUTES = (
    ("oral", r"\boral\b"),
    ("intravenous", r"\bintravenous\b|\biv\b"),
    ("intramuscular", r"\bintramuscular\b"),
    ("subcutaneous", r"\bsubcutaneous\b"),
    ("inhalation", r"\binhal"),
    ("intravitreal", r"\bintravitreal\b"),
    ("intrathecal", r"\bintrathecal\b"),
    ("epidural", r"\bepidural\b"),
    ("intra-articular", r"\bintra-articular\b"),
    ("topical", r"\btopical\b"),
    ("nasal", r"\bnasal\b"),
    ("ophthalmic", r"\bophthalmic\b"),
    ("intravesical", r"\bintravesical\b"),
    ("intracameral", r"\bintracameral\b"),
    ("rectal", r"\brectal\b"),
    ("sublingual", r"\bsublingual\b"),
    ("transdermal", r"\btransdermal\b"),
    ("implant", r"\bimplant\b"),
)


def split(descriptor: str) -> Split:
    """The parts of a long descriptor."""
    whole = " ".join(descriptor.split()).lower()
    body = _FORM.sub("", whole, count=1) if _FORM.match(whole) else whole
    parentheses = _PARENTHESES.findall(body)
    plain = _NOT_EQUIVALENT.sub("", _PARENTHESES.sub("", body))
    generic, unit = _without_unit(plain)
    segments = [part.strip(" ;-") for part in _NOT_SPECIFIED.sub("", generic).split(",")]
    kept = [part for place, part in enumerate(filter(None, segments)) if place == 0 or not _QUALIFIER.match(part)]
    labels = tuple(text for text in parentheses if not _NO_LABEL.search(text) and text not in _SYNONYMS)
    unequal = "equivalent to" in whole and bool(labels)
    others = [kept[0]] if len(kept) > 1 else []
    others += [text for text in parentheses if text in _SYNONYMS]
    return Split(
        generic=", ".join(kept),
        other_names=tuple(others),
        unit=unit,
        labels=labels[1:] if unequal else labels,
        maker=labels[0] if unequal else "",
        biosimilar="biosimilar" in whole and "excludes" not in whole,
        routes=tuple(name for name, pattern in _ROUTES if re.search(pattern, _PARENTHESES.sub("", whole))),
    )


def _without_unit(text: str) -> tuple[str, str]:
    text = text.strip(" ,")
    for pattern in _UNITS:
        found = pattern.search(text)
        if found and found.start() > 0:
            return text[: found.start()].strip(" ,"), found[1].strip(" ,")
    return text, ""


# Grounds for calling a drug a biological product, most specific first: the four-letter suffix that the
# FDA appends to the names of biological products, then name stems of classes that are such throughout.
_SUFFIX = re.compile(r"[a-z0-9](?:-| - )([a-z]{4})(?![a-z])")
_NO_SUFFIX = frozenset({"acid", "base", "bcma", "cell", "dose", "free", "half", "high", "iron", "like"}) | {
    "live",
    "long",
    "term",
    "type",
}
_STEMS = (
    ("stem:-mab", r"[a-z]mabs?\b"),
    ("stem:-cept", r"[a-z]{3}(?<!tilmano)cept\b"),
    ("stem:-cel", r"[a-z]{2}cel\b"),
    ("stem:-vec", r"[a-z]{2}vec\b"),
    ("stem:-stim", r"(?:grastim|gramostim|plostim)\b"),
    ("stem:-poetin", r"poetin\b"),
    ("interferon", r"\binterferon"),
    ("botulinum_toxin", r"botulinumtoxin"),
    ("immune_globulin", r"immune globulin|gamma globulin"),
    ("clotting_factor", r"\bfactor (?:viia?|viii|ix|xa?|xiii)\b|fibrinogen|von willebrand|antihemophilic"),
    ("vaccine_or_antivenom", r"\bvaccine\b|antiven|\bimmune f(?:ab)?\b"),
    (
        "enzyme",
        r"(?:galsidase|glucosidase|glucerase|laronidase|sulfase|teplase|rasburicase|pegloticase|asparaginase"
        r"|aspargase|lipase alfa|urokinase|streptokinase|collagenase|cerliponase)",
    ),
)
# Codes in CMS's chemotherapy section that are left open: immunology, endocrine and supportive-care drugs.
_NOT_CANCER = frozenset(
    {"J9038", "J9209", "J9210", "J9216", "J9226", "J9256", "J9332", "J9333", "J9334", "J9376", "J9381"}
)


def traits(code: str, generic: str, biosimilar: bool = False) -> Traits:
    """Whether the drug is a biological product or an antineoplastic, as far as name and code prove it."""
    basis = []
    ground = _biologic_ground(generic, biosimilar)
    if ground:
        basis.append(f"biologic={ground}")
    chemotherapy = re.fullmatch(r"J9\d{3}", code) is not None and code not in _NOT_CANCER
    if chemotherapy:
        basis.append("antineoplastic=J9_section")
    return Traits(True if ground else None, True if chemotherapy else None, tuple(basis))


def _biologic_ground(generic: str, biosimilar: bool) -> str:
    if any(suffix not in _NO_SUFFIX for suffix in _SUFFIX.findall(generic)):
        return "suffix"
    if biosimilar:
        return "biosimilar_code"
    return next((ground for ground, pattern in _STEMS if re.search(pattern, generic)), "")


def is_drug(code: str, descriptor: str, betos: str = "") -> bool:
    """Whether a HCPCS Level II code (five characters, no modifier) names a drug.

    Told by CMS's sections, its BETOS category, and the form the descriptor begins with. Skin substitutes,
    pumps, supplies, fees and procedures are none.
    """
    if not re.fullmatch(r"(?:[ACJPS]|Q(?!4[1-3]))\d{4}", code) or _NO_DRUG.search(_PARENTHESES.sub("", descriptor)):
        return False
    if code[0] == "J" or _DRUG_SECTION.match(code):
        return True
    return betos in _DRUG_BETOS or _FORM.match(descriptor.lower()) is not None


_DRUG_BETOS = frozenset({"O1D", "O1E", "O1G", "D1G", "I1E"})
_DRUG_SECTION = re.compile(r"A95\d\d|A960\d|A9800|Q0(?:1[3-8])\d|Q20[345]\d|Q50[2-9]\d|Q5[1-9]\d\d|Q99\d\d|S0[01]\d\d")
_NO_DRUG = re.compile(
    r"pharmacy supply|supplying fee|\bsupplies and accessories|^supply|infusion supplies"
    r"|infusion (?:set|pump|therapy)|implantable\b.*\b(?:marker|dosimeter)|laparoscop"
    r"|^non-prescription|^contraceptive supply|metered dose inhaler|^nasal vaccine",
    re.IGNORECASE,
)


def brand_or_maker(label: str, makers: Container[str]) -> tuple[str, str]:
    """A label of a descriptor as (brand, maker), one of them empty. Makers are known by name, lower case."""
    written = " ".join(word[:1].upper() + word[1:] for word in label.split(" "))
    return ("", written) if label in makers else (written, "")
