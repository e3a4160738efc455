"""What is commonly told of J3490, claim by claim: each is a test of what the rules and their sources say."""

from __future__ import annotations

import pytest
from claims import NOVITAS, decide, denied, fired, line, required, statements

from byreport.desk import Desk

NO_CODE = {"drug__specific_code": [], "drug__compounded": False, "drug__route": "intravenous"}
PAYERS = ["medicare/mac/ngs-jk", "medicaid/CO", "private/cigna"]
AB_MACS = [
    "cgs-j15", "first-coast-jn", "ngs-j6", "ngs-jk", "noridian-je", "noridian-jf",
    "novitas-jh", "novitas-jl", "palmetto-jj", "palmetto-jm", "wps-j5", "wps-j8",
]  # fmt: skip


# --- "J3490 is one of three code families" --------------------------------------------------------------------------


@pytest.mark.parametrize("payer", PAYERS)
@pytest.mark.parametrize(
    ("biologic", "antineoplastic", "code", "statement"),
    [
        (False, False, "J3490", "common-j3490-descriptor"),
        (True, False, "J3590", "common-j3590-descriptor"),
        (False, True, "J9999", "common-j9999-descriptor"),
        (True, True, "J9999", "common-j9999-descriptor"),
    ],
    ids=["drug", "biologic", "anti-cancer-drug", "anti-cancer-biologic"],
)
def test_drugs_biologics_and_anti_cancer_drugs_have_a_noc_code_each(
    desk: Desk, payer: str, biologic: bool, antineoplastic: bool, code: str, statement: str
) -> None:
    body = decide(desk, line(payer, drug__biologic=biologic, drug__antineoplastic=antineoplastic, **NO_CODE))
    assert body["code"]["recommended"] == code
    (kind,) = (rule for rule in fired(body) if rule.startswith("common.noc.kind:"))
    assert statements(body, kind) == {statement}
    assert ("line.code" in required(body)) is (code != "J3490")


# --- "Medicare wants the drug described" ----------------------------------------------------------------------------


@pytest.mark.parametrize("mac", AB_MACS)
@pytest.mark.parametrize("code", ["J3490", "J3590", "J9999"])
def test_every_ab_contractor_wants_name_and_dose_and_the_description_element(desk: Desk, mac: str, code: str) -> None:
    claim = line(f"medicare/mac/{mac}", code=code, claim_form="professional", documentation=[], **NO_CODE)
    body = decide(desk, claim)
    assert {"drug_name", "dose"} <= {part["item"] for part in body["documentation"]}
    assert "2400 SV101-7" in required(body)["line.description"]
    assert statements(body, "nat.noc.content") == {"nat-noc-docs"}
    assert statements(body, "nat.noc.description") == {"nat-noc-sv1017"}
    assert statements(body, "common.denial.field:description-of-the-drug") == {"common-carc-16"}
    assert ("CO 16", "N350") in {(f"{part['group']} {part['carc']}", part["rarc"]) for part in body["denials"]}


def test_contractors_differ_in_what_else_they_want(desk: Desk) -> None:
    def items(mac: str) -> set[str]:
        return set(required(decide(desk, line(f"medicare/mac/{mac}", documentation=[], **NO_CODE))))

    assert {"ndc", "manufacturer", "price_list_amount"} <= items("cgs-j15")
    assert "route" in items("novitas-jl")
    assert not {"ndc", "manufacturer", "price_list_amount", "route"} & items("ngs-jk")


# --- "Medicaid varies by state" ---------------------------------------------------------------------------------------


def test_two_states_answer_differently_on_the_same_line(desk: Desk) -> None:
    def at(state: str) -> dict[str, object]:
        return decide(desk, line(f"medicaid/{state}", claim_form="professional", documentation=[],
                                 prior_authorization__number="", drug__biologic=False,
                                 drug__antineoplastic=False, **NO_CODE))  # fmt: skip

    montana, texas = at("MT"), at("TX")
    assert montana["prior_authorization"]["status"] == "required"
    assert statements(montana, "mt.noc.pa") == {"mt-unlisted-pa"}
    assert "CO 197" in denied(montana)
    assert texas["prior_authorization"]["status"] == "unknown"
    assert "TMHP" in texas["prior_authorization"]["how"]
    assert "CO 197" not in denied(texas)
    assert texas["pricing"]["basis"] == "awp"
    assert statements(texas, "tx.noc.price") == {"tx-noc-awp-pricing"}
    assert montana["pricing"]["basis"] != "awp"


def test_new_york_wants_the_invoice_and_texas_the_ndc_data(desk: Desk) -> None:
    new_york = decide(desk, line("medicaid/NY", documentation=[], **NO_CODE))
    texas = decide(desk, line("medicaid/TX", documentation=[], **NO_CODE))
    assert "invoice" in required(new_york)
    assert "ny-claim-packet" in statements(new_york, "ny.pad.packet")
    assert "invoice" not in required(texas)
    assert {"line.ndc.code", "line.ndc.quantity", "line.ndc.unit"} <= set(required(texas))
    assert statements(texas, "tx.ndc") == {"tx-ndc-required"}


