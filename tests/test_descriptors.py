"""What HCPCS descriptors say: ingredient, unit, maker, brand, route, and what follows from the name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byreport import descriptors
from byreport.descriptors import Split


@pytest.mark.parametrize(
    ("descriptor", "generic", "unit"),
    [
        ("Injection, eptinezumab-jjmr, 1 mg", "eptinezumab-jjmr", "1 mg"),
        ("Injection, burosumab-twza 1 mg", "burosumab-twza", "1 mg"),
        ("Injection, penicillin g benzathine, 100,000 units", "penicillin g benzathine", "100,000 units"),
        ("Injection, cefotaxime sodium, per gm", "cefotaxime sodium", "per gm"),
        ("Dacarbazine, 100 mg", "dacarbazine", "100 mg"),
        ("Ondansetron, oral, 4 mg", "ondansetron", "4 mg"),
        (
            "Injection, levothyroxine sodium, not otherwise specified, 10 mcg",
            "levothyroxine sodium",
            "10 mcg",
        ),
        ("Injection, risankizumab-rzaa, intravenous, 1 mg", "risankizumab-rzaa", "1 mg"),
        ("Injection, elivaldogene autotemcel, per treatment", "elivaldogene autotemcel", "per treatment"),
    ],
)
def test_ingredient_and_unit_are_split(descriptor: str, generic: str, unit: str) -> None:
    split = descriptors.split(descriptor)
    assert (split.generic, split.unit) == (generic, unit)


def test_a_maker_stands_before_not_therapeutically_equivalent() -> None:
    split = descriptors.split("Injection, bortezomib (hospira), not therapeutically equivalent to j9041, 0.1 mg")
    assert (split.generic, split.maker, split.labels, split.unit) == ("bortezomib", "hospira", (), "0.1 mg")


def test_a_label_alone_is_left_to_be_told_brand_or_maker() -> None:
    split = descriptors.split("Injection, pemetrexed (pemfexy), 10 mg")
    assert (split.generic, split.maker, split.labels) == ("pemetrexed", "", ("pemfexy",))
    assert descriptors.brand_or_maker("pemfexy", {"hikma"}) == ("Pemfexy", "")
    assert descriptors.brand_or_maker("hikma", {"hikma"}) == ("", "Hikma")


def test_what_is_neither_brand_nor_maker_is_no_label() -> None:
    assert descriptors.split("Infusion, albumin (human), 5%, 250 ml").labels == ()
    assert descriptors.split("Injection, epoetin alfa, (for non-esrd use), 1000 units").labels == ()


def test_a_biosimilar_is_told_from_the_original_that_excludes_biosimilars() -> None:
    assert descriptors.split("Injection, infliximab-dyyb, biosimilar, (inflectra), 10 mg").biosimilar
    assert not descriptors.split("Injection, infliximab, excludes biosimilar, 10 mg").biosimilar


def test_routes_are_those_the_descriptor_names() -> None:
    assert descriptors.split("Aprepitant, oral, 5 mg").routes == ("oral",)
    assert descriptors.split("Injection, vedolizumab, intravenous, 1 mg").routes == ("intravenous",)
    assert descriptors.split("Injection, eptinezumab-jjmr, 1 mg").routes == ()


@pytest.mark.parametrize(
    ("generic", "ground"),
    [
        ("eptinezumab-jjmr", "biologic=suffix"),
        ("rituximab", "biologic=stem:-mab"),
        ("abatacept", "biologic=stem:-cept"),
        ("tisagenlecleucel", "biologic=stem:-cel"),
        ("talimogene laherparepvec", "biologic=stem:-vec"),
        ("pegfilgrastim", "biologic=stem:-stim"),
        ("epoetin alfa", "biologic=stem:-poetin"),
        ("factor ix, albumin fusion protein", "biologic=clotting_factor"),
    ],
)
def test_names_that_prove_a_biological_product(generic: str, ground: str) -> None:
    traits = descriptors.traits("J0001", generic)
    assert (traits.biologic, traits.basis) == (True, (ground,))


@pytest.mark.parametrize(
    "generic",
    ["pemetrexed", "technetium tc-99m tilmanocept", "ascorbic acid", "naltrexone, long-acting", "anti-bcma"],
)
def test_names_that_prove_nothing_leave_it_open(generic: str) -> None:
    assert descriptors.traits("J0001", generic).biologic is None


def test_the_chemotherapy_section_means_antineoplastic_but_for_known_exceptions() -> None:
    assert descriptors.traits("J9305", "pemetrexed").antineoplastic is True
    assert descriptors.traits("J9332", "efgartigimod alfa-fcab").antineoplastic is None
    assert descriptors.traits("J8700", "temozolomide").antineoplastic is None


@pytest.mark.parametrize(
    ("code", "descriptor", "betos"),
    [
        ("J3032", "Injection, eptinezumab-jjmr, 1 mg", ""),
        ("C9063", "Injection, eptinezumab-jjmr, 1 mg", "O1E"),
        ("A9513", "Lutetium lu 177, dotatate, therapeutic, 1 millicurie", ""),
        ("Q5103", "Injection, infliximab-dyyb, biosimilar, (inflectra), 10 mg", ""),
        ("S0013", "Esketamine, nasal spray, 1 mg", ""),
    ],
)
def test_drug_codes_are_recognised(code: str, descriptor: str, betos: str) -> None:
    assert descriptors.is_drug(code, descriptor, betos)


@pytest.mark.parametrize(
    ("code", "descriptor", "betos"),
    [
        ("E0100", "Cane, adjustable or fixed, with tip", "D1E"),
        ("JZ", "Zero drug amount discarded/not administered to any patient", ""),
        ("Q4186", "Epifix, per square centimeter", "O1E"),
        ("A4230", "Infusion set for external insulin pump, non needle cannula type", ""),
        ("Q0510", "Pharmacy supply fee for initial immunosuppressive drug", ""),
        ("90371", "Injection, something of another code set", ""),
    ],
)
def test_supplies_modifiers_and_skin_substitutes_are_no_drugs(code: str, descriptor: str, betos: str) -> None:
    assert not descriptors.is_drug(code, descriptor, betos)


@given(st.text(max_size=120))
def test_any_descriptor_is_split_without_adding_a_word(descriptor: str) -> None:
    split: Split = descriptors.split(descriptor)
    whole = " ".join(descriptor.split()).lower()
    for part in (*split.generic.split(", "), split.unit, split.maker, *split.labels):
        assert all(word in whole for word in part.split())
