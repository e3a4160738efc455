"""What the reference tables know about drugs, codes and jurisdictions."""

from __future__ import annotations

import csv
import os
import shutil
import timeit
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from byreport import reference as module
from byreport.reference import DrugCode, Reference, TableError

DATA = Path(module.__file__).parent / "data"


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference.load()


def codes(found: module.CodesInForce) -> list[str]:
    return [code.code for code in found]


# --- names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "Vyepti",
        "VYEPTI",
        "  vyepti ",
        "Vyepti®",
        "eptinezumab-jjmr",
        "Eptinezumab-JJMR",
        "eptinezumab‑jjmr",  # a non-breaking hyphen
        "Vyepti (eptinezumab-jjmr)",
        "eptinezumab-jjmr (Vyepti)",
        "eptinezumab-jjmr  (VYEPTI)",
    ],
)
def test_brand_and_generic_name_in_any_spelling_lead_to_the_drug(reference: Reference, name: str) -> None:
    match = reference.match(name)
    assert match is not None
    assert [code.code for code in match.codes] == ["C9063", "J3032"]
    assert match.biologic is True


@pytest.mark.parametrize("name", ["eptinezumab", "Vyeptii", "eptinezumab-jjmr 100 mg", "", "J3032", "Baxter"])
def test_what_only_resembles_a_name_matches_nothing(reference: Reference, name: str) -> None:
    assert reference.match(name) is None


def test_a_generic_name_without_its_suffix_is_a_near_miss_and_says_so(reference: Reference) -> None:
    best = reference.candidates("eptinezumab")[0]
    assert (best.name, best.reason) == ("eptinezumab-jjmr", "missing_suffix")
    assert best.match.codes[-1].code == "J3032"


def test_several_suffixes_are_all_offered(reference: Reference) -> None:
    offered = {near.name for near in reference.candidates("trastuzumab", limit=10)}
    assert {"trastuzumab-dkst", "trastuzumab-pkrb"} <= offered


def test_a_name_inside_a_description_and_a_typing_error_are_offered(reference: Reference) -> None:
    within = reference.candidates("Vyepti 100 mg/mL IV")[0]
    assert (within.name, within.reason) == ("vyepti", "name_within_text")
    typed = reference.candidates("Vyeptii")[0]
    assert (typed.name, typed.reason) == ("vyepti", "spelling")


def test_nothing_is_offered_for_what_resembles_nothing(reference: Reference) -> None:
    assert reference.candidates("qqqqqqqqqqqqqqqqqq") == ()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text(max_size=40))
def test_no_text_breaks_the_lookups_and_candidates_never_repeat_the_name(reference: Reference, text: str) -> None:
    key = module.normal_name(text)
    assert module.normal_name(key) == key
    near = reference.candidates(text, limit=3)
    assert len(near) <= 3
    assert key not in {candidate.name for candidate in near}
    assert [c.score for c in near] == sorted((c.score for c in near), reverse=True)


def test_a_salt_may_be_abbreviated(reference: Reference) -> None:
    long, short = reference.match("bendamustine hydrochloride"), reference.match("bendamustine hcl")
    assert long is not None
    assert short is not None
    assert {code.code for code in short.codes} == {code.code for code in long.codes}


def test_one_generic_name_may_have_a_code_for_each_maker(reference: Reference) -> None:
    pemetrexed = reference.codes_for("pemetrexed", date(2026, 1, 15), "office")
    assert {"J9305", "J9296", "J9304"} <= set(codes(pemetrexed))
    assert codes(reference.codes_for("pemetrexed (Accord)", date(2026, 1, 15), "office")) == ["J9296"]
    assert codes(reference.codes_for("Pemfexy", date(2026, 1, 15), "office")) == ["J9304"]


# --- codes on a date of service ---------------------------------------------------------------------