def test_states_differ_in_the_last_day_to_file(desk: Desk) -> None:
    def last_day(state: str) -> str:
        body = decide(desk, line(f"medicaid/{state}", on="2026-02-03"))
        (deadline,) = (entry for entry in body["deadlines"] if entry["what"] == "timely_filing")
        return str(deadline["date"])

    assert last_day("CA") == "2026-08-31"  # six months after the month of service
    assert last_day("TX") == "2027-02-03"  # the federal outer limit; Texas's own is not on file


# --- "private insurers reject a NOC code once a specific one exists" --------------------------------------------------


@pytest.mark.parametrize(
    ("payer", "rule", "statement"),
    [
        ("private/hcsc/bcbsil", "bcbsil.noc.specific-code", "hcsc-il-specific-code-exists-deny"),
        ("private/bcbs-fl", "flblue.noc.specific-code", "fl-unclassified-only-if-none"),
    ],
)
def test_a_private_insurer_rejects_a_noc_code_once_the_drug_has_its_own(
    desk: Desk, payer: str, rule: str, statement: str
) -> None:
    before = decide(desk, line(payer, "Vyepti", code="J3590", on="2020-09-30"))
    assert rule not in fired(before)
    assert "CO 189" not in denied(before)
    after = decide(desk, line(payer, "Vyepti", code="J3590", on="2020-10-01"))
    assert statements(after, rule) == {statement}
    assert after["code"]["recommended"] == "J3032"
    assert "CO 189" in denied(after)


# --- "payment starts from ASP" ----------------------------------------------------------------------------------------


def test_a_drug_with_its_own_code_on_the_asp_file_is_paid_106_percent_of_asp(desk: Desk) -> None:
    body = decide(desk, line(NOVITAS, "Vyepti", code="J3032", list__asp_file=True, drug__biosimilar=False,
                             price__asp="1500.00"))  # fmt: skip
    assert (body["pricing"]["basis"], body["pricing"]["percent"]) == ("asp", "106")
    assert body["pricing"]["estimate"] == "1590.00"
    assert {"nat-asp-106", "nat-asp-statute"} <= statements(body, "nat.price.asp")


def test_without_an_asp_a_new_noc_drug_is_paid_103_percent_of_wac_since_2019(desk: Desk) -> None:
    def price(on: str, approved: str) -> tuple[str, str, str]:
        body = decide(
            desk,
            line(
                "medicare/mac/ngs-jk",
                on=on,
                list__asp_file=False,
                list__noc_file=False,
                list__wac_published=True,
                price__wac="1000.00",
                drug__fda_approval_date=approved,
                **NO_CODE,
            ),
        )
        return body["pricing"]["basis"], body["pricing"]["percent"], body["pricing"]["estimate"]

    assert price("2018-12-31", "2018-11-01") == ("wac", "106", "1060.00")
    assert price("2019-01-01", "2018-11-01") == ("wac", "103", "1030.00")


def test_a_noc_drug_on_the_noc_pricing_file_is_paid_by_that_file(desk: Desk) -> None:
    body = decide(desk, line("medicare/mac/ngs-jk", list__noc_file=True, list__asp_file=False, **NO_CODE))
    assert body["pricing"]["basis"] == "noc_file"
    assert statements(body, "nat.price.noc-file") == {"nat-noc-file"}


def test_texas_medicaid_prices_its_own_way_whatever_the_asp(desk: Desk) -> None:
    body = decide(desk, line("medicaid/TX", list__asp_file=True, price__asp="1500.00", **NO_CODE))
    assert body["pricing"]["basis"] == "awp"


# --- the questions commonly asked -------------------------------------------------------------------------------------


@pytest.mark.parametrize("payer", PAYERS)
def test_j3490_is_not_for_oral_drugs(desk: Desk, payer: str) -> None:
    body = decide(
        desk,
        line(
            payer,
            drug__route="oral",
            drug__specific_code=[],
            drug__compounded=False,
            drug__antineoplastic=False,
            drug__antiemetic=False,
        ),
    )
    assert body["code"]["recommended"] == "J8499"
    assert body["outcome"] in ("fix", "not_billable")
    assert statements(body, "common.noc.oral:any-other-oral-drug") == {"common-oral-descriptors"}


def test_codes_change_by_the_quarter_so_the_same_line_is_answered_anew(desk: Desk) -> None:
    def code(on: str) -> str:
        return str(decide(desk, line("medicaid/NC", "Kimmtrak", code="J9999", on=on,
                                     drug__compounded=False))["code"]["recommended"])  # fmt: skip

    assert [code(day) for day in ("2022-03-31", "2022-06-30", "2022-09-30")] == ["J9999"] * 3
    assert [code(day) for day in ("2022-10-01", "2023-01-01", "2026-03-31")] == ["J9274"] * 3


def test_after_the_last_release_known_a_drug_without_a_code_is_asked_about(desk: Desk) -> None:
    """The bundled code tables end on 2026-03-31; whether a code came on 2026-04-01 nobody here knows."""

    def asked(on: str) -> bool:
        body = decide(desk, line("medicaid/CO", "Avzivi", code="J3590", on=on))
        return "drug.specific_code" in {question["fact"] for question in body["questions"]}

    last = desk.reference.through.isoformat()
    assert last == "2026-03-31"
    assert not asked(last)
    assert asked("2026-04-01")
