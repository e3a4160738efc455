"""The files that CMS and the FDA publish become tables that the reference reads."""

from __future__ import annotations

import csv
import gzip
import os
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook, load_workbook

from byreport.cms_files import (
    CmsFileError,
    Report,
    hcpcs_changes,
    import_files,
    read_hcpcs,
)
from byreport.reference import Reference

MADE = Path(__file__).parent / "data" / "cms"
APRIL = MADE / "hcpcs_2026_april.txt"
PUBLISHED = Path(
    os.environ.get(
        "BYREPORT_REFERENCE_DATA",
        Path(__file__).resolve().parent.parent.parent / "shared" / "reference" / "data",
    )
)
with_published = pytest.mark.skipif(
    not PUBLISHED.is_dir(),
    reason="the files as published are not here; set BYREPORT_REFERENCE_DATA to their directory",
)


def bring(into: Path, *names: str) -> tuple[Report, Reference]:
    report = import_files([MADE / name for name in names], into)
    return report, Reference.load(into)


# --- HCPCS ------------------------------------------------------------------------------------------


def test_a_new_release_moves_the_end_of_what_is_known(tmp_path: Path) -> None:
    _, reference = bring(tmp_path, APRIL.name)
    assert Reference.load().through == date(2026, 3, 31)
    assert reference.through == date(2026, 6, 30)
    assert reference.codes_for("Enspryng", date(2026, 5, 1), "office").status == "uncertain"
    assert reference.codes_for("Skysona", date(2026, 5, 1), "office")[0].code == "J3387"


def test_a_new_code_is_in_force_from_its_day_and_its_c_code_until_the_day_before(tmp_path: Path) -> None:
    _, reference = bring(tmp_path, APRIL.name)
    new, temporary = reference.codes["J3998"], reference.codes["C9998"]
    assert (new.generic, new.unit, new.effective_from) == ("examplimab-abcd", "1 mg", date(2026, 4, 1))
    assert (new.biologic, new.basis) == (True, "biologic=suffix")
    assert (temporary.temporary, temporary.effective_to) == (True, date(2026, 3, 31))
    assert (temporary.end_basis, temporary.replaced_by) == ("cms_term_date", ("J3998",))
    march = reference.codes_for("examplimab-abcd", date(2026, 3, 31), "hospital_outpatient")
    assert [code.code for code in march] == ["C9998"]
    april = reference.codes_for("examplimab-abcd", date(2026, 4, 1), "hospital_outpatient")
    assert [code.code for code in april] == ["J3998"]


def test_a_descriptor_that_runs_over_two_lines_is_read_whole(tmp_path: Path) -> None:
    _, reference = bring(tmp_path, APRIL.name)
    code = reference.codes["J3999"]
    assert (code.generic, code.maker, code.unit) == ("samplecillin sodium", "Hikma", "500 mg")
    assert reference.match("samplecillin sodium (Hikma)") is not None


def test_a_discontinued_code_ends_and_an_unchanged_one_keeps_its_names(tmp_path: Path) -> None:
    _, reference = bring(tmp_path, APRIL.name)
    assert reference.codes["J9275"].effective_to == date(2026, 3, 31)
    assert Reference.load().codes["J9275"].effective_to is None
    assert reference.codes["J3032"].brands == ("Vyepti",)


def test_noc_codes_supplies_and_modifiers_do_not_become_drug_codes(tmp_path: Path) -> None:
    report, reference = bring(tmp_path, APRIL.name)
    assert not {"J3490", "C9399", "E0100", "JZ", "J3997"} & set(reference.codes)
    assert any("J3997 looks like a NOC code" in remark for remark in report.files[0].remarks)


def test_a_changed_row_names_the_file_it_came_from(tmp_path: Path) -> None:
    _, reference = bring(tmp_path, APRIL.name)
    source = reference.source(reference.codes["J3998"].sources[0])
    assert source is not None
    assert "hcpcs_2026_april.txt" in source["note"]
    assert source["published"] == "2026-04-01"


def test_bad_rows_are_listed_with_line_and_column_and_the_rest_is_read(tmp_path: Path) -> None:
    report, reference = bring(tmp_path, "hcpcs_with_bad_rows.txt")
    found = {(row.line, row.column, row.found) for row in report.bad_rows}
    assert found == {(5, "added", "2026APR1"), (8, "1-5", "J3994")}
    assert all("hcpcs_with_bad_rows.txt" in str(row) and row.expected for row in report.bad_rows)
    assert "J3995" not in reference.codes
    assert "J3998" in reference.codes


