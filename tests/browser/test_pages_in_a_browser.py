"""The pages and flows in Chromium: at both widths, with the keyboard, without script, on paper, checked by axe.

How the browser is got: conftest.py. Every test ends with the checks that no request left the host and that the
browser's console, where broken Content-Security-Policy shows, stayed silent.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from driving import SEED, Seen, Service

PLACES = {
    "check": "/",
    "check with questions": "/?decision={}",
    "decision": "/decisions/{}",
    "log": "/log",
    "log without a match": "/log?payer=private/none",
    "payers": "/payers",
    "payer": "/payers/medicaid/TX",
    "rule": "/rules/common.code.specific",
    "table": "/rules/common.noc.kind",
    "workbench": "/workbench?file=rules/medicaid/TX.yaml",
    "problem": "/payers/medicaid/ZZ",
}

STOPS = """
[...document.querySelectorAll('a[href],button,input:not([type=hidden]),select,textarea,summary,[tabindex="0"]')]
  .filter(one => one.checkVisibility({visibilityProperty: true}) && one.tabIndex >= 0).length
"""
FOCUSED = """
(() => {
  const one = document.activeElement;
  if (one === document.body) return 'body';
  if (getComputedStyle(one).outlineStyle === 'none') return 'unseen ' + one.outerHTML;
  return '' + [...document.querySelectorAll('*')].indexOf(one);
})()
"""
OVERFLOWING = """
[...document.querySelectorAll('.graph g.box')].filter(box => {
  const frame = box.querySelector('rect').getBBox();
  return [...box.querySelectorAll('text')].some(text => {
    const own = text.getBBox();
    return own.x + own.width > frame.x + frame.width || own.y + own.height > frame.y + frame.height + 1;
  });
}).map(box => box.textContent)
"""
CHOSEN = """
(() => {
  const text = document.getElementById('text');
  return text.value.slice(text.selectionStart, text.selectionEnd);
})()
"""
TOO_WIDE = """
document.querySelector('.graph svg').getBoundingClientRect().width - document.querySelector('main').clientWidth
"""


@pytest.mark.parametrize("name", PLACES)
def test_axe_finds_nothing(seen: Seen, service: Service, name: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the extra `browser`").Axe()
    seen.page.goto(PLACES[name].format(service.decision))
    if name == "workbench":
        seen.page.get_by_role("heading", name="The file is clean").wait_for()
    seen.page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    found = axe.run(seen.page)
    if name == "problem":
        seen.complaints.clear()  # the browser itself reports that the page came with status 404
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("name", PLACES)
def test_a_page_is_no_wider_than_the_screen(seen: Seen, service: Service, name: str) -> None:
    seen.page.goto(PLACES[name].format(service.decision))
    wide = seen.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    if name == "problem":
        seen.complaints.clear()
    assert wide <= 0


@pytest.mark.parametrize("name", PLACES)
def test_everything_that_can_be_used_can_be_reached_with_the_tab_key(wide: Seen, service: Service, name: str) -> None:
    page = wide.page
    page.goto(PLACES[name].format(service.decision))
    if name == "problem":
        wide.complaints.clear()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    count = page.evaluate(STOPS)
    reached = {"0"}
    for _ in range(min(count, 60)):
        page.keyboard.press("Tab")
        reached.add(page.evaluate(FOCUSED))
    assert [place for place in reached if place.startswith("unseen")] == []
    # Radio buttons of one name are one stop of the Tab key.
    assert len(reached) > min(count, 60) / 4


def fill_first(page: Any, payer: str = "medicare/mac/novitas-jl", drug: str = "eptinezumab-jjmr") -> None:
    page.get_by_label("Payer").fill(payer)
    page.get_by_label("HCPCS code billed").fill("J3490")
    page.get_by_label("Date of service").fill("2020-10-15")
    page.get_by_label("Where was the drug given?").select_option("office")
    page.get_by_label("Drug (brand").fill(drug)
    page.get_by_role("button", name="Check").click()


def test_a_line_is_checked_question_by_question(seen: Seen, service: Service) -> None:
    page = seen.page
    page.goto("/")
    fill_first(page)
    page.get_by_text("Fix before sending").wait_for()
    page.get_by_text("Change the code from J3490 to J3032", exact=True).wait_for()
    first = page.locator("input[name=asked]").evaluate_all("all => all.map(one => one.value)")
    question = page.locator("form.line fieldset").first
    asked = question.locator("legend").inner_text()
    question.get_by_label("No", exact=True).check()
    page.get_by_role("button", name="Go on").click()
    page.wait_for_url("**passed=**")
    assert page.locator("form.line section").first.get_by_text(asked, exact=True).count() == 0
    again = page.locator("input[name=asked]").evaluate_all("all => all.map(one => one.value)")
    assert first[0] not in again
    claim = json.loads(service.docket.log.recent(1)[0].claim)
    assert claim["drug"][first[0].split(".")[1]] is False
    page.go_back()  # nothing is sent again
    page.get_by_role("link", name="Read it as an argument").click()
    page.get_by_role("heading", name="What nearly fired").wait_for()


def test_a_faulty_line_says_so_first(seen: Seen) -> None:
    page = seen.page
    page.goto("/")
    fill_first(page, payer="Nobody's Health")
    page.get_by_role("alert").get_by_text("no payer of that name").wait_for()
    assert page.evaluate("document.activeElement.id") == "faults"
    assert page.get_by_label("HCPCS code billed").input_value() == "J3490"
    seen.complaints.clear()  # status 400


def test_a_line_is_checked_without_script(browser: Any, service: Service) -> None:
    context = browser.new_context(java_script_enabled=False, base_url=service.address)
    page = context.new_page()
    page.goto("/")
    fill_first(page)
    page.get_by_text("Change the code from J3490 to J3032", exact=True).wait_for()
    page.goto("/workbench?file=rules/medicaid/TX.yaml")
    page.get_by_role("button", name="Try").click()
    page.get_by_role("heading", name="The file is clean").wait_for()
    context.close()


def test_a_decision_leads_to_its_rules_and_they_to_their_decisions(seen: Seen, service: Service) -> None:
    page = seen.page
    page.goto(f"/decisions/{service.decision}")
    page.get_by_role("link", name="common.code.specific").first.click()
    page.get_by_role("heading", name="The drug has a code of its own").wait_for()
    page.get_by_role("link", name="Every decision it fired in").first.click()
    page.wait_for_url("**/log?rule=common.code.specific")
    assert page.locator(f'a[href="/decisions/{service.decision}"]').count() == 1


def test_the_graph_is_drawn_with_its_text_inside_its_boxes(wide: Seen, service: Service) -> None:
    page = wide.page
    page.goto(f"/decisions/{service.decision}")
    assert page.evaluate(OVERFLOWING) == []
    record = service.docket.log.get(service.decision)
    assert record is not None
    assert page.locator(".graph g.rule").count() == len(json.loads(record.decision)["fired"])


def test_the_log_is_searched(seen: Seen) -> None:
    page = seen.page
    page.goto("/log")
    page.get_by_label("Payer").fill("private/uhc")
    page.get_by_label("Outcome").select_option("fix")
    page.get_by_role("button", name="Search").click()
    page.wait_for_url("**payer=private%2Fuhc**")
    rows = page.locator("tbody tr")
    assert rows.count() >= 1
    assert all("private/uhc" in text for text in rows.all_inner_texts())
    with page.expect_download() as download:
        page.get_by_role("link", name="These as CSV").click()
    assert download.value.suggested_filename == "decisions.csv"


def test_the_map_leads_to_a_payer(seen: Seen) -> None:
    page = seen.page
    page.goto("/payers")
    page.locator("a.tile", has_text="TX").click()
    page.get_by_role("heading", name="Texas Medicaid", level=1).wait_for()
    page.get_by_role("link", name="Check a line").last.click()
    assert page.get_by_label("Payer").input_value() == "medicaid/TX"


def test_an_edit_is_tried_while_it_is_typed(seen: Seen, service: Service) -> None:
    page = seen.page
    before = service.docket.log.head()
    page.goto("/workbench?file=rules/medicaid/TX.yaml")
    page.get_by_role("heading", name="The file is clean").wait_for()
    text = page.locator("#text").input_value()
    page.locator("#text").fill(text.replace("    when:", "    wenn:", 1))
    page.get_by_role("heading", name="The file has faults").wait_for()
    line = text.split("\n").index("    when:") + 1
    page.get_by_role("button", name=f"Line {line}, column 5").click()
    chosen = page.evaluate(CHOSEN)
    assert chosen == "wenn:"
    page.locator("#text").fill(text)
    page.get_by_role("heading", name="The file is clean").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the file").click()
    assert download.value.suggested_filename == "TX.yaml"
    assert download.value.path().read_text() == text
    assert service.docket.log.head() == before


def test_paper_gets_the_whole_argument_and_nothing_to_click(wide: Seen, service: Service) -> None:
    page = wide.page
    page.goto(f"/decisions/{service.decision}")
    page.emulate_media(media="print")
    assert page.locator("nav").first.is_hidden()
    assert page.locator("ul.actions").is_hidden()
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("main details:not([open])").count() == 0
    width = page.evaluate(TOO_WIDE)
    assert width <= 0
    paper = page.pdf(format="Letter")
    assert paper.startswith(b"%PDF")
    assert len(paper) > 20_000


def test_the_file_of_a_decision_opens_by_itself(wide: Seen, service: Service, tmp_path: Any) -> None:
    page = wide.page
    page.goto(f"/decisions/{service.decision}")
    with page.expect_download() as download:
        page.get_by_role("link", name="HTML to keep or print").click()
    kept = tmp_path / "decision.html"
    kept.write_bytes(download.value.path().read_bytes())
    wide.requests.clear()
    page.goto(kept.as_uri())
    assert page.get_by_role("heading", name="What was derived from what").is_visible()
    assert page.locator("details:not([open])").count() == 0
    assert {url for url in wide.requests if not url.startswith("file:")} == set()
    wide.requests.clear()


def test_a_form_of_another_site_is_refused(browser: Any, service: Service) -> None:
    before = service.docket.log.head()
    context = browser.new_context()
    page = context.new_page()
    fields = "".join(f'<input name="{name}" value="x">' for name in ("payer", "line.code"))
    page.set_content(f'<form method="post" action="{service.address}/">{fields}<button>Go</button></form>')
    with page.expect_response(service.address + "/") as answer:
        page.get_by_role("button").click()
    assert answer.value.status == 403
    assert service.docket.log.head() == before
    context.close()


def test_the_seed_line_stands_as_it_was_given(service: Service) -> None:
    record = service.docket.log.get(service.decision)
    assert record is not None
    assert json.loads(record.claim) == SEED
