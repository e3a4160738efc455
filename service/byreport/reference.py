"""What is known about drugs, codes and payers' jurisdictions, apart from any payer's policy.

Tables of facts (comma-separated, in ``data/``; ``data/sources.csv`` explains the source ids) are read once
into an immutable `Reference` and looked up by name, code or NDC. An overlay directory written by
`byreport.cms_files` replaces and adds rows, so that a newer quarter can be used without a new release.

Two different kinds of not finding a code are kept apart throughout: a drug that is in the tables and had no
code of its own on the date of service, and a drug the tables do not know.
"""

from __future__ import annotations

import csv
import hashlib
import io
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

from rapidfuzz import fuzz, process

TABLES = (
    "hcpcs.csv",
    "drugs.csv",
    "noc_codes.csv",
    "ndc.csv",
    "payment_limits.csv",
    "denial_codes.csv",
    "mac_states.csv",
    "release.csv",
    "sources.csv",
)
NO_OWN_CODE = "NOC"
C_CODE_SETTINGS = frozenset({"hospital_outpatient", "asc"})

Row = dict[str, str]
_T = TypeVar("_T")
NameKind = Literal["generic", "brand", "brand_and_generic", "other_name"]
DenialKind = Literal["group", "carc", "rarc"]
CodeStatus = Literal["in_force", "none", "uncertain", "unknown_drug"]
NearMissReason = Literal["missing_suffix", "name_within_text", "spelling"]


class TableError(ValueError):
    """A reference table cannot be used; the message names the file, the line and the column."""


@dataclass(frozen=True, slots=True)
class DrugCode:
    """A HCPCS Level II code that names a drug, with the dates between which it may be billed.

    ``effective_to`` is the last day; None means none is known. ``end_basis`` says where it comes from:
    ``cms_term_date`` CMS's own field; ``successor:...`` the day before the replacing code starts;
    ``same_ingredient_starts`` likewise, for a code of the same ingredient; ``listings`` the quarter from
    which CMS stopped listing it; ``action_year`` only the year is known, and the code ended on or after
    ``effective_to`` and by ``effective_to_latest``. ``biologic`` and ``antineoplastic`` are None when nothing
    firm says either way; ``basis`` says what they rest on.
    """

    code: str
    generic: str
    other_names: tuple[str, ...]
    brands: tuple[str, ...]
    maker: str
    unit: str
    effective_from: date
    effective_to: date | None
    effective_to_latest: date | None
    end_basis: str
    temporary: bool
    replaced_by: tuple[str, ...]
    biologic: bool | None
    antineoplastic: bool | None
    biosimilar: bool
    routes: tuple[str, ...]
    medicare_coverage: str
    basis: str
    sources: tuple[str, ...]

    def in_force(self, on: date) -> bool:
        """Whether the code could be billed on that date of service."""
        return self.effective_from <= on and (self.effective_to is None or on <= self.effective_to)

    def perhaps_in_force(self, on: date) -> bool:
        """Whether the date falls where the end of the code is not known to the day."""
        if self.effective_to is None or self.effective_to_latest is None:
            return False
        return self.effective_to < on <= self.effective_to_latest

    @property
    def private_only(self) -> bool:
        """S-codes are for private payers and Medicaid; Medicare does not take them."""
        return self.code.startswith("S")


