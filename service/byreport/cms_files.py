"""Brings in the files that CMS and the FDA publish, so that the reference tables follow the quarter.

`import_files` recognises each file by what stands in it, not by its name, and writes an overlay directory of
tables that `byreport.reference.Reference.load` lays over the bundled ones. Known layouts:

- HCPCS Level II, quarterly: the fixed-width text and the Excel workbook (CMS, alpha-numeric file)
- ASP pricing file and ASP NDC-HCPCS crosswalk (CMS, comma-separated)
- NOC pricing file and NOC NDC-HCPCS crosswalk (CMS, comma-separated)
- National Drug Code directory, product file (FDA, tab-separated)

and the zip archives in which they are published. Rows that cannot be read are not dropped silently: they are
listed in the report with file, line and column.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from openpyxl import load_workbook

from byreport import descriptors, ndc
from byreport.reference import KEYS, NO_OWN_CODE, Row, read_table

_LARGEST_MEMBER = 500_000_000


class CmsFileError(ValueError):
    """A file that cannot be imported at all: unreadable, or in no known layout. Nothing was written."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that was left out: where it stands, what was found there and what was expected."""

    file: str
    line: int
    column: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.file}: line {self.line}: {self.column}: found {self.found!r}, expected {self.expected}"


@dataclass(frozen=True, slots=True)
class FileReport:
    """What one file turned out to be: its layout, data rows read, table rows written, remarks."""

    file: str
    layout: str
    rows_read: int
    rows_written: int
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What an import did. ``tables``: rows now in each overlay table, by table name."""

    files: tuple[FileReport, ...]
    bad_rows: tuple[BadRow, ...]
    tables: Mapping[str, int]


def import_files(paths: Iterable[Path], into: Path) -> Report:
    """Read the files and write the overlay tables into a directory, which is made when missing.

    Rows of an earlier import stay unless a new row replaces them. Files are taken in the order of the quarter
    they cover, so the order of ``paths`` does not matter. Raises CmsFileError, before anything is written,
    when a file is missing, unreadable or in no known layout.
    """
    sources = [source for path in paths for source in _contents(Path(path))]
    parsed = [_parse(name, content) for name, content in sources]
    overlay = _Overlay(into)
    reports = [overlay.add(part) for part in sorted(parsed, key=lambda part: (part.since, part.file))]
    bad = tuple(row for part in parsed for row in part.bad_rows)
    return Report(tuple(reports), bad, overlay.write())


@dataclass(frozen=True, slots=True)
class HcpcsRecord:
    """One procedure code of a HCPCS Level II release, as CMS has it."""

    code: str
    descriptor: str
    added: date
    terminated: date | None
    coverage: str
    betos: str
    replaced_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HcpcsChanges:
    """What one release has that the one before had not; codes sorted, descriptors compared word for word."""

    added: tuple[str, ...]
    discontinued: tuple[str, ...]
    reworded: tuple[str, ...]
    gone: tuple[str, ...]


def read_hcpcs(path: Path) -> dict[str, HcpcsRecord]:
    """The procedure codes (not the modifiers) of a HCPCS text, workbook, or zip archive holding one.

    Raises CmsFileError when the file is something else.
    """
    parts = [_parse(name, content) for name, content in _contents(Path(path))]
    records = {}
    for part in parts:
        if not part.layout.startswith("HCPCS"):
            raise CmsFileError(f"{part.file}: {part.layout}, not a HCPCS release")
        for row in part.rows:
            records[row["code"]] = HcpcsRecord(
                code=row["code"],
                descriptor=" ".join(row["descriptor"].split()),
                added=date.fromisoformat(row["added"]),
                terminated=date.fromisoformat(row["terminated"]) if row["terminated"] else None,
                coverage=row["coverage"],
                betos=row["betos"],
                replaced_by=tuple(filter(None, row["xref"].split("|"))),
            )
    return records


def hcpcs_changes(before: Mapping[str, HcpcsRecord], after: Mapping[str, HcpcsRecord]) -> HcpcsChanges:
    """What changed from one release to a later one. ``gone`` are codes that CMS no longer lists at all."""
    both = sorted(set(before) & set(after))
    return HcpcsChanges(
        added=tuple(sorted(set(after) - set(before))),
        discontinued=tuple(code for code in both if after[code].terminated and not before[code].terminated),
        reworded=tuple(code for code in both if after[code].descriptor != before[code].descriptor),
        gone=tuple(sorted(set(before) - set(after))),
    )


@dataclass
class _Parsed:
    """One file, read but not yet laid over anything; ``rows`` as table or layout name their fields."""

    file: str
    layout: str
    since: date
    until: date
    rows: list[Row]
    digest: str
    rows_read: int = 0
    bad_rows: list[BadRow] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def source_id(self) -> str:
        return f"imported-{self.digest[:12]}"

    @property
    def quarter(self) -> str:
        return f"{self.since.year}q{(self.since.month + 2) // 3}"


# --- opening ----------------------------------------------------------------------------------------


def _contents(path: Path) -> Iterator[tuple[str, bytes]]:
    """The file itself, or the members of a zip archive that may hold data, as (name, bytes)."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CmsFileError(f"{path}: cannot be read: {error.strerror}") from error
    if not zipfile.is_zipfile(io.BytesIO(content)) or _is_workbook(content):
        yield str(path), content
        return
    found = False
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for member in archive.infolist():
            name = f"{path}!{member.filename}"
            if member.is_dir() or not re.search(r"\.(?:txt|csv|xlsx)$", member.filename, re.IGNORECASE):
                continue
            if member.file_size > _LARGEST_MEMBER:
                raise CmsFileError(f"{name}: {member.file_size} bytes unpacked; no CMS file is that large")
            inner = archive.read(member)
            if _layout(inner) is not None:
                found = True
                yield name, inner
    if not found:
        raise CmsFileError(f"{path}: no member of the archive is in a known layout ({_KNOWN})")