def test_vasopressin_long_grove_is_noc_until_the_end_of_2025_and_j2596_from_2026(
    reference: Reference,
) -> None:
    before = reference.codes_for("vasopressin (Long Grove)", date(2025, 12, 31), "office")
    assert before.status == "none"
    assert before.known_to_have_none
    assert before.next_code == reference.code("J2596")
    assert "J2598" in {code.code for code in before.same_ingredient}
    after = reference.codes_for("vasopressin (Long Grove)", date(2026, 1, 1), "office")
    assert (after.status, codes(after)) == ("in_force", ["J2596"])


def test_vyepti_has_c9063_in_hospital_outpatient_departments_before_j3032(reference: Reference) -> None:
    third_quarter = date(2020, 8, 1)
    assert codes(reference.codes_for("Vyepti", third_quarter, "hospital_outpatient")) == ["C9063"]
    assert codes(reference.codes_for("Vyepti", third_quarter, "asc")) == ["C9063"]
    office = reference.codes_for("Vyepti", third_quarter, "office")
    assert (office.status, codes(office)) == ("none", [])
    assert [code.code for code in office.set_aside] == ["C9063"]
    assert codes(reference.codes_for("Vyepti", date(2020, 9, 30), "asc")) == ["C9063"]
    assert codes(reference.codes_for("Vyepti", date(2020, 10, 1), "asc")) == ["J3032"]
    assert codes(reference.codes_for("Vyepti", date(2020, 10, 1), "office")) == ["J3032"]


def test_vyepti_was_approved_on_2020_02_21(reference: Reference) -> None:
    for name in ("Vyepti", "eptinezumab-jjmr", "Vyepti (eptinezumab-jjmr)"):
        match = reference.match(name)
        assert match is not None
        assert match.fda_approval_date == date(2020, 2, 21)


def test_skysona_has_no_code_in_2025_and_j3387_from_2026(reference: Reference) -> None:
    assert reference.codes_for("Skysona", date(2025, 7, 10), "hospital_outpatient").status == "none"
    assert codes(reference.codes_for("elivaldogene autotemcel", date(2026, 1, 1), "office")) == ["J3387"]


def test_a_permanent_code_wins_over_a_c_code(reference: Reference) -> None:
    both = reference.codes_for("bupivacaine", date(2025, 6, 1), "asc")
    assert both
    assert not any(code.temporary for code in both)
    assert any(code.temporary for code in both.set_aside)


def test_s_codes_count_only_where_they_are_asked_for(reference: Reference) -> None:
    on = date(2025, 6, 1)
    assert reference.codes_for("esketamine", on, "office").status == "none"
    assert codes(reference.codes_for("esketamine", on, "office", private_codes=True)) == ["S0013"]


def test_an_unknown_drug_is_not_a_drug_without_a_code(reference: Reference) -> None:
    unknown = reference.codes_for("nosuchdrugumab-abcd", date(2025, 6, 1), "office")
    assert (unknown.status, unknown.known_to_have_none) == ("unknown_drug", False)


def test_after_the_last_release_a_missing_code_is_uncertain(reference: Reference) -> None:
    assert reference.through == date(2026, 3, 31)
    assert reference.codes_for("Enspryng", date(2026, 3, 31), "office").status == "none"
    assert reference.codes_for("Enspryng", date(2026, 4, 1), "office").status == "uncertain"
    assert codes(reference.codes_for("Vyepti", date(2026, 10, 2), "office")) == ["J3032"]
    ended = "ranitidine hydrochloride"
    assert reference.codes_for(ended, date(2026, 3, 31), "office").status == "none"
    assert reference.codes_for(ended, date(2026, 4, 1), "office").status == "uncertain"


def test_before_the_tables_begin_a_missing_code_is_uncertain(reference: Reference) -> None:
    assert reference.codes_for("Vyepti", date(2014, 12, 31), "office").status == "uncertain"
    assert reference.codes_for("Vyepti", date(2015, 1, 1), "office").status == "none"


