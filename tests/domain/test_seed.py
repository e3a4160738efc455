"""The seed case and its relatives: the lines that a biller asks about first.

Each test names the published statement that the answer has to stand on.
"""

from __future__ import annotations

import pytest
from claims import NOVITAS, decide, denied, fired, line, required, statements

from byreport.desk import Desk

IV = {"drug__route": "intravenous", "drug__compounded": False, "drug__antineoplastic": False}
PLAIN = {**IV, "drug__biologic": False}
DME_MACS = ["medicare/dme-mac/cgs", "medicare/dme-mac/noridian"]


# --- eptinezumab, approved 2020-02-21, J3032 from 2020-10-01 -------------------------------------------------------


@pytest.mark.parametrize("name", ["eptinezumab-jjmr", "Vyepti", "VYEPTI"])
def test_eptinezumab_before_its_code_is_a_biologic_under_j3590(desk: Desk, name: str) -> None:
    body = decide(desk, line(NOVITAS, name, on="2020-09-30", **IV))
    assert body["outcome"] == "fix"
    assert body["code"] == {"billed": "J3490", "recommended": "J3590", "rules": ["common.noc.use:j3590"]}
    assert statements(body, "common.noc.kind:a-biological-product") == {"common-j3590-descriptor"}
    assert "CO 189" not in denied(body)


def test_that_eptinezumab_is_a_biologic_is_known_and_not_asked(desk: Desk) -> None:
    decided = desk.decide(line(NOVITAS, "eptinezumab-jjmr", on="2020-09-30", **IV))
    assert decided.facts.shown["drug.biologic"] is True
    assert decided.facts.origin["drug.biologic"] == "reference"
    assert "drug.biologic" not in {question["fact"] for question in decided.decision.body["questions"]}


def test_eptinezumab_before_its_code_says_what_to_send_and_where(desk: Desk) -> None:
    body = decide(
        desk, line(NOVITAS, "eptinezumab-jjmr", on="2020-09-30", claim_form="professional", documentation=[], **IV)
    )
    needed = required(body)
    assert "2400 SV101-7" in needed["line.description"]
    assert "Item 19" in needed["drug_name"]
    assert "Item 19" in needed["dose"]
    assert "item 19" in needed["route"]
    assert {part["status"] for part in body["documentation"]} == {"missing"}
    assert statements(body, "nat.noc.content") == {"nat-noc-docs"}
    assert statements(body, "nat.noc.description") == {"nat-noc-sv1017"}


def test_what_goes_with_the_line_is_seen(desk: Desk) -> None:
    claim = line(
        NOVITAS,
        "eptinezumab-jjmr",
        code="J3590",
        on="2020-09-30",
        line__description="eptinezumab-jjmr 100 mg IV",
        documentation=["drug_name", "dose", "route", "fda_approval"],
        **IV,
    )
    body = decide(desk, claim)
    assert {part["item"]: part["status"] for part in body["documentation"]} == {
        "dose": "present",
        "drug_name": "present",
        "route": "present",
    }
    assert "line.code" not in required(body)
    assert "CO 16" not in denied(body)
    assert body["outcome"] == "needs_information"  # nobody has published whether Novitas wants authorization


@pytest.mark.parametrize("name", ["eptinezumab-jjmr", "Vyepti"])
def test_eptinezumab_from_its_code_on_is_denied_co_189_under_j3490_and_billed_as_j3032(desk: Desk, name: str) -> None:
    body = decide(desk, line(NOVITAS, name, on="2020-10-01", **IV))
    assert body["outcome"] == "fix"
    assert body["code"]["billed"] == "J3490"
    assert body["code"]["recommended"] == "J3032"
    assert "common-specific-codes" in statements(body, "common.code.specific")
    (denial,) = (part for part in body["denials"] if part["carc"] == "189")
    assert (denial["group"], denial["unless"]) == ("CO", "the specific code is billed")
    assert statements(body, "common.denial.specific-code") == {"common-carc-189"}
    (edit,) = (part for part in body["edits"] if part["field"] == "line.code")
    assert (edit["found"], edit["expected"]) == ("J3490", "J3032")
    assert "24D" in edit["where"]