def _is_workbook(content: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return "xl/workbook.xml" in archive.namelist()
    except zipfile.BadZipFile:
        return False


def _parse(name: str, content: bytes) -> _Parsed:
    layout = _layout(content)
    if layout is None:
        raise CmsFileError(f"{name}: in none of the known layouts ({_KNOWN})")
    parsed = _PARSERS[layout](name, content)
    if not parsed.rows:
        raise CmsFileError(f"{name}: looks like {layout}, but not one row could be read")
    return parsed


def _layout(content: bytes) -> str | None:
    if _is_workbook(content):
        return "HCPCS workbook" if _workbook_header(_workbook_rows(content, 40)) else None
    head = content[:60_000].decode("latin-1")
    return next((layout for layout, mark in _MARKS.items() if mark.search(head)), None)


_MARKS = {
    "NDC directory": re.compile(r"\A(?:\xef\xbb\xbf)?PRODUCTID\tPRODUCTNDC\t"),
    "NOC crosswalk": re.compile(r"^\"?Drug Generic Name\"?,\"?LABELER NAME", re.MULTILINE | re.IGNORECASE),
    "NOC pricing": re.compile(r"^\"?Drug Generic Name \(Trade Name\)", re.MULTILINE | re.IGNORECASE),
    "ASP crosswalk": re.compile(r"^_?\d{4}_CODE,", re.MULTILINE | re.IGNORECASE),
    "ASP pricing": re.compile(r"^\"?HCPCS Code\"?,.*Payment Limit", re.MULTILINE | re.IGNORECASE),
    "HCPCS text": re.compile(r"^(?:[A-Z]\d{4}|   [A-Z0-9]{2})\d{5}[37].{80}", re.MULTILINE),
}
_KNOWN = "HCPCS text or workbook, ASP pricing, ASP crosswalk, NOC pricing, NOC crosswalk, NDC directory"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# --- HCPCS Level II ---------------------------------------------------------------------------------

# First and last position (from 1, inclusive) of the fields used, from CMS's record layout of the file.
_POSITIONS = {
    "code": (1, 5),
    "record": (11, 11),
    "descriptor": (12, 91),
    "xref": (205, 229),
    "coverage": (230, 230),
    "betos": (257, 259),
    "added": (269, 276),
    "action_effective": (277, 284),
    "terminated": (285, 292),
}
_RECORD = re.compile(r"(?:[A-Z0-9]{5}|   [A-Z0-9]{2})[0-9]{5}[3478]")


def _hcpcs_text(name: str, content: bytes) -> _Parsed:
    rows: list[Row] = []
    bad: list[BadRow] = []
    records = 0
    for number, line in enumerate(content.decode("latin-1").splitlines(), start=1):
        if not _RECORD.match(line):
            if rows and line.strip():
                bad.append(BadRow(name, number, "1-11", line[:20], "code, sequence number and record id"))
            continue
        records += 1
        record = {key: line[first - 1 : last] for key, (first, last) in _POSITIONS.items()}
        if record["record"] == "3":
            record["line"] = str(number)
            rows.append({key: text.strip() for key, text in record.items()})
        elif record["record"] == "4":
            _continue(rows, record, bad, name, number)
    return _hcpcs(name, content, "HCPCS text", rows, bad, records)


def _continue(rows: list[Row], record: Row, bad: list[BadRow], name: str, number: int) -> None:
    if rows and rows[-1]["code"] == record["code"].strip():
        rows[-1]["descriptor"] += " " + record["descriptor"].strip()
    else:
        bad.append(BadRow(name, number, "1-5", record["code"], "the code of the line before"))


_WORKBOOK_COLUMNS = {
    "HCPC": "code",
    "RECID": "record",
    "LONG DESCRIPTION": "descriptor",
    "COV": "coverage",
    "BETOS": "betos",
    "ADD DT": "added",
    "ACT EFF DT": "action_effective",
    "TERM DT": "terminated",
}


def _workbook_rows(content: bytes, limit: int | None = None) -> list[tuple[Any, ...]]:
    book = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    try:
        sheet = book.worksheets[0]
        return list(sheet.iter_rows(max_row=limit, values_only=True))
    finally:
        book.close()


def _workbook_header(rows: Sequence[tuple[Any, ...]]) -> tuple[int, dict[str, int]] | None:
    """Row number (from 0) and place of each column in the header of a HCPCS workbook, or None."""
    for number, row in enumerate(rows):
        names = {_text(cell): place for place, cell in enumerate(row)}
        if {"HCPC", "LONG DESCRIPTION", "ADD DT"} <= set(names):
            return number, names
    return None


def _text(cell: Any) -> str:
    return "" if cell is None else " ".join(str(cell).split())


def _hcpcs_workbook(name: str, content: bytes) -> _Parsed:
    table = _workbook_rows(content)
    header = _workbook_header(table)
    assert header is not None, "recognised by this header"
    start, places = header
    missing = sorted(set(_WORKBOOK_COLUMNS) - set(places))
    if missing:
        raise CmsFileError(f"{name}: line {start + 1}: column {missing[0]} is missing from the header")
    rows: list[Row] = []
    bad: list[BadRow] = []
    records = 0
    for number, cells in enumerate(table[start + 1 :], start=start + 2):
        record = {key: _text(cells[places[column]]) for column, key in _WORKBOOK_COLUMNS.items()}
        if not any(record.values()):
            continue
        records += 1
        xrefs = (_text(cells[place]) for column, place in places.items() if re.fullmatch(r"XREF\d", column))
        record["xref"] = " ".join(filter(None, xrefs))
        record["line"] = str(number)
        if record["record"] == "3":
            rows.append(record)
        elif record["record"] == "4":
            _continue(rows, record, bad, name, number)
        elif record["record"] not in ("7", "8"):
            bad.append(BadRow(name, number, "RECID", record["record"], "3, 4, 7 or 8"))
    return _hcpcs(name, content, "HCPCS workbook", rows, bad, records)


def _hcpcs(name: str, content: bytes, layout: str, rows: list[Row], bad: list[BadRow], records: int) -> _Parsed:
    """Dates checked and written as dates; the release's quarter is that of the newest action in it."""
    good = []
    newest = date.min
    for row in rows:
        try:
            for column in ("added", "action_effective", "terminated"):
                row[column] = _hcpcs_date(row[column])
        except ValueError:
            bad.append(BadRow(name, int(row["line"]), column, row[column], "a date as YYYYMMDD, or nothing"))
            continue
        if not row["added"]:
            bad.append(BadRow(name, int(row["line"]), "added", "", "the date the code was added"))
            continue
        row["xref"] = "|".join(re.findall(r"[A-Z]\d{4}", row["xref"]))
        good.append(row)
        newest = max([newest, *(date.fromisoformat(row[c]) for c in ("added", "action_effective") if row[c])])
    since, until = _quarter_of(newest) if good else (date.min, date.min)
    return _Parsed(name, layout, since, until, good, _digest(content), records, bad)


def _hcpcs_date(text: str) -> str:
    if not text:
        return ""
    if not re.fullmatch(r"\d{8}", text):
        raise ValueError(text)
    return date(int(text[:4]), int(text[4:6]), int(text[6:])).isoformat()


def _quarter_of(day: date) -> tuple[date, date]:
    """First and last day of the calendar quarter that holds the day."""
    month = day.month - (day.month - 1) % 3
    first = date(day.year, month, 1)
    following = date(day.year + month // 12, (month + 2) % 12 + 1, 1) if month < 10 else date(day.year + 1, 1, 1)
    return first, following - timedelta(days=1)


# --- Medicare Part B prices and NDC crosswalks ------------------------------------------------------

_MONTHS = {"january": 1, "april": 4, "july": 7, "october": 10}
_EFFECTIVE = re.compile(r"(january|april|july|october) 1, ?(\d{4}) through", re.IGNORECASE)


def _comma_separated(
    name: str, content: bytes, layout: str, columns: Mapping[str, re.Pattern[str]]
) -> tuple[_Parsed, Iterator[tuple[int, Row]]]:
    """The quarter a CMS price or crosswalk file says it covers, and its data rows under our column names.

    ``columns`` finds each column by a pattern for its heading: CMS renames them now and then.
    """
    table = list(csv.reader(io.StringIO(content.decode("latin-1"), newline="")))
    preamble = " ".join(cell for row in table[:12] for cell in row)
    effective = _EFFECTIVE.search(preamble)
    if effective is None:
        raise CmsFileError(f"{name}: line 1: no 'Effective <month> 1, <year> through' in the first lines")
    since, until = _quarter_of(date(int(effective[2]), _MONTHS[effective[1].lower()], 1))
    start, places = _header(name, table, columns)
    parsed = _Parsed(name, layout, since, until, [], _digest(content))

    def rows() -> Iterator[tuple[int, Row]]:
        for number, cells in enumerate(table[start + 1 :], start=start + 2):
            if not any(cell.strip() for cell in cells):
                continue
            parsed.rows_read += 1
            padded = [*cells, *[""] * (max(places.values()) + 1 - len(cells))]
            yield number, {key: _text(padded[place]) for key, place in places.items()}

    return parsed, rows()


def _header(
    name: str, table: Sequence[Sequence[str]], columns: Mapping[str, re.Pattern[str]]
) -> tuple[int, dict[str, int]]:
    best: tuple[int, dict[str, int]] = (0, {})
    for number, row in enumerate(table[:40]):
        places: dict[str, int] = {}
        for key, pattern in columns.items():
            place = next((i for i, cell in enumerate(row) if pattern.fullmatch(cell.strip())), None)
            if place is not None:
                places[key] = place
        if len(places) == len(columns):
            return number, places
        if len(places) > len(best[1]):
            best = number, places
    missing = next(key for key in columns if key not in best[1])
    raise CmsFileError(
        f"{name}: line {best[0] + 1}: no column for {missing} (heading like {columns[missing].pattern!r})"
    )


def _headings(**patterns: str) -> dict[str, re.Pattern[str]]:
    return {key: re.compile(pattern, re.IGNORECASE) for key, pattern in patterns.items()}


def _amount(text: str) -> str:
    """An amount of dollars as plain decimal digits. Raises ValueError when it is none."""
    plain = text.replace("$", "").replace(",", "").strip()
    try:
        value = Decimal(plain)
    except InvalidOperation:
        raise ValueError(text) from None
    if not value.is_finite() or value < 0:
        raise ValueError(text)
    return plain


def _asp_pricing(name: str, content: bytes) -> _Parsed:
    columns = _headings(code="HCPCS Code", dosage=r"HCPCS Code Dosage|Dosage", limit="Payment Limit", notes="Notes")
    parsed, rows = _comma_separated(name, content, "ASP pricing", columns)
    passed = 0
    for number, row in rows:
        if not _belongs(row["code"]):
            passed += 1
            continue
        try:
            limit = _amount(row["limit"])
        except ValueError:
            parsed.bad_rows.append(BadRow(name, number, "Payment Limit", row["limit"], "an amount in dollars"))
            continue
        parsed.rows.append(_limit_row(parsed, row["code"], "", row["dosage"], limit, row["notes"]))
    _remark_passed(parsed, passed)
    return parsed


def _noc_pricing(name: str, content: bytes) -> _Parsed:
    columns = _headings(name=r"Drug Generic Name.*", dosage="Dosage", limit="Payment Limit", notes="Notes")
    parsed, rows = _comma_separated(name, content, "NOC pricing", columns)
    for number, row in rows:
        try:
            limit = _amount(row["limit"])
        except ValueError:
            parsed.bad_rows.append(BadRow(name, number, "Payment Limit", row["limit"], "an amount in dollars"))
            continue
        parsed.rows.append(_limit_row(parsed, NO_OWN_CODE, row["name"], row["dosage"], limit, row["notes"]))
    return parsed


def _limit_row(parsed: _Parsed, code: str, name: str, dosage: str, limit: str, notes: str) -> Row:
    return {
        "code": code,
        "name": name,
        "effective_from": parsed.since.isoformat(),
        "effective_to": parsed.until.isoformat(),
        "dosage": dosage,
        "payment_limit": limit,
        "notes": notes,
        "source": parsed.source_id,
    }


def _asp_crosswalk(name: str, content: bytes) -> _Parsed:
    columns = _headings(code=r"_?\d{4}_CODE", ndc=r"NDC2?|NDC or ALTERNATE ID", drug_name="Drug Name")
    parsed, rows = _comma_separated(name, content, "ASP crosswalk", columns)
    passed = 0
    for number, row in rows:
        if not _belongs(row["code"]):
            passed += 1
            continue
        _link(parsed, number, row["code"], row["ndc"], row["drug_name"])
    _remark_passed(parsed, passed)
    return parsed


def _noc_crosswalk(name: str, content: bytes) -> _Parsed:
    columns = _headings(generic="Drug Generic Name", ndc=r"NDC or ALTERNATE ID|NDC2?", drug_name="Drug Name")
    parsed, rows = _comma_separated(name, content, "NOC crosswalk", columns)
    for number, row in rows:
        _link(parsed, number, NO_OWN_CODE, row["ndc"], row["generic"])
    return parsed


def _link(parsed: _Parsed, number: int, code: str, written: str, drug_name: str) -> None:
    try:
        product = ndc.product(ndc.normalise(written))
    except ndc.NdcError as error:
        parsed.bad_rows.append(BadRow(parsed.file, number, "NDC", written, f"an NDC: {error}"))
        return
    parsed.rows.append(
        {
            "product": product,
            "code": code,
            "first_quarter": parsed.quarter,
            "last_quarter": parsed.quarter,
            "drug_name": drug_name,
            "source": parsed.source_id,
        }
    )


def _belongs(code: str) -> bool:
    """Whether a code is of HCPCS Level II and no skin substitute.

    CPT codes stand in the same files; they are licensed by the AMA and no part of the tables. Skin
    substitutes are no drugs and are listed under identifiers that are no NDCs.
    """
    return re.fullmatch(r"[A-CE-Z]\d{4}", code) is not None and not re.match(r"Q4[1-3]", code)


def _remark_passed(parsed: _Parsed, count: int) -> None:
    if count:
        parsed.remarks.append(f"{count} rows under CPT or CDT codes or of skin substitutes passed over")


# --- FDA's National Drug Code directory -------------------------------------------------------------

_PRODUCT_COLUMNS = (
    "PRODUCTNDC",
    "PRODUCTTYPENAME",
    "PROPRIETARYNAME",
    "PROPRIETARYNAMESUFFIX",
    "NONPROPRIETARYNAME",
    "ROUTENAME",
    "STARTMARKETINGDATE",
    "MARKETINGCATEGORYNAME",
)
_LICENSED = frozenset({"BLA", "STANDARDIZED ALLERGENIC", "CELLULAR THERAPY", "PLASMA DERIVATIVE", "VACCINE"})
_APPROVED_DRUG = frozenset({"NDA", "ANDA", "NDA AUTHORIZED GENERIC"})


def _ndc_directory(name: str, content: bytes) -> _Parsed:
    """Products of the directory gathered by nonproprietary name: brands, routes, and BLA or NDA.

    A name under which some products are licensed as biologics and others approved as drugs stays undecided.
    """
    text = content.decode("utf-8-sig", errors="strict") if _is_utf8(content) else content.decode("cp1252")
    lines = text.splitlines()
    header = lines[0].split("\t")
    missing = [column for column in _PRODUCT_COLUMNS if column not in header]
    if missing:
        raise CmsFileError(f"{name}: line 1: column {missing[0]} is missing from the header")
    parsed = _Parsed(name, "NDC directory", date.min, date.min, [], _digest(content))
    gathered: dict[str, _Product] = {}
    newest = ""
    for number, line in enumerate(lines[1:], start=2):
        cells = line.split("\t")
        parsed.rows_read += 1
        if len(cells) < len(header):
            expected = f"{len(header)} tab-separated columns"
            parsed.bad_rows.append(BadRow(name, number, "-", f"{len(cells)} columns", expected))
            continue
        row = {column: cell.strip() for column, cell in zip(header, cells, strict=False)}
        generic = " ".join(row["NONPROPRIETARYNAME"].casefold().split())
        if not generic:
            parsed.bad_rows.append(BadRow(name, number, "NONPROPRIETARYNAME", "", "a name"))
            continue
        newest = max(newest, row["STARTMARKETINGDATE"])
        gathered.setdefault(generic, _Product()).add(row)
    parsed.rows = [product.row(generic, parsed.source_id) for generic, product in sorted(gathered.items())]
    if re.fullmatch(r"\d{8}", newest):
        parsed.since = parsed.until = date.fromisoformat(_hcpcs_date(newest))
    return parsed


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return False
    return True


@dataclass
class _Product:
    """What the directory says of the products of one nonproprietary name."""

    brands: dict[str, str] = field(default_factory=dict)
    routes: set[str] = field(default_factory=set)
    licensed: bool = False
    approved: bool = False

    def add(self, row: Row) -> None:
        generic = " ".join(row["NONPROPRIETARYNAME"].casefold().split())
        brand = " ".join(f"{row['PROPRIETARYNAME']} {row['PROPRIETARYNAMESUFFIX']}".split())
        # A label that repeats the ingredient is no brand ("Vancomycin Hydrochloride").
        words = set(re.findall(r"[a-z]{4,}", generic))
        if brand and not words & set(re.findall(r"[a-z]{4,}", brand.casefold())):
            self.brands.setdefault(brand.casefold(), brand)
        self.routes.update(route.strip().lower() for route in row["ROUTENAME"].split(";") if route.strip())
        self.licensed |= row["MARKETINGCATEGORYNAME"] in _LICENSED or row["PRODUCTTYPENAME"] in _LICENSED
        self.approved |= row["MARKETINGCATEGORYNAME"] in _APPROVED_DRUG

    def row(self, generic: str, source: str) -> Row:
        decided = self.licensed != self.approved
        return {
            "generic": generic.replace("|", "/"),
            "brands": "|".join(sorted(brand.replace("|", "/") for brand in self.brands.values())),
            "fda_approval_date": "",
            "biologic": ("true" if self.licensed else "false") if decided else "",
            "antineoplastic": "",
            "route": "|".join(sorted(self.routes)),
            "uncoded_through": "",
            "basis": f"biologic=marketing_category:{'BLA' if self.licensed else 'NDA'}" if decided else "",
            "source": source,
        }


_PARSERS: dict[str, Callable[[str, bytes], _Parsed]] = {
    "HCPCS text": _hcpcs_text,
    "HCPCS workbook": _hcpcs_workbook,
    "ASP pricing": _asp_pricing,
    "ASP crosswalk": _asp_crosswalk,
    "NOC pricing": _noc_pricing,
    "NOC crosswalk": _noc_crosswalk,
    "NDC directory": _ndc_directory,
}


# --- the overlay ------------------------------------------------------------------------------------


class _Overlay:
    """The tables of an overlay directory while files are laid into them; written out together at the end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tables: dict[str, dict[tuple[str, ...], Row]] = {}
        for table in (
            "hcpcs.csv",
            "drugs.csv",
            "ndc.csv",
            "payment_limits.csv",
            "release.csv",
            "sources.csv",
        ):
            self.tables[table] = _keyed(table, read_table(table, directory))
        self.bundled = {table: _keyed(table, read_table(table)) for table in ("hcpcs.csv", "noc_codes.csv")}
        self.makers = {row["maker"].lower() for row in self.bundled["hcpcs.csv"].values() if row["maker"]}
        release = read_table("release.csv")[0]
        self.release = self.tables["release.csv"].get(("hcpcs.csv",), release)

    def add(self, part: _Parsed) -> FileReport:
        if part.layout.startswith("HCPCS"):
            written = self._add_hcpcs(part)
        elif part.layout.endswith("crosswalk"):
            written = self._add_links(part)
        elif part.layout.endswith("pricing"):
            written = self._put("payment_limits.csv", part.rows)
        else:
            written = self._add_drugs(part)
        self._add_source(part)
        return FileReport(part.file, part.layout, part.rows_read, written, tuple(part.remarks))

    def _put(self, table: str, rows: Iterable[Row]) -> int:
        keyed = _keyed(table, rows)
        self.tables[table].update(keyed)
        return len(keyed)

    def _add_hcpcs(self, part: _Parsed) -> int:
        older = part.until < date.fromisoformat(self.release["complete_through"])
        if older:
            part.remarks.append(
                f"release of {part.quarter}, older than the tables: only its termination dates were taken"
            )
        rows = [row for record in part.rows for row in self._hcpcs_row(record, part, older)]
        if not older:
            self.release = {
                **self.release,
                "complete_through": part.until.isoformat(),
                "source": part.source_id,
            }
            self._put("release.csv", [self.release])
        return self._put("hcpcs.csv", rows)

    def _hcpcs_row(self, record: Row, part: _Parsed, older: bool) -> Iterator[Row]:
        code = record["code"]
        key = (code,)
        known = self.tables["hcpcs.csv"].get(key) or self.bundled["hcpcs.csv"].get(key)
        if known is not None:
            changed = _updated(known, record, part.source_id, older)
            if changed is not None:
                yield changed
        elif key in self.bundled["noc_codes.csv"] or older:
            return
        elif re.search(r"not otherwise (?:classified|specified)|\bunclassified\b|unlisted", record["descriptor"], re.I):
            if descriptors.is_drug(code, record["descriptor"], record["betos"]):
                part.remarks.append(f"{code} looks like a NOC code that the tables lack: {record['descriptor']}")
        elif descriptors.is_drug(code, record["descriptor"], record["betos"]):
            yield _new_code(record, part.source_id, self.makers)

    def _add_links(self, part: _Parsed) -> int:
        known = _keyed("ndc.csv", read_table("ndc.csv")) | self.tables["ndc.csv"]
        rows = []
        for row in part.rows:
            before = known.get((row["product"], row["code"]))
            if before is not None:
                newer = row["last_quarter"] >= before["last_quarter"]
                latest = row if newer else before
                row = {
                    **latest,
                    "first_quarter": min(row["first_quarter"], before["first_quarter"]),
                    "last_quarter": max(row["last_quarter"], before["last_quarter"]),
                }
            rows.append(row)
        distinct = _keyed("ndc.csv", rows)
        return self._put("ndc.csv", distinct.values())

    def _add_drugs(self, part: _Parsed) -> int:
        """Directory rows over the facts already known: what the directory does not say stays as it was."""
        known = _keyed("drugs.csv", read_table("drugs.csv")) | self.tables["drugs.csv"]
        rows = []
        for row in part.rows:
            before = known.get((row["generic"],), {})
            rows.append({column: text or before.get(column, "") for column, text in row.items()})
        return self._put("drugs.csv", rows)

    def _add_source(self, part: _Parsed) -> None:
        covered = "" if part.since == date.min else f"{part.since.isoformat()} to {part.until.isoformat()}"
        row = {
            "id": part.source_id,
            "publisher": "FDA" if part.layout == "NDC directory" else "CMS",
            "title": f"{part.layout}, {covered}".rstrip(", "),
            "url": "",
            "published": part.since.isoformat() if covered else "",
            "note": f"imported from {Path(part.file.split('!')[0]).name}, sha256 {part.digest}",
        }
        self._put("sources.csv", [row])

    def write(self) -> dict[str, int]:
        """Each table whole, beside its place and then renamed into it; release.csv last."""
        self.directory.mkdir(parents=True, exist_ok=True)
        filled = {table: rows for table, rows in self.tables.items() if rows}
        for table in sorted(filled, key=lambda name: (name == "release.csv", name)):
            _write_table(self.directory / table, sorted(filled[table].items()))
        return {table: len(rows) for table, rows in sorted(filled.items())}


def _keyed(table: str, rows: Iterable[Row]) -> dict[tuple[str, ...], Row]:
    return {tuple(row[part] for part in KEYS[table]): row for row in rows}


def _updated(known: Row, record: Row, source: str, older: bool) -> Row | None:
    """The known row with what the release says of its dates; None when nothing changes."""
    row = dict(known)
    if record["terminated"]:
        row.update(effective_to=record["terminated"], effective_to_latest="", end_basis="cms_term_date")
    elif not older:
        row.update(effective_to="", effective_to_latest="", end_basis="")
    if not older:
        row.update(effective_from=record["added"], medicare_coverage=record["coverage"])
    if record["xref"] and record["terminated"]:
        row["replaced_by"] = record["xref"]
    if row == known:
        return None
    row["source"] = "|".join(dict.fromkeys([*known["source"].split("|"), source]))
    return row


def _new_code(record: Row, source: str, makers: set[str]) -> Row:
    parts = descriptors.split(record["descriptor"])
    traits = descriptors.traits(record["code"], parts.generic, parts.biosimilar)
    labels = [descriptors.brand_or_maker(label, makers) for label in parts.labels]
    maker = parts.maker.title() or next((made for _, made in labels if made), "")
    return {
        "code": record["code"],
        "generic": parts.generic,
        "other_names": "|".join(parts.other_names),
        "brands": "|".join(brand for brand, _ in labels if brand),
        "maker": maker,
        "unit": parts.unit,
        "effective_from": record["added"],
        "effective_to": record["terminated"],
        "effective_to_latest": "",
        "end_basis": "cms_term_date" if record["terminated"] else "",
        "temporary": "true" if record["code"].startswith("C") else "false",
        "replaced_by": record["xref"] if record["terminated"] else "",
        "biologic": "true" if traits.biologic else "",
        "antineoplastic": "true" if traits.antineoplastic else "",
        "biosimilar": "true" if parts.biosimilar else "false",
        "route": "|".join(parts.routes),
        "medicare_coverage": record["coverage"],
        "basis": "|".join(traits.basis),
        "source": source,
    }


def _write_table(path: Path, rows: Sequence[tuple[tuple[str, ...], Row]]) -> None:
    columns = list(rows[0][1])
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(row for _, row in rows)
        os.replace(beside, path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