@dataclass(frozen=True, slots=True)
class DrugFacts:
    """What is known of a drug apart from any code.

    ``uncoded_through``: up to this day no HCPCS descriptor names its ingredient, so that it is known to have
    had no code; None when that was not looked up.
    """

    generic: str
    brands: tuple[str, ...]
    fda_approval_date: date | None
    biologic: bool | None
    antineoplastic: bool | None
    routes: tuple[str, ...]
    uncoded_through: date | None
    basis: str
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DrugMatch:
    """What one written name stands for.

    ``codes`` are all codes ever given to it, in order of their start; several at a time when makers, routes
    or units have codes of their own. ``same_ingredient`` are the codes of the same ingredient that are not
    this brand's or maker's; empty for a generic name, which has them all. The traits are None unless every
    row that speaks of them agrees.
    """

    name: str
    kind: NameKind
    generics: tuple[str, ...]
    brands: tuple[str, ...]
    codes: tuple[DrugCode, ...]
    same_ingredient: tuple[DrugCode, ...]
    fda_approval_date: date | None
    biologic: bool | None
    antineoplastic: bool | None
    routes: tuple[str, ...]
    uncoded_through: date | None
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A known name that resembles one that is not known. A suggestion to put to a person, never an answer."""

    name: str
    score: float
    reason: NearMissReason
    match: DrugMatch


@dataclass(frozen=True, slots=True)
class CodesInForce:
    """The codes of a drug on a date of service, and what their absence means. Behaves as a sequence of codes.

    ``status``: ``in_force`` there is at least one; ``none`` the drug is known and had none, so a NOC code is
    right; ``uncertain`` the drug is known and none was found, but the date lies outside what the table covers
    or where a code's end is not known to the day; ``unknown_drug`` the tables do not know the drug.
    ``set_aside`` are codes in force that this line cannot use: C-codes outside hospital outpatient
    departments and ambulatory surgical centers or beside a permanent code, and S-codes unless asked for.
    ``next_code`` is the first code of the drug that starts after the date. ``same_ingredient`` are codes in
    force for other brands or makers of the ingredient; where one of them names neither, it may cover this
    product too, and the status is ``uncertain`` rather than ``none``.
    """

    status: CodeStatus
    codes: tuple[DrugCode, ...] = ()
    same_ingredient: tuple[DrugCode, ...] = ()
    set_aside: tuple[DrugCode, ...] = ()
    next_code: DrugCode | None = None

    def __iter__(self) -> Iterator[DrugCode]:
        return iter(self.codes)

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, index: int) -> DrugCode:
        return self.codes[index]

    @property
    def known_to_have_none(self) -> bool:
        """The drug is in the tables and had no code of its own that this line could use."""
        return self.status == "none"


@dataclass(frozen=True, slots=True)
class NdcLink:
    """CMS lists this NDC product (nine digits) under this code in these quarters. Code NOC: none yet."""

    product: str
    code: str
    first_quarter: str
    last_quarter: str
    drug_name: str
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PaymentLimit:
    """Medicare's payment limit of one billing unit, in US dollars, for the dates between which it holds.

    ``code`` is NOC for drugs that CMS prices without a code of their own; ``name`` then says which.
    """

    code: str
    name: str
    effective_from: date
    effective_to: date
    dosage: str
    dollars: Decimal
    notes: str
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NocCode:
    """A not-otherwise-classified code.

    ``kind``: unclassified, class_noc, product_class_noc, or ingredient_residual (the ingredient is named: a
    specific code, for products of it without a code of their own).
    """

    code: str
    kind: str
    category: str
    descriptor: str
    ingredient: str
    unit: str
    route: str
    settings: tuple[str, ...]
    effective_from: date | None
    effective_to: date | None
    medicare_coverage: str
    opps_status: str
    predecessor: str
    successor: str
    code_system: str
    notes: str
    sources: tuple[str, ...]

    def in_force(self, on: date) -> bool:
        """Whether the code could be billed on that date of service; open where a date is not known."""
        return (self.effective_from is None or self.effective_from <= on) and (
            self.effective_to is None or on <= self.effective_to
        )


@dataclass(frozen=True, slots=True)
class DenialCode:
    """A claim adjustment group code, CARC or RARC, in our own words. ``active`` None: sources disagree."""

    kind: DenialKind
    code: str
    meaning: str
    needs_rarc: bool
    alert: bool
    active: bool | None
    group_limit: str
    relevance: str
    sources: tuple[str, ...]


def normal_name(name: str) -> str:
    """The key a drug name is looked up by: case, composed form, spacing and trade marks do not count."""
    if not name.isascii():
        name = unicodedata.normalize("NFC", name).translate(_MARKS)
    return " ".join(name.casefold().split())


_MARKS = {ord("®"): None, ord("™"): None, 0x2019: "'", 0x2010: "-", 0x2011: "-", 0x2013: "-"}


@dataclass(frozen=True, eq=False)
class Reference:
    """All reference tables, read and indexed. Made by `Reference.load`; it does not change afterwards."""

    codes: Mapping[str, DrugCode] = field(repr=False)
    drugs: tuple[DrugFacts, ...] = field(repr=False)
    noc_codes: Mapping[str, NocCode] = field(repr=False)
    through: date
    since: date
    fingerprint: str
    _ndc: Mapping[str, tuple[NdcLink, ...]] = field(repr=False)
    _limits: Mapping[str, tuple[PaymentLimit, ...]] = field(repr=False)
    _denials: Mapping[tuple[str, str], DenialCode] = field(repr=False)
    _macs: Mapping[str, tuple[str, str]] = field(repr=False)
    _sources: Mapping[str, Row] = field(repr=False)
    _names: Mapping[str, DrugMatch] = field(repr=False)

    @classmethod
    def load(cls, directory: Path | None = None) -> Reference:
        """The bundled tables, with the rows of an overlay directory put over them.

        Raises TableError when a table cannot be read, and FileNotFoundError when the directory is missing.
        """
        return _load(directory)

    def match(self, name: str) -> DrugMatch | None:
        """The drug so named, or None. Only whole names match: see `candidates` for what resembles them."""
        return self._names.get(normal_name(name))

    def candidates(self, name: str, limit: int = 5) -> tuple[NearMiss, ...]:
        """Known names that resemble this one, best first, at most ``limit``; for a person to choose from."""
        return _near_misses_of(self, normal_name(name), limit)

    def codes_for(self, drug: str | DrugMatch, on: date, setting: str, *, private_codes: bool = False) -> CodesInForce:
        """The specific codes of a drug on a date of service for a setting (as the vocabulary names settings).

        A permanent code wins over a temporary C-code; C-codes serve ``hospital_outpatient`` and ``asc`` only;
        S-codes count only with ``private_codes``.
        """
        match = self.match(drug) if isinstance(drug, str) else drug
        if match is None:
            return CodesInForce("unknown_drug")
        usable, aside = _usable(match.codes, on, setting, private_codes)
        upcoming = next((code for code in match.codes if code.effective_from > on), None)
        others, _ = _usable(match.same_ingredient, on, setting, private_codes)
        if usable:
            return CodesInForce("in_force", usable, others, aside, upcoming)
        covering = any(not (code.brands or code.maker) for code in others)
        status: CodeStatus = "none" if not covering and self._surely_none(match, on, upcoming) else "uncertain"
        return CodesInForce(status, (), others, aside, upcoming)

    def _surely_none(self, match: DrugMatch, on: date, upcoming: DrugCode | None) -> bool:
        if on < self.since:
            return False
        if not match.codes:
            return match.uncoded_through is not None and on <= match.uncoded_through
        doubtful = any(code.perhaps_in_force(on) for code in match.codes)
        return not doubtful and (on <= self.through or upcoming is not None)

    def by_ndc(self, ndc11: str) -> tuple[NdcLink, ...]:
        """The codes CMS lists for the product of an eleven-digit NDC, latest listed first; () if none."""
        return self._ndc.get(ndc11[:9], ())

    def payment_limit(self, code: str, on: date) -> PaymentLimit | None:
        """Medicare's payment limit of a code on a date of service, or None when no file at hand has one."""
        return next((limit for limit in self._limits.get(code, ()) if _holds(limit, on)), None)

    def noc_payment_limit(self, name: str, on: date) -> PaymentLimit | None:
        """CMS's payment limit of a drug without a code of its own, by the name CMS lists, or None."""
        key = normal_name(name)
        listed = (limit for limit in self._limits.get(NO_OWN_CODE, ()) if normal_name(limit.name) == key)
        return next((limit for limit in listed if _holds(limit, on)), None)

    def code(self, code: str) -> DrugCode | None:
        """A drug's own HCPCS code, or None."""
        return self.codes.get(code)

    def noc(self, code: str) -> NocCode | None:
        """A not-otherwise-classified code, or None."""
        return self.noc_codes.get(code)

    def denial(self, kind: DenialKind, code: str) -> DenialCode | None:
        """A group code, CARC or RARC, or None when it is not among those that matter for drug lines."""
        return self._denials.get((kind, code))

    def mac_for_state(self, state: str, dme: bool = False) -> str | None:
        """The payer path of the Medicare contractor of a state or territory (two letters), or None."""
        pair = self._macs.get(state)
        return (pair[1] if dme else pair[0]) or None if pair else None

    def source(self, source_id: str) -> Mapping[str, str] | None:
        """Publisher, title, address and date of a source id, or None."""
        return self._sources.get(source_id)

    @cached_property
    def _name_list(self) -> list[str]:
        return [name for name in self._names if "(" not in name]