def test_where_only_the_year_of_an_end_is_known_the_months_between_are_uncertain(
    reference: Reference,
) -> None:
    ranitidine = reference.code("J2780")
    assert ranitidine is not None
    assert (ranitidine.effective_to, ranitidine.effective_to_latest) == (
        date(2023, 12, 31),
        date(2024, 9, 30),
    )
    name = ranitidine.generic
    assert codes(reference.codes_for(name, date(2023, 12, 31), "office")) == ["J2780"]
    assert reference.codes_for(name, date(2024, 3, 1), "office").status == "uncertain"
    assert reference.codes_for(name, date(2024, 10, 1), "office").status == "none"


def test_a_brand_without_a_code_is_uncertain_beside_an_open_code_of_its_ingredient(
    tmp_path: Path, reference: Reference
) -> None:
    row = {**_row("hcpcs.csv", "code", "J9305"), "code": "J9987", "brands": "Latemtrexed"}
    row |= {"effective_from": "2026-02-01", "other_names": ""}
    _overlay(tmp_path, "hcpcs.csv", [row, {**_row("hcpcs.csv", "code", "J9305"), "brands": ""}])
    latest = Reference.load(tmp_path).codes_for("Latemtrexed", date(2026, 1, 15), "office")
    assert latest.status == "uncertain"
    assert "J9305" in {code.code for code in latest.same_ingredient}


def test_a_replaced_code_ends_before_its_successor_starts(reference: Reference) -> None:
    for code in reference.codes.values():
        assert code.effective_to is None or code.effective_from <= code.effective_to, code.code
        if code.end_basis.startswith("successor:"):
            starts = [reference.codes[later].effective_from for later in code.replaced_by]
            assert min(start for start in starts if start > code.effective_from) > (code.effective_to or date.max)


def test_a_code_is_in_force_from_its_first_day_through_its_last(reference: Reference) -> None:
    ended = reference.code("C9063")
    assert ended is not None
    days = [date(2020, 6, 30), date(2020, 7, 1), date(2020, 9, 30), date(2020, 10, 1)]
    assert [ended.in_force(day) for day in days] == [False, True, True, False]


# --- traits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "biologic", "antineoplastic"),
    [
        ("J3032", True, None),  # four-letter suffix
        ("Q5103", True, None),  # biosimilar
        ("J9271", True, True),  # pembrolizumab: stem and section
        ("Q2042", True, None),  # a cell therapy
        ("J9305", None, True),  # pemetrexed: nothing says it is no biologic
        ("J9332", True, None),  # efgartigimod stands among the chemotherapy codes and treats myasthenia
        ("J2596", None, None),
    ],
)
def test_traits_are_stated_only_on_firm_ground(
    reference: Reference, code: str, biologic: bool | None, antineoplastic: bool | None
) -> None:
    found = reference.code(code)
    assert found is not None
    assert (found.biologic, found.antineoplastic) == (biologic, antineoplastic)


def test_every_trait_names_its_ground(reference: Reference) -> None:
    for code in reference.codes.values():
        assert (code.biologic is not None) == ("biologic=" in code.basis), code.code
        assert (code.antineoplastic is not None) == ("antineoplastic=" in code.basis), code.code


# --- NDC, NOC and denial codes, contractors, prices -------------------------------------------------


def test_an_ndc_leads_to_its_code_and_the_newest_quarter_comes_first(reference: Reference) -> None:
    assert reference.by_ndc("67386013051")[0].code == "J3032"
    vasopressin = reference.by_ndc("81298855203")
    assert [(link.code, link.last_quarter) for link in vasopressin] == [
        ("J2596", "2026q1"),
        ("NOC", "2025q4"),
    ]
    assert reference.by_ndc("00000000000") == ()


