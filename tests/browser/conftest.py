"""The service in a thread, and Chromium driven by Playwright.

The browser is the system's own: Debian's and Ubuntu's `apt-get install chromium`, or what BYREPORT_CHROMIUM names.
Playwright downloads none. Without a browser, or without the packages of the extra `browser`, the tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_server

from byreport.desk import Desk
from byreport.docket import Docket
from byreport.log import Log
from byreport.reference import Reference
from byreport.rulebook import Rulebook
from byreport.web.app import create_app

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDTHS = (1280, 360)

SEED = {
    "payer": "medicare/mac/novitas-jl",
    "date_of_service": "2020-10-15",
    "claim_form": "professional",
    "setting": "office",
    "line": {"code": "J3490", "units": "1", "charge": "1850.00", "modifiers": ["JZ"]},
    "drug": {"name": "eptinezumab-jjmr", "dose": "100 mg", "route": "intravenous"},
    "documentation": ["drug_name", "dose"],
}


@dataclass
class Service:
    """The service under test: its address, its docket, and the id of a decision on the seed line."""

    address: str
    docket: Docket
    decision: str


@dataclass
class Seen:
    """A browser page, with the addresses of all requests it made and what its console complained of."""

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


def chromium() -> str | None:
    """The path of a Chromium, or None."""
    named = os.environ.get("BYREPORT_CHROMIUM")
    return named or next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    log = tmp_path_factory.mktemp("log") / "log.db"
    docket = Docket(Desk(Rulebook.open(), Reference.load()), Log.open(log))
    lines = [{**SEED, "payer": payer} for payer in ("medicaid/TX", "private/uhc", SEED["payer"])]
    texts = docket.record([docket.decide(line) for line in lines], lines)
    server = make_server("127.0.0.1", 0, create_app(docket), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    decision = texts[-1].split('"decision_id":"')[1].split('"')[0]
    yield Service(f"http://127.0.0.1:{server.server_port}", docket, decision)
    server.shutdown()
    thread.join()
    docket.close()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra `browser`: pip install playwright")
    path = chromium()
    if path is None:
        pytest.skip("no Chromium on the path: apt-get install chromium, or set BYREPORT_CHROMIUM")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(
            executable_path=path,
            headless=True,
            args=FLAGS,
            env={**os.environ, "HOME": str(tmp_path_factory.mktemp("h"))},
        )
        yield started
        started.close()


@pytest.fixture(params=WIDTHS)
def seen(request: pytest.FixtureRequest, browser: Any, service: Service) -> Iterator[Seen]:
    """A fresh browser page at each width. At the end: no request left the host, nothing was complained of."""
    yield from _page(browser, service, request.param)


@pytest.fixture
def wide(browser: Any, service: Service) -> Iterator[Seen]:
    """A fresh browser page at the larger width, with the same checks."""
    yield from _page(browser, service, WIDTHS[0])


def _page(browser: Any, service: Service, width: int) -> Iterator[Seen]:
    context = browser.new_context(viewport={"width": width, "height": 900}, base_url=service.address)
    context.set_default_timeout(15_000)
    made = Seen(context.new_page())
    made.page.on("request", lambda request: made.requests.append(request.url))
    made.page.on("console", lambda message: _complain(made, message))
    made.page.on("pageerror", lambda error: made.complaints.append(str(error)))
    yield made
    context.close()
    elsewhere = [url for url in made.requests if not url.startswith((service.address, "blob:"))]
    assert elsewhere == []
    assert made.complaints == []


def _complain(seen: Seen, message: Any) -> None:
    if message.type in ("error", "warning"):
        seen.complaints.append(message.text)


def screens_directory() -> Path:
    return Path(__file__).resolve().parents[2] / "docs" / "screens"