def test_eptinezumab_under_its_own_code_needs_no_other(desk: Desk) -> None:
    body = decide(desk, line(NOVITAS, "Vyepti", code="J3032", on="2020-10-01", **IV))
    assert "CO 189" not in denied(body)
    assert "line.code" not in required(body)


def test_the_code_a_day_too_early_is_not_valid(desk: Desk) -> None:
    body = decide(desk, line(NOVITAS, "Vyepti", code="J3032", on="2020-09-30", **IV))
    assert "CO 181" in denied(body)
    assert statements(body, "common.denial.code-not-in-force") == {"common-carc-181"}


# --- the other NOC codes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("antineoplastic", "antiemetic", "code"), [(False, False, "J8499"), (True, False, "J8999"), (False, True, "J8597")]
)
def test_an_oral_drug_under_j3490_has_a_noc_code_of_its_own(
    desk: Desk, antineoplastic: bool, antiemetic: bool, code: str
) -> None:
    body = decide(
        desk,
        line(
            "medicaid/CO",
            drug__route="oral",
            drug__compounded=False,
            drug__antineoplastic=antineoplastic,
            drug__antiemetic=antiemetic,
            drug__specific_code=[],
        ),
    )
    assert body["code"]["recommended"] == code
    (rule,) = (rule for rule in fired(body) if rule.startswith("common.noc.oral:"))
    assert statements(body, rule) == {"common-oral-descriptors"}


def test_a_compounded_drug_is_billed_as_j7999(desk: Desk) -> None:
    body = decide(desk, line(NOVITAS, drug__compounded=True, drug__specific_code=[]))
    assert body["code"]["recommended"] == "J7999"
    assert statements(body, "common.noc.compounded") == {"common-j7999-descriptor"}
    assert statements(body, "nat.compound.j7999") == {"nat-j7999-start"}
    assert body["pricing"]["basis"] == "contractor_priced"
    assert statements(body, "nat.price.compounded") == {"nat-compound-contractor"}


def test_a_compound_of_a_product_with_a_code_is_not_billed_with_that_code(desk: Desk) -> None:
    body = decide(desk, line(NOVITAS, "Vyepti", on="2026-02-03", drug__compounded=True))
    assert body["code"]["recommended"] == "J7999"


def test_an_antineoplastic_is_billed_as_j9999(desk: Desk) -> None:
    body = decide(desk, line(NOVITAS, drug__compounded=False, drug__antineoplastic=True, drug__specific_code=[],
                             drug__route="intravenous"))  # fmt: skip
    assert body["code"]["recommended"] == "J9999"
    assert statements(body, "common.noc.kind:an-anti-cancer-drug") == {"common-j9999-descriptor"}


@pytest.mark.parametrize("payer", DME_MACS)
def test_a_nebulizer_drug_goes_to_the_dme_mac_as_j7699(desk: Desk, payer: str) -> None:
    body = decide(desk, line(payer, setting="dme", drug__route="inhalation", drug__nebulized=True,
                             drug__compounded=False, drug__specific_code=[], documentation=[]))  # fmt: skip
    assert body["code"]["recommended"] == "J7699"
    assert statements(body, "common.noc.nebulizer") == {"common-dme-descriptors"}
    assert {"drug_name", "manufacturer", "strength"} <= set(required(body))


@pytest.mark.parametrize("payer", DME_MACS)
def test_a_pump_drug_goes_to_the_dme_mac_as_j7799(desk: Desk, payer: str) -> None:
    body = decide(desk, line(payer, setting="dme", drug__route="subcutaneous", drug__infused_by_pump=True,
                             drug__compounded=False, drug__specific_code=[], documentation=[]))  # fmt: skip
    assert body["code"]["recommended"] == "J7799"
    assert statements(body, "common.noc.pump") == {"common-dme-descriptors"}