def _usable(
    codes: tuple[DrugCode, ...], on: date, setting: str, private_codes: bool
) -> tuple[tuple[DrugCode, ...], tuple[DrugCode, ...]]:
    """The codes in force on the date, parted into those this line can use and those set aside."""
    if not codes:
        return (), ()
    # Written out rather than calling in_force: this runs for every claim line.
    current = [
        code for code in codes if code.effective_from <= on and (code.effective_to is None or on <= code.effective_to)
    ]
    usable = [code for code in current if not code.temporary and (private_codes or not code.private_only)]
    if not usable and setting in C_CODE_SETTINGS:
        usable = [code for code in current if code.temporary]
    if len(usable) == len(current):
        return tuple(usable), ()
    return tuple(usable), tuple(code for code in current if code not in usable)


def _holds(limit: PaymentLimit, on: date) -> bool:
    return limit.effective_from <= on <= limit.effective_to


def _load(overlay: Path | None) -> Reference:
    if overlay is not None and not overlay.is_dir():
        raise FileNotFoundError(f"no directory of reference tables at {overlay}")
    digest = hashlib.sha256()
    outdated = {"hcpcs.csv", "release.csv"} if overlay is not None and _older_release(overlay) else set()
    tables = {name: _merged(name, None if name in outdated else overlay, digest) for name in TABLES}
    codes = {row["code"]: _row(_drug_code, row, "hcpcs.csv") for row in tables["hcpcs.csv"]}
    drugs = tuple(_row(_drug_facts, row, "drugs.csv") for row in tables["drugs.csv"])
    release = {row["table"]: row for row in tables["release.csv"]}["hcpcs.csv"]
    return Reference(
        codes=codes,
        drugs=drugs,
        noc_codes={row["code"]: _row(_noc_code, row, "noc_codes.csv") for row in tables["noc_codes.csv"]},
        through=date.fromisoformat(release["complete_through"]),
        since=date.fromisoformat(release["complete_from"]),
        fingerprint=digest.hexdigest(),
        _ndc=_ndc_index(tables["ndc.csv"]),
        _limits=_limit_index(tables["payment_limits.csv"]),
        _denials={
            (row["kind"], row["code"]): _row(_denial_code, row, "denial_codes.csv")
            for row in tables["denial_codes.csv"]
        },
        _macs={row["state"]: (row["ab_mac"], row["dme_mac"]) for row in tables["mac_states.csv"]},
        _sources={row["id"]: row for row in tables["sources.csv"]},
        _names=_name_index(codes.values(), drugs),
    )