def test_workbook_text_and_zip_give_the_same_table(tmp_path: Path) -> None:
    book = tmp_path / "anweb.xlsx"
    _workbook(book)
    archive = tmp_path / "published.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(APRIL, "HCPC2026_APR_ANWEB.txt")
        packed.writestr("readme.pdf", b"no data")
    tables = []
    for name, path in (("text", APRIL), ("book", book), ("zip", archive)):
        import_files([path], tmp_path / name)
        rows = list(csv.DictReader((tmp_path / name / "hcpcs.csv").open()))
        tables.append([{**row, "source": ""} for row in rows])
    assert tables[0] == tables[1] == tables[2]
    assert {row["code"] for row in tables[0]} >= {"J3998", "J3999", "C9998", "J9275"}


def _workbook(path: Path) -> None:
    """The release of the text fixture as CMS lays out its workbook: notes, a header, dates as text."""
    book = Workbook()
    sheet: Any = book.active
    sheet.append(["Disclaimers"])
    sheet.append([])
    header = ["HCPC", "SEQNUM", "RECID", "LONG DESCRIPTION", "XREF1", "XREF2", "COV", "BETOS"]
    sheet.append([*header, "ADD DT", "ACT EFF DT", "TERM DT", "ACTION CD"])
    text = APRIL.read_text(encoding="latin-1").splitlines()[2:]
    for line in text:
        cut = [line[0:5], "0010", line[10], line[11:91], line[204:209], "", line[229], line[256:259]]
        cut += [line[268:276], line[276:284], line[284:292], line[292]]
        sheet.append([cell.strip() or None for cell in cut])
    sheet.append([None] * 12)
    book.save(path)


def test_a_release_older_than_the_tables_gives_only_its_termination_dates(tmp_path: Path) -> None:
    old = tmp_path / "old.txt"
    lines = APRIL.read_text(encoding="latin-1").replace("2026", "2019")
    old.write_text(lines, encoding="latin-1")
    report = import_files([old], tmp_path / "tables")
    reference = Reference.load(tmp_path / "tables")
    assert "older than the tables" in report.files[0].remarks[0]
    assert reference.through == date(2026, 3, 31)
    assert "J3998" not in reference.codes
    assert reference.codes["J2596"] == Reference.load().codes["J2596"]


def test_changes_between_two_releases(tmp_path: Path) -> None:
    after = read_hcpcs(APRIL)
    before = {code: record for code, record in after.items() if code not in ("J3998", "J3999")}
    changes = hcpcs_changes(before, after)
    assert changes.added == ("J3998", "J3999")
    assert (changes.discontinued, changes.reworded, changes.gone) == ((), (), ())
    assert hcpcs_changes(after, before).gone == ("J3998", "J3999")


# --- prices and NDCs --------------------------------------------------------------------------------


def test_asp_limits_hold_for_the_quarter_the_file_states(tmp_path: Path) -> None:
    report, reference = bring(tmp_path, "asp_pricing_2026_april.csv")
    april = reference.payment_limit("J3032", date(2026, 4, 1))
    assert april is not None
    assert (str(april.dollars), april.effective_to) == ("21.125", date(2026, 6, 30))
    march = reference.payment_limit("J3032", date(2026, 3, 31))
    assert march is not None
    assert str(march.dollars) == "20.502"
    thousands = reference.payment_limit("J3998", date(2026, 6, 30))
    assert thousands is not None
    assert str(thousands.dollars) == "1234.500"
    assert [(row.line, row.column, row.found) for row in report.bad_rows] == [(9, "Payment Limit", "N/A")]


def test_codes_of_other_owners_are_passed_over_and_counted(tmp_path: Path) -> None:
    report, reference = bring(tmp_path, "asp_pricing_2026_april.csv", "asp_crosswalk_2026_april.csv")
    assert reference.payment_limit("12345", date(2026, 4, 1)) is None
    assert reference.by_ndc("99999099901") == ()
    assert [file.remarks[0][:6] for file in report.files] == ["1 rows", "1 rows"]


def test_an_ndc_crosswalk_extends_what_earlier_quarters_showed(tmp_path: Path) -> None:
    report, reference = bring(tmp_path, "asp_crosswalk_2026_april.csv")
    (new,) = reference.by_ndc("99999012302")
    assert (new.code, new.first_quarter, new.drug_name) == ("J3998", "2026q2", "Examplo")
    vasopressin = reference.by_ndc("81298855203")[0]
    assert (vasopressin.code, vasopressin.first_quarter, vasopressin.last_quarter) == (
        "J2596",
        "2026q1",
        "2026q2",
    )
    (bad,) = report.bad_rows
    assert (bad.line, bad.column, bad.found) == (8, "NDC", "9999901234")
    assert "short segment" in bad.expected


