"""The pages in a real headless Chromium: quiet, still, within the screen, accessible, printable.

Slow: run with `pytest -m slow tests/test_browser.py`. Needs Chromium (Debian: `apt-get install chromium`) and
the packages playwright and axe-playwright-python, of the extra `browser`.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from cohorts import BUDGET, CLASSES, SURVIVAL, patients, quick, survivors
from zodc import Column, Condenser, Schema, cli

pytestmark = pytest.mark.slow

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
LONG = "a_column_whose_name_never_ends_and_has_no_place_to_break_it_anywhere_at_all"
# Width of an A4 page between its margins, in CSS pixels.
A4 = 680


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api", reason="needs the extra 'browser': playwright")
    with api.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def _wide() -> Schema:
    """Longest names and texts, and enough columns for a long table."""
    many = tuple(
        Column(name=f"value_{k}", kind="continuous", lower=0, upper=1, description="words " * 12)
        for k in range(24)
    )
    names = tuple(f"{LONG}_{k}" for k in range(3))
    first = Column(name=LONG, kind="categorical", categories=names, unit="x" * 60)
    return Schema((first, *many, CLASSES.columns[-1]), LONG)


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    """Make reports and evaluations of a classification, a survival and a wide cohort."""
    import numpy as np
    import pandas as pd

    folder, found = tmp_path_factory.mktemp("pages"), {}
    wide, rng = _wide(), np.random.default_rng(0)
    frame = pd.DataFrame({c.name: rng.random(80) for c in wide.features if c.kind == "continuous"})
    frame[LONG], frame["died"] = rng.choice(wide.features[0].categories, 80), rng.integers(0, 2, 80)
    for name, schema, learner, rows, by in (
        ("classes", CLASSES, "tree", patients(300), "sex"),
        ("survival", SURVIVAL, "cox", survivors(300), "age"),
        ("wide", wide, "logistic", frame, LONG),
    ):
        options = {"n_rows": 40, "recipe": quick(schema), **BUDGET}
        Condenser(schema, learner=learner, **options).fit(rows).release_.save(folder / name)
        found[f"{name} report"] = folder / name / "report.html"
        rows.to_csv(folder / "rows.csv", index=False)
        command = ["evaluate", folder / name, "--holdout", folder / "rows.csv", "--full", folder / "rows.csv"]
        place = folder / f"{name}.html"
        result = CliRunner().invoke(
            cli.main, [str(a) for a in (*command, "--by", by, "--report", place, "--bootstrap", "5")]
        )
        assert result.exit_code == 0, result.output
        found[f"{name} evaluation"] = place
    return found


def _open(browser, path: Path, width: int):
    page = browser.new_page(viewport={"width": width, "height": 900})
    told, asked = [], []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_load_state("networkidle")
    assert told == []
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    return page


# What lies beyond the right edge, but inside of a region that scrolls by itself.
_BEYOND = """() => [...document.querySelectorAll('main *')].filter(e =>
    !e.closest('.scroll') && e.tagName !== 'THEAD' && !e.closest('thead') && !e.closest('svg')
    && e.getBoundingClientRect().right > window.innerWidth + 1).map(e => e.outerHTML.slice(0, 120))"""


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_no_request_no_message_no_overflow(browser, pages, width):
    for name, path in pages.items():
        page = _open(browser, path, width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert page.evaluate(_BEYOND) == [], name
        page.close()


@pytest.mark.parametrize("width", [360, 1440])
def test_axe_finds_no_violation(browser, pages, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the extra 'browser'")
    for name, path in pages.items():
        page = browser.new_page(viewport={"width": width, "height": 900}, bypass_csp=True)
        page.goto(path.as_uri())
        found = axe.Axe().run(page).response
        passed = {rule["id"] for rule in found["passes"]}
        assert {"color-contrast", "document-title", "html-has-lang", "svg-img-alt"} <= passed, name
        faults = [
            (rule["id"], rule["help"], [node["html"][:120] for node in rule["nodes"][:3]])
            for rule in found["violations"]
        ]
        assert not faults, (name, faults)
        page.close()


def test_the_keyboard_reaches_every_link_and_shows_where_it_is(browser, pages):
    for name, path in pages.items():
        page = _open(browser, path, 768)
        wanted = page.evaluate("document.querySelectorAll('a[href], [tabindex=\"0\"]').length")
        reached = set()
        for _ in range(wanted):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.outerHTML.slice(0, 200)"))
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", name
        assert len(reached) == wanted, name
        page.close()


def test_it_prints_without_a_cut_table(browser, pages, tmp_path):
    for name, path in pages.items():
        page = _open(browser, path, A4)
        page.emulate_media(media="print")
        assert page.evaluate("document.documentElement.scrollWidth") <= A4, name
        cut = page.evaluate(
            """() => [...document.querySelectorAll('tr, table.short, figure, .label, pre')]
            .filter(e => getComputedStyle(e).breakInside !== 'avoid').map(e => e.outerHTML.slice(0, 80))"""
        )
        assert cut == [], name
        # What must not break fits on a page of 267 mm.
        tall = page.evaluate(
            """() => [...document.querySelectorAll('tr, table.short, .label, figure, .keep')]
            .filter(e => e.getBoundingClientRect().height > 1009).map(e => e.outerHTML.slice(0, 80))"""
        )
        assert tall == [], name
        heads = page.evaluate("[...document.querySelectorAll('thead')].map(e => getComputedStyle(e).display)")
        assert set(heads) <= {"table-header-group"}, name
        page.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
        text = (tmp_path / "page.pdf").read_bytes()
        assert text.startswith(b"%PDF") and len(re.findall(rb"/Type\s*/Page\b", text)) >= 2
        page.close()