def test_noc_codes_know_their_kind_and_dates(reference: Reference) -> None:
    j3490, q9977 = reference.noc("J3490"), reference.noc("Q9977")
    assert j3490 is not None
    assert q9977 is not None
    assert (j3490.kind, j3490.in_force(date(2026, 10, 2))) == ("unclassified", True)
    assert (q9977.successor, q9977.in_force(date(2016, 1, 1))) == ("J7999", False)
    assert reference.noc("J3032") is None
    assert len(reference.noc_codes) == 67


def test_no_unclassified_code_is_offered_as_a_specific_code(reference: Reference) -> None:
    unspecific = {code for code, noc in reference.noc_codes.items() if noc.kind != "ingredient_residual"}
    assert not unspecific & set(reference.codes)


def test_ingredient_residual_codes_are_specific_codes_of_their_ingredient(reference: Reference) -> None:
    residual = {code for code, noc in reference.noc_codes.items() if noc.kind == "ingredient_residual"}
    assert residual <= set(reference.codes)


def test_denial_codes_by_kind(reference: Reference) -> None:
    carc_16, n350 = reference.denial("carc", "16"), reference.denial("rarc", "N350")
    assert carc_16 is not None
    assert n350 is not None
    assert (carc_16.needs_rarc, n350.alert) == (True, False)
    unclear = reference.denial("carc", "15")
    assert unclear is not None
    assert unclear.active is None
    assert reference.denial("group", "CO") is not None
    assert reference.denial("carc", "N350") is None


@pytest.mark.parametrize(
    ("state", "ab", "dme"),
    [
        ("TX", "medicare/mac/novitas-jh", "medicare/dme-mac/cgs"),
        ("PA", "medicare/mac/novitas-jl", "medicare/dme-mac/noridian"),
        ("FL", "medicare/mac/first-coast-jn", "medicare/dme-mac/cgs"),
        ("OH", "medicare/mac/cgs-j15", "medicare/dme-mac/cgs"),
        ("CA", "medicare/mac/noridian-je", "medicare/dme-mac/noridian"),
        ("MN", "medicare/mac/ngs-j6", "medicare/dme-mac/cgs"),
        ("PR", "medicare/mac/first-coast-jn", "medicare/dme-mac/cgs"),
    ],
)
def test_each_state_has_its_contractors(reference: Reference, state: str, ab: str, dme: str) -> None:
    assert (reference.mac_for_state(state), reference.mac_for_state(state, dme=True)) == (ab, dme)


def test_all_states_and_territories_have_both_contractors(reference: Reference) -> None:
    rows = module.read_table("mac_states.csv")
    assert len(rows) == 56
    assert all(row["ab_mac"] and row["dme_mac"] for row in rows)
    assert len({row["ab_mac"] for row in rows}) == 12
    assert reference.mac_for_state("ZZ") is None


def test_payment_limits_hold_for_their_quarter(reference: Reference) -> None:
    newest = reference.payment_limit("J3032", date(2026, 3, 31))
    assert newest is not None
    assert str(newest.dollars) == "20.502"
    assert reference.payment_limit("J3032", date(2026, 4, 1)) is None
    noc = reference.noc_payment_limit("Vasopressin (Long Grove)", date(2025, 12, 31))
    assert noc is not None
    assert str(noc.dollars) == "2.462"
    assert reference.noc_payment_limit("Vasopressin (Long Grove)", date(2026, 1, 1)) is None


# --- the tables as such -----------------------------------------------------------------------------


@pytest.mark.parametrize("table", [name for name in module.TABLES if name != "sources.csv"])
def test_every_row_names_sources_that_are_explained_and_stands_once(reference: Reference, table: str) -> None:
    rows = module.read_table(table)
    keys = [tuple(row[part] for part in module.KEYS[table]) for row in rows]
    assert len(set(keys)) == len(keys)
    assert keys == sorted(keys)
    for row in rows:
        ids = row["source"].split("|")
        assert all(reference.source(source) for source in ids), row