def test_noc_prices_and_products_are_found_by_name_and_ndc(tmp_path: Path) -> None:
    _, reference = bring(tmp_path, "noc_pricing_2026_april.csv", "noc_crosswalk_2026_april.csv")
    limit = reference.noc_payment_limit("placebomab (Nadapharm)", date(2026, 5, 5))
    assert limit is not None
    assert str(limit.dollars) == "12.340"
    (link,) = reference.by_ndc("99998000103")
    assert (link.code, link.drug_name) == ("NOC", "Placebomab (Nadapharm)")


# --- the FDA's directory ----------------------------------------------------------------------------


def test_the_directory_tells_biologics_from_drugs_and_brands_from_labels(tmp_path: Path) -> None:
    report, reference = bring(tmp_path, "product.txt")
    brand, drug, either = (reference.match(n) for n in ("Examplo", "samplecillin sodium", "bothwayase"))
    assert brand is not None
    assert drug is not None
    assert either is not None
    assert (brand.generics, brand.biologic, brand.routes) == (
        ("examplimab-abcd",),
        True,
        ("intravenous", "subcutaneous"),
    )
    assert (drug.biologic, drug.brands, either.biologic) == (False, (), None)
    assert [(row.line, row.found) for row in report.bad_rows] == [(7, "3 columns")]


def test_a_drug_only_the_directory_knows_is_not_said_to_have_no_code(tmp_path: Path) -> None:
    _, reference = bring(tmp_path, "product.txt")
    assert reference.codes_for("Examplo", date(2026, 1, 15), "office").status == "uncertain"


def test_the_directory_keeps_what_only_the_tables_knew(tmp_path: Path) -> None:
    _, reference = bring(tmp_path, "product.txt")
    vyepti = reference.match("Vyepti")
    assert vyepti is not None
    assert vyepti.fda_approval_date == date(2020, 2, 21)


def test_a_brand_of_the_directory_finds_the_code_of_its_ingredient(tmp_path: Path) -> None:
    _, reference = bring(tmp_path, "product.txt", APRIL.name)
    assert [code.code for code in reference.codes_for("Examplo", date(2026, 4, 1), "office")] == ["J3998"]


# --- imports as a whole -----------------------------------------------------------------------------

ALL = sorted(path.name for path in MADE.iterdir() if path.suffix in (".txt", ".csv") and "bad" not in path.name)


def test_the_order_of_files_and_doing_it_twice_change_nothing(tmp_path: Path) -> None:
    once, other_way = tmp_path / "once", tmp_path / "other_way"
    import_files([MADE / name for name in ALL], once)
    import_files([MADE / name for name in reversed(ALL)], other_way)
    first = {path.name: path.read_bytes() for path in once.iterdir()}
    assert first == {path.name: path.read_bytes() for path in other_way.iterdir()}
    import_files([MADE / name for name in ALL], once)
    assert first == {path.name: path.read_bytes() for path in once.iterdir()}
    assert Reference.load(once).fingerprint == Reference.load(other_way).fingerprint


