"""The service in a thread, and Chromium driven by Playwright.

The browser is the system's own: Debian's and Ubuntu's `apt-get install chromium`, or what BYREPORT_CHROMIUM names.
Playwright downloads none. Without a browser, or without the packages of the extra `browser`, the tests are skipped.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from driving import FLAGS, SEED, WIDTHS, Seen, Service, chromium
from werkzeug.serving import make_server

from byreport.desk import Desk
from byreport.docket import Docket
from byreport.log import Log
from byreport.reference import Reference
from byreport.rulebook import Rulebook
from byreport.web.app import create_app


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
