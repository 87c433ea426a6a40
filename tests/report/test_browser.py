"""The page in a real browser: no error, tables that sort and filter, 1,000 slides, accessible."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.page import write
from wsipsm.config import Report
from wsipsm.report.page import ROWS
from wsipsm.report.products import open_cohort

pytestmark = pytest.mark.browser
HOSTILE = '<img src=x onerror="alert(1)">'


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, without a screen."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def written(results: Any) -> Path:
    """Page of two slides, one with a hostile name and classes, one begun, and one set aside."""
    results.report("phantom_1", HOSTILE, "bad", "begun")
    return Path(results.page)


def open_page(browser: Any, path: Path) -> tuple[Any, list[str]]:
    """Open a page, and list what its console and its network say."""
    said: list[str] = []
    opened = browser.new_page()
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("dialog", lambda dialog: said.append(dialog.message))
    opened.on("request", lambda request: said.extend(
        [request.url] if request.url.startswith("http") else []
    ))  # fmt: skip
    opened.goto(path.as_uri())
    return opened, said


def column(opened: Any, number: int) -> list[str]:
    cells = f"#table-slides tbody tr:not([hidden]) > :nth-child({number})"
    return [str(text).strip() for text in opened.locator(cells).all_inner_texts()]


def test_page_opens_sorts_and_filters(browser: Any, written: Path) -> None:
    opened, said = open_page(browser, written)
    loaded = "Array.from(document.images, (i) => i.complete && i.naturalWidth > 0)"
    assert all(opened.evaluate(loaded))

    tiles = "#table-slides thead th:nth-child(5) button"
    for order in ("ascending", "descending"):
        opened.focus(tiles)
        opened.keyboard.press("Enter")
        assert opened.locator(f"th[aria-sort={order}]").count() == 1
    opened.click("#table-slides thead th:nth-child(1) button")
    names = column(opened, 1)
    assert sorted(names, key=str.casefold) == names
    assert HOSTILE in names

    opened.fill("input[name=words]", "HE phantom")
    assert column(opened, 1) == ["phantom_1"]
    assert opened.locator("output[name=shown]").inner_text() == "1 of 3 slides"
    opened.fill("input[name=words]", "")
    assert len(column(opened, 1)) == 3
    assert said == []
    opened.close()


def test_page_passes_axe(browser: Any, written: Path) -> None:
    from axe_playwright_python.sync_playwright import Axe

    opened, _ = open_page(browser, written)
    opened.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true })")
    found = Axe().run(opened).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.className") == "skip"
    opened.close()


def test_a_thousand_slides_sort_and_filter(browser: Any, results: Any, tmp_path: Path) -> None:
    from axe_playwright_python.sync_playwright import Axe

    cohort = open_cohort(results.folder, slides=("phantom_1",), models=("unet",))
    target = tmp_path / "index.html"
    write(cohort, target, slides=1000, settings=Report(overview_px=300, full_slides=3))
    opened, said = open_page(browser, target)
    assert len(column(opened, 1)) == ROWS
    name = opened.locator("#table-slides thead th:nth-child(1) button")
    name.click()
    name.click()
    assert column(opened, 1)[:2] == ["slide 999", "slide 998"]
    opened.check("input[name=doubtful]")
    assert opened.locator("output[name=shown]").inner_text() == "143 of 1000 slides"
    assert column(opened, 1)[:2] == ["slide 994", "slide 987"]
    assert len(column(opened, 1)) == ROWS
    opened.get_by_role("button", name="Show all 143 rows").click()
    assert len(column(opened, 1)) == 143
    found = Axe().run(opened, context="#table-slides").response["violations"]
    assert [one["id"] for one in found] == []
    assert said == []
    opened.close()
