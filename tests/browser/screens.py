"""Take the pictures in docs/screens: every page at both widths, with the bundled rules.

python tests/browser/screens.py
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from pathlib import Path

from driving import FLAGS, SEED, WIDTHS, chromium, screens_directory
from playwright.sync_api import Page, sync_playwright
from werkzeug.serving import make_server

from byreport.desk import Desk
from byreport.docket import Docket
from byreport.log import Log
from byreport.reference import Reference
from byreport.rulebook import Rulebook
from byreport.web.app import create_app

DRUGS = ("eptinezumab-jjmr", "elivaldogene autotemcel", "insulin glargine", "methotrexate", "vasopressin")
PAYERS = ("medicaid/TX", "private/uhc", "medicare/mac/novitas-jl", "medicaid/CA", "private/aetna", "medicaid/NY")


TALLEST = {1280: 1500, 360: 1800, 718: 1100}
"""Width to the height at which a picture is cut off."""


def main() -> None:
    path = chromium()
    if path is None:
        sys.exit("no Chromium: apt-get install chromium, or set BYREPORT_CHROMIUM")
    with tempfile.TemporaryDirectory() as directory:
        docket = Docket(Desk(Rulebook.open(), Reference.load()), Log.open(Path(directory) / "log.db"))
        lines = [{**SEED, "payer": payer, "drug": {"name": drug}} for payer in PAYERS for drug in DRUGS] + [SEED]
        docket.record([docket.decide(line) for line in lines], lines)
        decision = docket.log.recent(1)[0].decision_id
        server = make_server("127.0.0.1", 0, create_app(docket), threaded=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=path, args=FLAGS, env={**os.environ, "HOME": directory})
            for width in WIDTHS:
                page = browser.new_context(viewport={"width": width, "height": 900}).new_page()
                for name, place in _places(decision).items():
                    page.goto(address + place)
                    if name == "workbench":
                        _edit(page)
                    _take(page, f"{name}-{width}")
                    if name == "decision":
                        page.locator("figure.graph").screenshot(path=screens_directory() / f"graph-{width}.png")
            _paper(browser.new_page(), address + f"/decisions/{decision}")
            browser.close()
        server.shutdown()
        docket.close()


def _places(decision: str) -> dict[str, str]:
    return {
        "check": "/",
        "check-questions": f"/?decision={decision}",
        "decision": f"/decisions/{decision}",
        "log": "/log",
        "payers": "/payers",
        "payer": "/payers/medicaid/TX",
        "rule": "/rules/tx.noc.when",
        "table": "/rules/common.noc.kind",
        "workbench": f"/workbench?file=rules/medicare/mac/novitas-jl.yaml&decision={decision}",
    }


def _edit(page: Page) -> None:
    """An edit that makes a fault, tried."""
    text = page.locator("#text").input_value()
    with page.expect_response("**/workbench/try"):
        page.locator("#text").fill(text.replace("    when:", "    wenn:", 1))
    page.get_by_role("heading", name="The file has faults").wait_for()


def _take(page: Page, name: str) -> None:
    """The upper part of the page: whole pages may be thousands of lines long."""
    width = page.viewport_size["width"] if page.viewport_size else WIDTHS[0]
    height = page.evaluate("document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": width, "height": min(height, TALLEST[width])}
    page.screenshot(path=screens_directory() / f"{name}.png", full_page=True, clip=clip)


def _paper(page: Page, address: str) -> None:
    page.set_viewport_size({"width": 718, "height": 1000})
    page.goto(address)
    page.emulate_media(media="print")
    _take(page, "decision-paper")


if __name__ == "__main__":
    main()