def test_quarter_after_quarter_adds_up(tmp_path: Path) -> None:
    import_files([APRIL], tmp_path / "tables")
    july = tmp_path / "july.txt"
    later = APRIL.read_text(encoding="latin-1").replace("20260401", "20260701").replace("J3998", "J3993")
    july.write_text(later, encoding="latin-1")
    import_files([july], tmp_path / "tables")
    reference = Reference.load(tmp_path / "tables")
    assert reference.through == date(2026, 9, 30)
    assert {"J3998", "J3993"} <= set(reference.codes)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "none of the known layouts"),
        (b"name,price\nsomething,1\n", "none of the known layouts"),
        (b"\x00\x01\x02binary", "none of the known layouts"),
        (b"PRODUCTID\tPRODUCTNDC\tSOMETHING\n1\t2\t3\n", "line 1: column PRODUCTTYPENAME is missing"),
        (b"HCPCS Code,Short Description,Payment Limit\nJ3032,x,1\n", "line 1: no 'Effective"),
        (
            b'"Effective April 1, 2026 through June 30, 2026"\nHCPCS Code,Payment Limit\nJ3032,1\n',
            "line 2: no column for dosage",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error_and_nothing_is_written(
    tmp_path: Path, content: bytes, says: str
) -> None:
    wrong = tmp_path / "wrong.csv"
    wrong.write_bytes(content)
    with pytest.raises(CmsFileError, match=r"wrong\.csv") as error:
        import_files([APRIL, wrong], tmp_path / "tables")
    assert says in str(error.value)
    assert not (tmp_path / "tables").exists()


def test_a_missing_file_and_an_archive_without_data_are_errors(tmp_path: Path) -> None:
    with pytest.raises(CmsFileError, match="cannot be read"):
        import_files([tmp_path / "absent.txt"], tmp_path / "tables")
    archive = tmp_path / "empty.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("notes.txt", "nothing to see")
    with pytest.raises(CmsFileError, match="no member"):
        import_files([archive], tmp_path / "tables")


def test_a_failed_write_leaves_the_table_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = tmp_path / "tables"
    import_files([APRIL], tables)
    before = {path.name: path.read_bytes() for path in tables.iterdir()}

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("byreport.cms_files.os.replace", full)
    with pytest.raises(OSError, match="no space"):
        import_files([MADE / "product.txt"], tables)
    assert before == {path.name: path.read_bytes() for path in tables.iterdir()}


# --- the files as published -------------------------------------------------------------------------


@with_published
@pytest.mark.filterwarnings("ignore:Cannot parse header")
@pytest.mark.parametrize(("before", "after"), [("q2", "q3"), ("q3", "q4")])
def test_quarterly_changes_of_2020_agree_with_the_transaction_report_of_cms(before: str, after: str) -> None:
    older, newer = (read_hcpcs(PUBLISHED / f"hcpcs_2020{q}_anweb.xlsx") for q in (before, after))
    changes = hcpcs_changes(older, newer)
    reported: dict[str, set[str]] = {}
    report = load_workbook(PUBLISHED / f"hcpcs_2020{after}_transaction_report.xlsx", read_only=True)
    for row in report.worksheets[0].iter_rows(values_only=True):
        code, action = str(row[0]).strip(), str(row[1]).strip()
        if len(code) == 5 and code[1:].isdigit():
            reported.setdefault(action, set()).add(code)
    assert set(changes.added) == reported["ADD"]
    assert set(changes.discontinued) == reported["Discontinued"]
    reworded = {c for action, c_s in reported.items() if action.startswith("Long") for c in c_s}
    assert set(changes.reworded) == reworded - reported["ADD"]
    assert changes.gone == ()


@with_published
@pytest.mark.filterwarnings("ignore:Cannot parse header")
def test_the_bundled_dates_agree_with_the_release_of_october_2020() -> None:
    bundled = Reference.load().codes
    compared = 0
    for code, record in read_hcpcs(PUBLISHED / "hcpcs_2020q4_anweb.xlsx").items():
        if code in bundled:
            compared += 1
            assert bundled[code].effective_from == record.added, code
            assert record.terminated in (None, bundled[code].effective_to), code
    assert compared > 1_100


@with_published
def test_the_newest_prices_are_the_bundled_ones(tmp_path: Path) -> None:
    report = import_files([PUBLISHED / "asp_pricing_2026q1.csv"], tmp_path)
    imported, bundled = Reference.load(tmp_path), Reference.load()
    assert report.tables["payment_limits.csv"] > 800
    for code in bundled.codes:
        there, here = (r.payment_limit(code, date(2026, 1, 1)) for r in (imported, bundled))
        assert (there and there.dollars) == (here and here.dollars), code


@with_published
@pytest.mark.filterwarnings("ignore:Cannot parse header")
def test_the_fixed_width_file_of_2019_agrees_with_the_workbook_of_2020(tmp_path: Path) -> None:
    text = tmp_path / "annual.txt"
    text.write_bytes(gzip.decompress((PUBLISHED / "hcpcs_2019_annual_anweb.txt.gz").read_bytes()))
    older, newer = read_hcpcs(text), read_hcpcs(PUBLISHED / "hcpcs_2020q2_anweb.xlsx")
    assert len(older) == 6_440
    common = set(older) & set(newer)
    assert len(common) > 6_000
    assert [code for code in common if older[code].added != newer[code].added] == []
    ended = [code for code in common if older[code].terminated not in (None, newer[code].terminated)]
    assert ended == []
    same = sum(older[code].descriptor == newer[code].descriptor for code in common)
    assert same / len(common) > 0.97