def _older_release(overlay: Path) -> bool:
    """Whether the overlay holds a HCPCS release that the bundled tables have since overtaken."""
    mine = read_table("release.csv", overlay)
    return bool(mine) and mine[0]["complete_through"] < read_table("release.csv")[0]["complete_through"]


KEYS: dict[str, tuple[str, ...]] = {
    "hcpcs.csv": ("code",),
    "drugs.csv": ("generic",),
    "noc_codes.csv": ("code",),
    "ndc.csv": ("product", "code"),
    "payment_limits.csv": ("code", "name", "effective_from"),
    "denial_codes.csv": ("kind", "code"),
    "mac_states.csv": ("state",),
    "release.csv": ("table",),
    "sources.csv": ("id",),
}


def read_table(name: str, directory: Path | None = None) -> list[Row]:
    """The rows of a bundled table, or of the table of that name in a directory ([] when it has none)."""
    if directory is None:
        return _read(name, _bundled_bytes(name), hashlib.sha256(), f"byreport/data/{name}")
    path = directory / name
    return _read(name, path.read_bytes(), hashlib.sha256(), str(path)) if path.is_file() else []


def _bundled_bytes(name: str) -> bytes:
    return resources.files("byreport").joinpath("data", name).read_bytes()


def _merged(name: str, overlay: Path | None, digest: Any) -> list[Row]:
    """Rows of the bundled table, replaced and extended by the overlay's rows of the same key."""
    rows = _read(name, _bundled_bytes(name), digest, f"byreport/data/{name}")
    path = overlay / name if overlay is not None else None
    if path is None or not path.is_file():
        return rows
    key = KEYS[name]
    merged = {tuple(row[part] for part in key): row for row in rows}
    for row in _read(name, path.read_bytes(), digest, str(path)):
        try:
            merged[tuple(row[part] for part in key)] = row
        except KeyError as error:
            raise TableError(f"{path}: line 1: the column {error} is missing") from error
    return list(merged.values())