@pytest.mark.parametrize(("state", "payer"), [("NJ", "medicare/dme-mac/noridian"), ("TX", "medicare/dme-mac/cgs")])
def test_medicare_of_a_state_is_the_dme_mac_for_supplies_and_the_ab_mac_elsewhere(
    desk: Desk, state: str, payer: str
) -> None:
    supplies = desk.decide(line("medicare", setting="dme", provider__state=state))
    office = desk.decide(line("medicare", setting="office", provider__state=state))
    assert supplies.decision.payer == payer
    assert office.decision.payer == {"NJ": "medicare/mac/novitas-jl", "TX": "medicare/mac/novitas-jh"}[state]


# --- the hospital outpatient department -------------------------------------------------------------------------------

NEW = {"drug__fda_approval_date": "2025-12-19", "drug__specific_code": [], "drug__compounded": False}


def test_a_newly_approved_drug_in_the_outpatient_department_is_c9399(desk: Desk) -> None:
    claim = line(
        NOVITAS,
        setting="hospital_outpatient",
        claim_form="institutional",
        line__units="3",
        price__awp="1000.00",
        documentation=[],
        **NEW,
    )
    body = decide(desk, claim)
    assert body["code"]["recommended"] == "C9399"
    assert statements(body, "nat.c9399.use") == {"nat-c9399-scope"}
    (units,) = (part for part in body["edits"] if part["field"] == "line.units" and part["expected"] == "1")
    assert units["found"] == "3"
    assert statements(body, "nat.c9399.units") == {"nat-c9399-one-unit"}
    assert (body["pricing"]["basis"], body["pricing"]["percent"], body["pricing"]["estimate"]) == (
        "awp", "95", "950.00",
    )  # fmt: skip
    assert statements(body, "nat.price.c9399") == {"nat-c9399-awp"}
    assert {"ndc", "dose", "administration_date"} <= set(required(body))


def test_the_same_drug_in_the_office_is_not_c9399(desk: Desk) -> None:
    body = decide(
        desk, line(NOVITAS, drug__antineoplastic=False, drug__biologic=True, drug__route="intravenous", **NEW)
    )
    assert body["code"]["recommended"] == "J3590"
    assert "nat.c9399.use" not in fired(body)


def test_c9399_is_not_for_the_day_before_approval(desk: Desk) -> None:
    body = decide(desk, line(NOVITAS, on="2025-12-18", setting="hospital_outpatient", **NEW))
    assert "nat.c9399.use" not in fired(body)
    assert body["outcome"] == "not_billable"
    assert "nat.coverage.unapproved" in fired(body)


# --- vasopressin (Long Grove): J2596 from 2026-01-01 ----------------------------------------------------------------


def test_vasopressin_of_long_grove_is_noc_until_the_end_of_2025(desk: Desk) -> None:
    body = decide(desk, line(NOVITAS, "vasopressin (Long Grove)", on="2025-12-31", **PLAIN))
    assert body["code"]["recommended"] == "J3490"
    assert statements(body, "common.noc.kind:a-drug") == {"common-j3490-descriptor"}
    assert "CO 189" not in denied(body)


def test_vasopressin_of_long_grove_is_j2596_from_2026_on(desk: Desk) -> None:
    body = decide(desk, line(NOVITAS, "vasopressin (Long Grove)", on="2026-01-01", **PLAIN))
    assert body["code"]["recommended"] == "J2596"
    assert "CO 189" in denied(body)


def test_vasopressin_without_its_maker_is_left_open_between_the_makers_codes(desk: Desk) -> None:
    body = decide(desk, line(NOVITAS, "vasopressin", on="2026-01-01", **PLAIN))
    assert body["code"]["recommended"] is None
    assert {"J2596", "J2598", "J2599", "J2601"} <= set(body["code"]["candidates"])


# --- Texas ------------------------------------------------------------------------------------------------------------


