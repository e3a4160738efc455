"""Dates hold: a drug that a payer's bulletin put under a NOC code is billed under its own code from that code's day on.

The codes' first days are CMS's (HCPCS quarterly files); the bulletins' are those of the documents under
`policy_docs/`. Both stand here as figures, so that a slip in a rule file or a reference table shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import pytest
from claims import Body, decide, denied, fired, line, statements

from byreport.desk import Desk

NC = "medicaid/NC"


def day_before(day: str) -> str:
    return (date.fromisoformat(day) - timedelta(days=1)).isoformat()


@dataclass(frozen=True)
class Bulletin:
    """A bulletin of North Carolina's Physician Administered Drug Program: from `since` on under `noc`.

    `own` is the drug's own code, `own_since` its first day; `generic` is None where the ingredient is a tablet too.
    """

    brand: str
    generic: str | None
    noc: str
    since: str
    own: str
    own_since: str
    statement: str

    @property
    def rule(self) -> str:
        return f"nc.padp.code:{self.brand.lower()}"

    def __str__(self) -> str:
        return f"{self.brand}-{self.noc}-{self.own}"


NC_BULLETINS = [
    Bulletin("Anjeso", None, "J3490", "2020-04-07", "J1738", "2020-10-01", "nc-anjeso-j3490"),
    Bulletin("Apretude", None, "J3490", "2022-02-28", "J0739", "2022-07-01", "nc-apretude-j3490"),
    Bulletin("Beovu", "brolucizumab-dbll", "J3590", "2019-10-10", "J0179", "2020-01-01", "nc-beovu-j3590"),
    Bulletin("Blincyto", "blinatumomab", "J9999", "2015-03-01", "J9039", "2016-01-01", "nc-2015-noc-drugs"),
    Bulletin("Byfavo", "remimazolam", "J3490", "2021-01-28", "J2249", "2023-07-01", "nc-byfavo-j3490"),
    Bulletin(
        "Cabenuva", "cabotegravir and rilpivirine", "J3490", "2021-02-01", "J0741", "2021-10-01", "nc-cabenuva-j3490"
    ),
    Bulletin("Elrexfio", "elranatamab-bcmm", "J9999", "2023-08-15", "J1323", "2024-04-01", "nc-elrexfio-j9999"),
    Bulletin("Elzonris", "tagraxofusp-erzs", "J9999", "2019-03-07", "J9269", "2019-10-01", "nc-elzonris-j9999"),
    Bulletin("Epkinly", "epcoritamab-bysp", "J9999", "2023-06-02", "J9321", "2024-01-01", "nc-epkinly-j9999"),
    Bulletin(
        "Esperoct",
        "factor viii, antihemophilic factor, glycopegylated-exei",
        "J7199",
        "2020-02-03",
        "J7204",
        "2020-07-01",
        "nc-esperoct-j7199",
    ),
    Bulletin("Evkeeza", "evinacumab-dgnb", "J3590", "2021-02-19", "J1305", "2021-10-01", "nc-evkeeza-j3590"),
    Bulletin("Givlaari", "givosiran", "J3490", "2019-11-26", "J0223", "2020-07-01", "nc-givlaari-j3490"),
    Bulletin("Imjudo", "tremelimumab-actl", "J9999", "2022-11-16", "J9347", "2023-07-01", "nc-imjudo-j9999"),
    Bulletin("Kimmtrak", "tebentafusp-tebn", "J9999", "2022-02-25", "J9274", "2022-10-01", "nc-kimmtrak-j9999"),
    Bulletin("Libtayo", "cemiplimab-rwlc", "J9999", "2018-10-08", "J9119", "2019-10-01", "nc-libtayo-j9999"),
    Bulletin(
        "Lumoxiti", "moxetumomab pasudotox-tdfk", "J9999", "2018-10-22", "J9313", "2019-10-01", "nc-lumoxiti-j9999"
    ),
    Bulletin("Lunsumio", "mosunetuzumab-axgb", "J9999", "2023-01-09", "J9350", "2023-07-01", "nc-lunsumio-j9999"),
    Bulletin("Monjuvi", "tafasitamab-cxix", "J9999", "2020-08-13", "J9349", "2021-04-01", "nc-monjuvi-j9999"),
    Bulletin("Opdivo", "nivolumab", "J9999", "2015-03-01", "J9299", "2016-01-01", "nc-2015-noc-drugs"),
    Bulletin(
        "Opdualag", "nivolumab and relatlimab-rmbw", "J9999", "2022-04-14", "J9298", "2022-10-01", "nc-opdualag-j9999"
    ),
    Bulletin("Orbactiv", "oritavancin", "J3490", "2015-03-01", "J2407", "2016-01-01", "nc-2015-noc-drugs"),
    Bulletin("Polivy", "polatuzumab vedotin-piiq", "J9999", "2019-06-11", "J9309", "2020-01-01", "nc-polivy-j9999"),
    Bulletin("Poteligeo", "mogamulizumab-kpkc", "J9999", "2018-10-03", "J9204", "2019-10-01", "nc-poteligeo-j9999"),
    Bulletin("Rezzayo", "rezafungin", "J3490", "2023-07-31", "J0349", "2023-10-01", "nc-rezzayo-j3490"),
    Bulletin("Saphnelo", "anifrolumab-fnia", "J3590", "2021-08-18", "J0491", "2022-04-01", "nc-saphnelo-j3590"),
    Bulletin("Sarclisa", "isatuximab-irfc", "J9999", "2020-03-19", "J9227", "2020-10-01", "nc-sarclisa-j9999"),
    Bulletin("Sunlenca", "lenacapavir", "J3490", "2023-01-27", "J1961", "2023-07-01", "nc-sunlenca-j3490"),
    Bulletin("Tepezza", "teprotumumab-trbw", "J3590", "2020-01-28", "J3241", "2020-10-01", "nc-tepezza-j3590"),
    Bulletin(
        "Trodelvy", "sacituzumab govitecan-hziy", "J9999", "2020-04-23", "J9317", "2021-01-01", "nc-trodelvy-j9999"
    ),
    Bulletin("Tzield", "teplizumab-mzwv", "J3590", "2022-12-01", "J9381", "2023-07-01", "nc-tzield-j3590"),
    Bulletin("Ultomiris", "ravulizumab-cwvz", "J3590", "2018-12-21", "J1303", "2019-10-01", "nc-ultomiris-j3590"),
    Bulletin("Uplizna", "inebilizumab-cdon", "J3590", "2020-07-27", "J1823", "2021-01-01", "nc-uplizna-j3590"),
    Bulletin("Veopoz", "pozelimab-bbfg", "J3590", "2023-08-19", "J9376", "2024-04-01", "nc-veopoz-j3590"),
    Bulletin("Zemdri", "plazomicin", "J3490", "2018-08-17", "J0291", "2019-10-01", "nc-zemdri-j3490"),
    Bulletin("Zerbaxa", "ceftolozane", "J3490", "2015-03-01", "J0695", "2016-01-01", "nc-2015-noc-drugs"),
    Bulletin("Zynyz", "retifanlimab-dlwr", "J9999", "2023-04-05", "J9345", "2023-10-01", "nc-zynyz-j9999"),
]
BEFORE_THE_TABLES = [
    Bulletin("Injectafer", "ferric carboxymaltose", "J3490", "2014-07-01", "J1439", "2015-01-01", "nc-2014-noc-drugs"),
    Bulletin("Tretten", "factor xiii a-subunit", "J7199", "2014-07-01", "J7181", "2015-01-01", "nc-2014-noc-drugs"),
    Bulletin("Vimizim", "elosulfase alfa", "J3590", "2014-07-01", "J1322", "2015-01-01", "nc-2014-noc-drugs"),
]
"""Bulletins of 2014: the code tables are complete from 2015 on, so what a drug had in 2014 is not known."""


@dataclass(frozen=True)
class Listed:
    """A drug of Anthem's lists: in one state's edition, from `since` on, to be authorized under NOC codes."""

    row: str
    brand: str
    state: str
    noc: str
    since: str
    own: str
    own_since: str
    statement: str

    @property
    def rule(self) -> str:
        return f"anthem.pa.drugs:{self.row}"

    def __str__(self) -> str:
        return f"{self.row}-{self.state}-{self.own}"


ANTHEM_LISTED = [
    Listed("abecma", "Abecma", "NH", "J3590", "2021-10-01", "Q2055", "2022-01-01", "anthem-pa-2021-10-abecma"),
    Listed("adzynma", "Adzynma", "MO", "C9399", "2024-05-01", "J7171", "2024-07-01", "anthem-pa-2024-05"),
    Listed("ahzantive", "Ahzantive", "IN", "J3590", "2025-03-01", "Q5150", "2025-04-01", "anthem-pa-2025-03"),
    Listed("alymsys", "Alymsys", "ME", "J9999", "2022-11-01", "Q5126", "2023-01-01", "anthem-pa-2022-11"),
    Listed("anktiva", "Anktiva", "GA", "J9999", "2024-12-01", "J9028", "2025-01-01", "anthem-pa-2024-12"),
    Listed("breyanzi", "Breyanzi", "VA", "J9999", "2021-08-01", "Q2054", "2021-10-01", "anthem-pa-2021-08"),
    Listed("briumvi", "Briumvi", "OH", "J3590", "2023-06-01", "J2329", "2023-07-01", "anthem-pa-2023-06"),
    Listed("carvykti", "Carvykti", "CT", "J3590", "2022-09-01", "Q2056", "2022-10-01", "anthem-pa-2022-09-carvykti"),
    Listed("danyelza", "Danyelza", "ME", "J9999", "2021-06-01", "J9348", "2021-07-01", "anthem-pa-2021-06"),
    Listed("elahere", "Elahere", "ME", "J9999", "2023-05-01", "J9063", "2023-07-01", "anthem-pa-2023-05"),
    Listed("eylea-hd", "Eylea HD", "GA", "J3590", "2024-02-01", "J0177", "2024-04-01", "anthem-pa-2024-02"),
    Listed("hercessi", "Hercessi", "GA", "J3590", "2024-12-01", "Q5146", "2025-01-01", "anthem-pa-2024-12"),
    Listed("imdelltra", "Imdelltra", "GA", "J9999", "2024-12-01", "J9026", "2025-01-01", "anthem-pa-2024-12"),
    Listed("imjudo", "Imjudo", "ME", "J9999", "2023-05-01", "J9347", "2023-07-01", "anthem-pa-2023-05"),
    Listed("izervay", "Izervay", "WI", "J9999", "2024-01-01", "J2782", "2024-04-01", "anthem-pa-2024-01"),
    Listed("leqembi", "Leqembi", "OH", "J3590", "2023-06-01", "J0174", "2023-07-06", "anthem-pa-2023-06"),
    Listed(
        "nexviazyme", "Nexviazyme", "VA", "J3590", "2022-03-01", "J0219", "2022-04-01", "anthem-pa-2022-03-nexviazyme"
    ),
    Listed(
        "nexviazyme-indiana",
        "Nexviazyme",
        "IN",
        "J3590",
        "2022-03-01",
        "J0219",
        "2022-04-01",
        "anthem-pa-2022-03-nexviazyme-in",
    ),
    Listed("niktimvo", "Niktimvo", "IN", "J3590", "2025-03-01", "J9038", "2025-04-01", "anthem-pa-2025-03"),
    Listed("nulibry", "Nulibry", "VA", "C9399", "2021-08-01", "J1809", "2025-10-01", "anthem-pa-2021-08"),
    Listed("nypozi", "Nypozi", "IN", "J3590", "2025-02-01", "Q5148", "2025-04-01", "anthem-pa-2025-02"),
    Listed("ocrevus-zunovo", "Ocrevus Zunovo", "IN", "J3590", "2025-03-01", "J2351", "2025-04-01", "anthem-pa-2025-03"),
    Listed("omvoh", "Omvoh", "MO", "J3590", "2024-05-01", "J2267", "2024-07-01", "anthem-pa-2024-05"),
    Listed("oxlumo", "Oxlumo", "ME", "C9399", "2021-06-01", "J0224", "2021-07-01", "anthem-pa-2021-06"),
    Listed("qalsody", "Qalsody", "GA", "J3590", "2023-11-01", "J1304", "2024-01-01", "anthem-pa-2023-11"),
    Listed("rybrevant", "Rybrevant", "VA", "J9999", "2021-12-01", "J9061", "2022-01-01", "anthem-pa-2021-12-rybrevant"),
    Listed("sarclisa", "Sarclisa", "WI", "J9999", "2020-09-01", "J9227", "2020-10-01", "anthem-pa-2020-09-sarclisa"),
    Listed("sunlenca", "Sunlenca", "OH", "C9399", "2023-06-01", "J1961", "2023-07-01", "anthem-pa-2023-06"),
    Listed("tecartus", "Tecartus", "GA", "J3490", "2021-01-01", "Q2053", "2021-04-01", "anthem-pa-2021-01"),
    Listed("tecelra", "Tecelra", "IN", "J9999", "2025-03-01", "Q2057", "2025-04-01", "anthem-pa-2025-03"),
    Listed("tecvayli", "Tecvayli", "ME", "J9999", "2023-05-01", "J9380", "2023-07-01", "anthem-pa-2023-05"),
    Listed("tzield", "Tzield", "ME", "J3590", "2023-05-01", "J9381", "2023-07-01", "anthem-pa-2023-05"),
    Listed("viltepso", "Viltepso", "GA", "C9399", "2021-01-01", "J1427", "2021-04-01", "anthem-pa-2021-01"),
    Listed("zymfentra", "Zymfentra", "MO", "J3590", "2024-05-01", "J1748", "2024-07-01", "anthem-pa-2024-05"),
]


NAMES = [(drug, name) for drug in NC_BULLETINS for name in (drug.brand, drug.generic) if name is not None]


def nc(desk: Desk, drug: str, on: str, code: str, **more: object) -> Body:
    return decide(desk, line(NC, drug, code=code, on=on, **more))


def test_there_are_enough_of_them() -> None:
    assert len({bulletin.own for bulletin in NC_BULLETINS}) >= 35
    assert len({row.own for row in ANTHEM_LISTED}) >= 30


# --- North Carolina's bulletins ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("drug", NC_BULLETINS, ids=str)
def test_before_its_day_the_bulletin_says_nothing(desk: Desk, drug: Bulletin) -> None:
    assert drug.rule not in fired(nc(desk, drug.brand, day_before(drug.since), drug.noc))


@pytest.mark.parametrize(("drug", "name"), NAMES, ids=str)
def test_from_the_bulletin_to_the_day_before_its_code_the_drug_is_noc(desk: Desk, drug: Bulletin, name: str) -> None:
    for on in (drug.since, day_before(drug.own_since)):
        body = nc(desk, name, on, drug.noc, drug__compounded=False)
        assert body["code"]["recommended"] == drug.noc
        assert drug.rule in body["code"]["rules"]
        assert statements(body, drug.rule) == {drug.statement}
        assert "CO 189" not in denied(body)


@pytest.mark.parametrize("drug", NC_BULLETINS, ids=str)
def test_another_noc_code_is_sent_back_to_the_bulletins(desk: Desk, drug: Bulletin) -> None:
    other = "J3490" if drug.noc != "J3490" else "J3590"
    body = nc(desk, drug.brand, day_before(drug.own_since), other, drug__compounded=False)
    assert body["code"]["recommended"] == drug.noc
    assert body["outcome"] == "fix"


@pytest.mark.parametrize(("drug", "name"), NAMES, ids=str)
def test_from_its_codes_day_on_the_bulletin_is_over(desk: Desk, drug: Bulletin, name: str) -> None:
    for on in (drug.own_since, "2026-02-03"):
        body = nc(desk, name, on, drug.noc)
        assert drug.rule not in fired(body)
        offered = [body["code"]["recommended"], *body["code"].get("candidates", ())]
        assert drug.own in offered
        assert drug.noc not in offered
        assert "CO 189" in denied(body)
        assert body["outcome"] in ("fix", "not_billable")


@pytest.mark.parametrize("drug", NC_BULLETINS, ids=str)
def test_nothing_else_of_a_bulletin_outlives_it(desk: Desk, drug: Bulletin) -> None:
    """Rate, NDC, diagnoses: what a bulletin says of a NOC line ends with the NOC line."""
    body = nc(desk, drug.brand, "2026-02-03", drug.noc)
    rows = {rule for rule in fired(body) if rule.startswith("nc.padp.") and rule.endswith(f":{drug.brand.lower()}")}
    assert rows == set()


@pytest.mark.parametrize("drug", NC_BULLETINS, ids=str)
def test_the_own_code_a_day_early_is_not_in_force(desk: Desk, drug: Bulletin) -> None:
    assert "CO 181" in denied(nc(desk, drug.brand, day_before(drug.own_since), drug.own))
    assert "CO 181" not in denied(nc(desk, drug.brand, drug.own_since, drug.own))


# --- drugs that the bulletins name and the tables know only in part ------------------------------------------------


@pytest.mark.parametrize("drug", BEFORE_THE_TABLES, ids=str)
def test_before_the_tables_begin_the_biller_is_asked_for_the_code(desk: Desk, drug: Bulletin) -> None:
    body = nc(desk, drug.brand, drug.since, drug.noc)
    assert body["code"]["recommended"] is None
    assert "drug.specific_code" in {question["fact"] for question in body["questions"]}
    answered = nc(desk, drug.brand, drug.since, drug.noc, drug__specific_code=[], drug__compounded=False)
    assert answered["code"]["recommended"] == drug.noc
    assert statements(answered, drug.rule) == {drug.statement}


@pytest.mark.parametrize("drug", BEFORE_THE_TABLES, ids=str)
def test_a_bulletin_of_2014_is_over_too(desk: Desk, drug: Bulletin) -> None:
    body = nc(desk, drug.brand, drug.own_since, drug.noc)
    assert body["code"]["recommended"] == drug.own
    assert drug.rule not in fired(body)
    assert "CO 189" in denied(body)


@pytest.mark.parametrize("brand", ["Rapivab", "Dyloject"])
def test_a_brand_that_the_tables_do_not_know_is_asked_about_and_not_guessed(desk: Desk, brand: str) -> None:
    body = nc(desk, brand, "2026-02-03", "J3490")
    assert body["code"]["recommended"] is None
    assert "drug.specific_code" in {question["fact"] for question in body["questions"]}


@pytest.mark.parametrize(("generic", "own"), [("peramivir", "J2547"), ("lefamulin", "J0691")])
def test_its_ingredient_has_the_own_code(desk: Desk, generic: str, own: str) -> None:
    assert nc(desk, generic, "2026-02-03", "J3490")["code"]["recommended"] == own


def test_xenleta_is_not_kept_under_j3490_once_its_ingredient_has_a_code(desk: Desk) -> None:
    body = nc(desk, "Xenleta", "2020-07-01", "J3490")
    assert "nc.padp.code:xenleta" not in fired(body)
    assert body["code"]["recommended"] != "J3490"


# --- Anthem's lists ---------------------------------------------------------------------------------------------------


def anthem(desk: Desk, drug: Listed, on: str) -> Body:
    return decide(desk, line("private/anthem", drug.brand, code=drug.noc, on=on, provider__state=drug.state,
                             coverage__product="commercial_insured", prior_authorization__number=""))  # fmt: skip


@pytest.mark.parametrize("drug", ANTHEM_LISTED, ids=str)
def test_anthems_row_says_nothing_the_day_before(desk: Desk, drug: Listed) -> None:
    body = anthem(desk, drug, day_before(drug.since))
    assert drug.rule not in fired(body)


@pytest.mark.parametrize("drug", ANTHEM_LISTED, ids=str)
def test_anthem_wants_authorization_under_the_noc_code_while_there_is_no_other(desk: Desk, drug: Listed) -> None:
    for on in (drug.since, day_before(drug.own_since)):
        body = anthem(desk, drug, on)
        assert body["prior_authorization"]["status"] == "required"
        assert drug.rule in body["prior_authorization"]["rules"]
        assert drug.statement in statements(body, drug.rule)
        assert {"CO 197"} <= denied(body)
        assert "CO 189" not in denied(body)


@pytest.mark.parametrize("drug", ANTHEM_LISTED, ids=str)
def test_anthems_noc_code_gives_way_to_the_drugs_own(desk: Desk, drug: Listed) -> None:
    body = anthem(desk, drug, drug.own_since)
    assert body["code"]["recommended"] == drug.own
    assert "CO 189" in denied(body)


LATE = [
    ("Margenza", "VA", "J9999", "2021-08-01", "J9353"),
    ("Opdualag", "ME", "J9999", "2022-11-01", "J9298"),
    ("Vegzelma", "ME", "J9999", "2023-05-01", "Q5129"),
    ("Columvi", "WI", "J9999", "2024-01-01", "J9286"),
    ("Tyruko", "GA", "J3590", "2024-04-01", "Q5134"),
    ("Rytelo", "IN", "J9999", "2025-02-01", "J0870"),
]
"""Drugs that had a code of their own already on the day from which Anthem lists them under NOC codes."""


@pytest.mark.parametrize(("brand", "state", "noc", "since", "own"), LATE, ids=[row[0] for row in LATE])
def test_a_list_that_names_a_noc_code_too_late_does_not_bring_it_back(
    desk: Desk, brand: str, state: str, noc: str, since: str, own: str
) -> None:
    body = decide(desk, line("private/anthem", brand, code=noc, on=since, provider__state=state))
    assert body["code"]["recommended"] == own


# --- single bulletins of other payers ---------------------------------------------------------------------------------


def test_zolgensma_at_medi_cal_is_j3590_until_j3399_starts(desk: Desk) -> None:
    def at(on: str) -> Body:
        return decide(desk, line("medicaid/CA", "Zolgensma", code="J3490", on=on, setting="hospital_outpatient"))

    assert "ca.noc.zolgensma" not in fired(at("2020-04-21"))
    for on in ("2020-04-22", "2020-06-30"):
        body = at(on)
        assert body["code"]["recommended"] == "J3590"
        assert "ca-zolgensma-j3590" in statements(body, "ca.noc.zolgensma")
        assert body["prior_authorization"]["status"] == "required"
        assert body["pricing"]["basis"] == "invoice"
    after = at("2020-07-01")
    assert "ca.noc.zolgensma" not in fired(after)
    assert after["code"]["recommended"] == "J3399"
    assert "CO 189" in denied(after)


def test_skysona_at_texas_medicaid_is_j3590_until_j3387_starts(desk: Desk) -> None:
    def at(on: str) -> Body:
        return decide(desk, line("medicaid/TX", "Skysona", on=on, setting="hospital_outpatient"))

    assert "tx.noc.skysona" not in fired(at("2025-05-31"))
    for on in ("2025-06-01", "2025-12-31"):
        assert at(on)["code"]["recommended"] == "J3590"
        assert statements(at(on), "tx.noc.skysona") == {"tx-skysona-j3590-u3"}
    assert at("2026-01-01")["code"]["recommended"] == "J3387"


def test_skysona_at_unitedhealthcares_north_carolina_plan_is_authorized_under_noc_codes(desk: Desk) -> None:
    def at(on: str) -> Body:
        return decide(
            desk, line("medicaid/NC/uhc-community", "Skysona", code="J3590", on=on, setting="hospital_outpatient")
        )

    assert "nc.uhc.skysona" not in fired(at("2025-11-30"))
    body = at("2025-12-31")
    assert body["prior_authorization"]["status"] == "required"
    assert statements(body, "nc.uhc.skysona") == {"nc-skysona-pa"}
    assert "CO 189" not in denied(body)
    assert at("2026-01-01")["code"]["recommended"] == "J3387"


@pytest.mark.parametrize("payer", ["medicare/dme-mac/cgs", "medicare/dme-mac/noridian"])
def test_capecitabine_is_noc_for_one_quarter_at_the_dme_macs(desk: Desk, payer: str) -> None:
    rule = {"medicare/dme-mac/cgs": "dmecgs.capecitabine-2024", "medicare/dme-mac/noridian": "dmenor.capecitabine-2024"}

    def at(on: str) -> Body:
        return decide(desk, line(payer, "capecitabine", code="J8999", on=on, setting="dme", drug__route="oral"))

    assert rule[payer] not in fired(at("2024-09-30"))
    assert rule[payer] in fired(at("2024-10-01"))
    assert rule[payer] in fired(at("2024-12-31"))
    assert rule[payer] not in fired(at("2025-01-01"))
    assert at("2025-01-01")["code"]["recommended"] == "J8522"