def _read(name: str, content: bytes, digest: Any, where: str) -> list[Row]:
    digest.update(f"{name} {len(content)}\n".encode())
    digest.update(content)
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""), strict=True)
        rows = []
        for row in reader:
            if None in row or None in row.values():
                raise TableError(f"{where}: line {reader.line_num}: not as many columns as the header")
            rows.append(row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{where}: {error}") from error
    return rows


def _row(build: Callable[[Row], _T], row: Row, table: str) -> _T:
    try:
        return build(row)
    except (KeyError, ValueError) as error:
        raise TableError(f"{table}: row {'/'.join(list(row.values())[:2])}: {error}") from error


def _flag(text: str) -> bool | None:
    if text not in ("true", "false", ""):
        raise ValueError(f"{text!r} is neither true, false nor empty")
    return None if text == "" else text == "true"


def _day(text: str) -> date | None:
    return date.fromisoformat(text) if text else None


def _parts(text: str) -> tuple[str, ...]:
    return tuple(text.split("|")) if text else ()


def _drug_code(row: Row) -> DrugCode:
    return DrugCode(
        code=row["code"],
        generic=row["generic"],
        other_names=_parts(row["other_names"]),
        brands=_parts(row["brands"]),
        maker=row["maker"],
        unit=row["unit"],
        effective_from=date.fromisoformat(row["effective_from"]),
        effective_to=_day(row["effective_to"]),
        effective_to_latest=_day(row["effective_to_latest"]),
        end_basis=row["end_basis"],
        temporary=row["temporary"] == "true",
        replaced_by=_parts(row["replaced_by"]),
        biologic=_flag(row["biologic"]),
        antineoplastic=_flag(row["antineoplastic"]),
        biosimilar=row["biosimilar"] == "true",
        routes=_parts(row["route"]),
        medicare_coverage=row["medicare_coverage"],
        basis=row["basis"],
        sources=_parts(row["source"]),
    )


def _drug_facts(row: Row) -> DrugFacts:
    return DrugFacts(
        generic=row["generic"],
        brands=_parts(row["brands"]),
        fda_approval_date=_day(row["fda_approval_date"]),
        biologic=_flag(row["biologic"]),
        antineoplastic=_flag(row["antineoplastic"]),
        routes=_parts(row["route"]),
        uncoded_through=_day(row["uncoded_through"]),
        basis=row["basis"],
        sources=_parts(row["source"]),
    )


def _noc_code(row: Row) -> NocCode:
    return NocCode(
        code=row["code"],
        kind=row["kind"],
        category=row["category"],
        descriptor=row["descriptor"],
        ingredient=row["ingredient"],
        unit=row["unit"],
        route=row["route"],
        settings=_parts(row["settings"]),
        effective_from=_day(row["effective_from"]),
        effective_to=_day(row["effective_to"]),
        medicare_coverage=row["medicare_coverage"],
        opps_status=row["opps_status"],
        predecessor=row["predecessor"],
        successor=row["successor"],
        code_system=row["code_system"],
        notes=row["notes"],
        sources=_parts(row["source"]),
    )


def _denial_code(row: Row) -> DenialCode:
    kinds: dict[str, DenialKind] = {"group": "group", "carc": "carc", "rarc": "rarc"}
    return DenialCode(
        kind=kinds[row["kind"]],
        code=row["code"],
        meaning=row["meaning"],
        needs_rarc=row["needs_rarc"] == "true",
        alert=row["alert"] == "true",
        active=_flag("" if row["active"] == "unclear" else row["active"]),
        group_limit=row["group_limit"],
        relevance=row["relevance"],
        sources=_parts(row["source"]),
    )


def _ndc_index(rows: Iterable[Row]) -> dict[str, tuple[NdcLink, ...]]:
    links: dict[str, list[NdcLink]] = {}
    for row in rows:
        link = NdcLink(
            product=row["product"],
            code=row["code"],
            first_quarter=row["first_quarter"],
            last_quarter=row["last_quarter"],
            drug_name=row["drug_name"],
            sources=_parts(row["source"]),
        )
        links.setdefault(link.product, []).append(link)
    return {
        product: tuple(sorted(found, key=lambda link: (link.last_quarter, link.code), reverse=True))
        for product, found in links.items()
    }


def _limit_index(rows: Iterable[Row]) -> dict[str, tuple[PaymentLimit, ...]]:
    limits: dict[str, list[PaymentLimit]] = {}
    for row in rows:
        limits.setdefault(row["code"], []).append(_row(_payment_limit, row, "payment_limits.csv"))
    return {
        code: tuple(sorted(found, key=lambda limit: limit.effective_from, reverse=True))
        for code, found in limits.items()
    }


def _payment_limit(row: Row) -> PaymentLimit:
    try:
        dollars = Decimal(row["payment_limit"])
    except InvalidOperation:
        raise ValueError(f"payment_limit {row['payment_limit']!r} is no amount") from None
    return PaymentLimit(
        code=row["code"],
        name=row["name"],
        effective_from=date.fromisoformat(row["effective_from"]),
        effective_to=date.fromisoformat(row["effective_to"]),
        dosage=row["dosage"],
        dollars=dollars,
        notes=row["notes"],
        sources=_parts(row["source"]),
    )


@dataclass
class _Named:
    """What is gathered under one name while the index is built."""

    kinds: set[NameKind] = field(default_factory=set)
    codes: dict[str, DrugCode] = field(default_factory=dict)
    facts: list[DrugFacts] = field(default_factory=list)


def _name_index(codes: Iterable[DrugCode], drugs: Iterable[DrugFacts]) -> dict[str, DrugMatch]:
    gathered: dict[str, _Named] = {}
    for code in codes:
        for kind, name in _names_of_code(code):
            for spelling in _spellings(normal_name(name)):
                entry = gathered.setdefault(spelling, _Named())
                entry.kinds.add(kind)
                entry.codes[code.code] = code
    unbranded = {
        generic: {code.code: code for code in entry.codes.values() if not (code.brands or code.maker)}
        for generic, entry in gathered.items()
        if "generic" in entry.kinds
    }
    for facts in drugs:
        for kind, name in _names_of_drug(facts):
            for spelling in _spellings(normal_name(name)):
                entry = gathered.setdefault(spelling, _Named())
                entry.kinds.add(kind)
                entry.facts.append(facts)
                if kind != "generic" and not entry.codes:
                    entry.codes.update(unbranded.get(normal_name(facts.generic), {}))
    _lend_facts(gathered)
    ingredients = {name: tuple(entry.codes.values()) for name, entry in gathered.items() if "generic" in entry.kinds}
    return {name: _drug_match(name, entry, ingredients) for name, entry in gathered.items()}


def _names_of_code(code: DrugCode) -> Iterator[tuple[NameKind, str]]:
    yield "generic", code.generic
    for name in code.other_names:
        yield "other_name", name
    for label in (*code.brands, *((code.maker,) if code.maker else ())):
        if label != code.maker:
            yield "brand", label
        for generic in (code.generic, *code.other_names):
            yield "brand_and_generic", f"{label} ({generic})"
            yield "brand_and_generic", f"{generic} ({label})"


def _names_of_drug(facts: DrugFacts) -> Iterator[tuple[NameKind, str]]:
    yield "generic", facts.generic
    for brand in facts.brands:
        yield "brand", brand
        yield "brand_and_generic", f"{brand} ({facts.generic})"
        yield "brand_and_generic", f"{facts.generic} ({brand})"


_SALTS = (("hcl", "hydrochloride"), ("hydrochloride", "hcl"))


def _spellings(name: str) -> Iterator[str]:
    """The name, and the same with the salt abbreviated or spelled out: CMS writes both."""
    yield name
    words = name.split(" ")
    for short, long in _SALTS:
        if short in words:
            yield " ".join(long if word == short else word for word in words)


def _lend_facts(gathered: Mapping[str, _Named]) -> None:
    """A drug's facts hold for every name of its codes: a brand finds the approval date of its generic."""
    for entry in gathered.values():
        if entry.facts or entry.kinds.isdisjoint({"brand", "brand_and_generic"}):
            continue
        generics = {code.generic for code in entry.codes.values()}
        if len(generics) == 1:
            named = gathered[normal_name(generics.pop())]
            brands = {normal_name(brand) for code in entry.codes.values() for brand in code.brands}
            entry.facts.extend(
                facts
                for facts in named.facts
                if not facts.brands or brands & {normal_name(brand) for brand in facts.brands}
            )


def _drug_match(name: str, entry: _Named, ingredients: Mapping[str, tuple[DrugCode, ...]]) -> DrugMatch:
    codes = tuple(sorted(entry.codes.values(), key=_start))
    facts = entry.facts
    order: tuple[NameKind, ...] = ("generic", "brand", "brand_and_generic", "other_name")
    rows: tuple[DrugCode | DrugFacts, ...] = (*codes, *facts)
    return DrugMatch(
        name=name,
        kind=next(kind for kind in order if kind in entry.kinds),
        generics=_distinct(row.generic for row in rows),
        brands=_distinct(brand for row in rows for brand in row.brands),
        codes=codes,
        same_ingredient=_others_of_ingredient(name, codes, ingredients),
        fda_approval_date=_agreed(fact.fda_approval_date for fact in facts),
        biologic=_agreed(row.biologic for row in rows),
        antineoplastic=_agreed(row.antineoplastic for row in rows),
        routes=_distinct(route for row in rows for route in row.routes),
        uncoded_through=max((fact.uncoded_through for fact in facts if fact.uncoded_through), default=None),
        sources=_distinct(source for row in rows for source in row.sources),
    )


def _start(code: DrugCode) -> tuple[date, str]:
    return code.effective_from, code.code


def _others_of_ingredient(
    name: str, codes: tuple[DrugCode, ...], ingredients: Mapping[str, tuple[DrugCode, ...]]
) -> tuple[DrugCode, ...]:
    if name in ingredients:
        return ()
    mine = {code.code for code in codes}
    others = {
        other.code: other
        for code in codes
        for generic in (code.generic, *code.other_names)
        for other in ingredients.get(normal_name(generic), ())
        if other.code not in mine
    }
    return tuple(sorted(others.values(), key=_start))


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _agreed(values: Iterable[_T | None]) -> _T | None:
    said = {value for value in values if value is not None}
    return said.pop() if len(said) == 1 else None


_LEAST_SCORE = 80.0
_LONGEST_NAME_IN_WORDS = 6


@lru_cache(maxsize=4_096)
def _near_misses_of(reference: Reference, name: str, limit: int) -> tuple[NearMiss, ...]:
    """Comparing with every name takes a third of a millisecond, and claims repeat their misspellings."""
    return _near_misses(name, reference._names, reference._name_list, limit)


def _near_misses(name: str, names: Mapping[str, DrugMatch], spelled: list[str], limit: int) -> tuple[NearMiss, ...]:
    found: dict[str, tuple[float, NearMissReason]] = {}
    for known in spelled:
        # The FDA appends a hyphen and four letters to names of biologics: without them it is another name.
        if known.startswith(name + "-") and len(known) == len(name) + 5:
            found[known] = (99.0, "missing_suffix")
    for part in _runs_of_words(name):
        if part in names and part != name:
            found.setdefault(part, (90.0 + min(len(part), 90) / 10, "name_within_text"))
    for known, score, _ in process.extract(name, spelled, scorer=fuzz.ratio, limit=limit, score_cutoff=_LEAST_SCORE):
        if known != name:
            found.setdefault(known, (round(score, 1), "spelling"))
    best = sorted(found.items(), key=lambda item: (-item[1][0], item[0]))[:limit]
    return tuple(NearMiss(known, score, reason, names[known]) for known, (score, reason) in best)


def _runs_of_words(name: str) -> Iterator[str]:
    words = name.replace("(", " ").replace(")", " ").replace(",", " ").split()
    for start in range(len(words)):
        for end in range(start + 1, min(start + _LONGEST_NAME_IN_WORDS, len(words)) + 1):
            run = " ".join(words[start:end])
            if len(run) >= 4:
                yield run