def test_skysona_at_texas_medicaid_is_j3590_with_u3_and_authorization(desk: Desk) -> None:
    claim = line(
        "medicaid/TX",
        "Skysona",
        on="2025-07-10",
        setting="hospital_outpatient",
        claim_form="institutional",
        line__modifiers=[],
        prior_authorization__number="",
    )
    body = decide(desk, claim)
    assert body["code"]["recommended"] == "J3590"
    assert statements(body, "tx.noc.skysona") == {"tx-skysona-j3590-u3"}
    assert {part["expected"] for part in body["edits"] if part["field"] == "line.modifiers"} == {"U3"}
    assert body["prior_authorization"]["status"] == "required"
    assert statements(body, "tx.hccad.pa:skysona") == {"tx-skysona-pa"}
    assert {"CO 197", "CO 16"} <= denied(body)


def test_skysona_with_its_authorization_is_not_denied_for_lack_of_it(desk: Desk) -> None:
    body = decide(desk, line("medicaid/TX", "Skysona", on="2025-07-10", setting="hospital_outpatient",
                             prior_authorization__number="A1234567"))  # fmt: skip
    assert body["prior_authorization"]["status"] == "on_file"
    assert "CO 197" not in denied(body)


def test_skysona_has_j3387_from_2026_on_and_u3_is_gone_with_j3590(desk: Desk) -> None:
    body = decide(desk, line("medicaid/TX", "Skysona", on="2026-01-01", setting="hospital_outpatient"))
    assert body["code"]["recommended"] == "J3387"
    assert "tx.noc.skysona" not in fired(body)
    assert body["prior_authorization"]["status"] == "required"  # the bulletin asks it of the drug, not of the code


@pytest.mark.parametrize(
    ("charge", "status", "rule"),
    [
        ("4999.99", "not_required", "tx.tchp.j3490.under-5000"),
        ("5000.00", "required", "tx.tchp.j3490.from-5000"),
        ("5000.01", "required", "tx.tchp.j3490.from-5000"),
    ],
)
def test_texas_childrens_wants_authorization_of_j3490_from_5000_dollars(
    desk: Desk, charge: str, status: str, rule: str
) -> None:
    body = decide(
        desk,
        line("medicaid/TX/tchp", line__charge=charge, drug__specific_code=[], prior_authorization__number="", **PLAIN),
    )
    assert body["prior_authorization"]["status"] == status
    assert rule in body["prior_authorization"]["rules"]
    assert statements(body, rule) == {"tx-tchp-j3490-5000"}
    assert ("CO 197" in denied(body)) is (status == "required")


def test_without_the_charge_texas_childrens_limit_decides_nothing(desk: Desk) -> None:
    body = decide(desk, line("medicaid/TX/tchp", drug__specific_code=[], **PLAIN))
    assert body["prior_authorization"]["status"] == "unknown"
    (question,) = (q for q in body["questions"] if q["fact"] == "line.charge")
    assert "prior_authorization" in question["would_decide"]


def test_a_biologic_under_j3490_is_not_freed_by_a_small_charge_at_texas_childrens(desk: Desk) -> None:
    """The line has to be corrected to J3590, and J3590 needs a review whatever the amount."""
    body = decide(
        desk, line("medicaid/TX/tchp", line__charge="200.00", drug__specific_code=[], drug__biologic=True, **IV)
    )
    assert body["code"]["recommended"] == "J3590"
    assert body["prior_authorization"]["status"] == "required"
    assert statements(body, "tx.tchp.other-noc") == {"tx-tchp-other-noc-always-pa"}


def test_nor_is_skysona(desk: Desk) -> None:
    body = decide(
        desk, line("medicaid/TX/tchp", "Skysona", on="2025-07-10", setting="hospital_outpatient", line__charge="200.00")
    )
    assert body["prior_authorization"]["status"] == "required"


def test_texas_itself_knows_no_limit_of_5000_dollars(desk: Desk) -> None:
    for charge in ("4999.99", "5000.00"):
        body = decide(desk, line("medicaid/TX", line__charge=charge, drug__specific_code=[]))
        assert body["prior_authorization"]["status"] == "unknown"