def test_no_descriptor_of_the_ama_is_among_the_tables(reference: Reference) -> None:
    assert not [code for code in reference.codes if not code[0].isalpha()]
    cpt = [noc for noc in reference.noc_codes.values() if noc.code_system == "CPT"]
    assert all("not reproduced" in noc.descriptor for noc in cpt)


def test_the_fingerprint_follows_the_tables(tmp_path: Path, reference: Reference) -> None:
    assert Reference.load().fingerprint == reference.fingerprint
    _overlay(tmp_path, "drugs.csv", [{**_row("drugs.csv", "generic", "satralizumab"), "brands": "Other"}])
    assert Reference.load(tmp_path).fingerprint != reference.fingerprint


def test_an_overlay_replaces_rows_and_adds_others(tmp_path: Path, reference: Reference) -> None:
    changed = {**_row("hcpcs.csv", "code", "J3032"), "unit": "2 mg"}
    added = {**changed, "code": "J9986", "generic": "newlymadeumab-aaaa", "brands": "Newlymade"}
    _overlay(tmp_path, "hcpcs.csv", [changed, added])
    laid = Reference.load(tmp_path)
    assert [laid.codes[code].unit for code in ("J3032", "J9986")] == ["2 mg", "2 mg"]
    assert laid.match("Newlymade") is not None
    assert len(laid.codes) == len(reference.codes) + 1


def test_an_overlay_overtaken_by_the_bundled_release_is_left_out(tmp_path: Path, reference: Reference) -> None:
    _overlay(tmp_path, "hcpcs.csv", [{**_row("hcpcs.csv", "code", "J3032"), "unit": "2 mg"}])
    _overlay(tmp_path, "release.csv", [{**module.read_table("release.csv")[0], "complete_through": "2025-12-31"}])
    laid = Reference.load(tmp_path)
    assert laid.codes["J3032"] == reference.codes["J3032"]
    assert laid.through == reference.through


@pytest.mark.parametrize(
    ("column", "text", "says"),
    [("effective_from", "1 July 2020", "isoformat"), ("biologic", "maybe", "maybe")],
)
def test_a_row_that_cannot_be_read_is_named(tmp_path: Path, column: str, text: str, says: str) -> None:
    _overlay(tmp_path, "hcpcs.csv", [{**_row("hcpcs.csv", "code", "J3032"), column: text}])
    with pytest.raises(TableError, match=f"hcpcs.csv.*J3032.*{says}"):
        Reference.load(tmp_path)


def test_a_row_with_too_few_columns_is_named_by_its_line(tmp_path: Path) -> None:
    shutil.copy(DATA / "drugs.csv", tmp_path)
    with (tmp_path / "drugs.csv").open("a") as stream:
        stream.write("halfarow,\n")
    with pytest.raises(TableError, match=r"drugs\.csv: line \d+"):
        Reference.load(tmp_path)


def test_a_missing_overlay_directory_is_an_error_not_the_bundled_tables(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Reference.load(tmp_path / "nowhere")


@pytest.mark.skipif("BYREPORT_TIMING" not in os.environ, reason="timing; set BYREPORT_TIMING=1 to run it")
def test_lookups_take_microseconds(reference: Reference) -> None:
    match = reference.match("Vyepti")
    assert match is not None
    on = date(2026, 1, 5)
    for look_up in (lambda: reference.match("Vyepti"), lambda: reference.codes_for(match, on, "office")):
        assert min(timeit.repeat(look_up, number=10_000, repeat=5)) / 10_000 < 5e-6


def _row(table: str, column: str, value: str) -> dict[str, str]:
    return next(row for row in module.read_table(table) if row[column] == value)


def _overlay(directory: Path, table: str, rows: list[dict[str, str]]) -> None:
    with (directory / table).open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_a_drug_code_cannot_be_changed(reference: Reference) -> None:
    code: DrugCode = reference.codes["J3032"]
    with pytest.raises(AttributeError):
        code.unit = "2 mg"  # type: ignore[misc]
