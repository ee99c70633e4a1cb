"""The page as a person meets it: in a real browser, opened from disk, after a real run on the simulated market.

Debian's Chromium (`apt-get install chromium`), headless. Without it these tests skip, under CI=true they fail.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

import live_trader
import report
from config import load_settings

DESKTOP, PHONE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}, {"width": 320, "height": 568}
BOXES_THAT_OVERLAP = """
svg => {
  const texts = [...svg.querySelectorAll("text")].filter(t => t.getClientRects().length);
  const boxes = texts.map(t => ({words: t.textContent, box: t.getBoundingClientRect()}));
  const apart = (a, b) => a.right <= b.left + 1 || b.right <= a.left + 1
    || a.bottom <= b.top + 3 || b.bottom <= a.top + 3;
  return boxes.flatMap((a, i) => boxes.slice(i + 1).filter(b => !apart(a.box, b.box)).map(b => [a.words, b.words]));
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What a run of three sessions leaves behind."""
    place = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ALPACA_API_KEY", "ALPACA_SECRET_KEY"):
            patch.setenv(name, "")
        patch.setenv("MODELS_DIR", str(place / "models"))
        patch.setenv("DATA_DIR", str(place / "data"))
        assert live_trader.main(["--market", "simulated", "--days", "3", "--quiet"]) == 0
        yield place


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        reason = "no Chromium on this machine: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


def opened(browser: Browser, folder: Path, viewport: dict[str, int], **options: object) -> tuple[Page, list[str]]:
    """The page, and what it said or asked for that it should not have."""
    context = browser.new_context(viewport=viewport, offline=True, **options)
    page, trouble = context.new_page(), list[str]()
    page.on("console", lambda message: trouble.append(f"console {message.type}: {message.text}"))
    page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
    page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else trouble.append(f"request: {r.url}"))
    page.goto((folder / "data" / "report.html").as_uri())
    return page, trouble


def column(page: Page, caption: str, heading: str) -> list[str]:
    """The cells that are seen under a heading, top to bottom."""
    table = page.locator("table", has=page.locator("caption", has_text=caption)).first
    names = [name.strip(" ▲▼") for name in table.locator("thead th").all_inner_texts()]
    rows = table.locator("tbody tr:visible")
    return [row.locator("td").nth(names.index(heading)).inner_text() for row in rows.all()]


def sort(page: Page, caption: str, heading: str) -> None:
    table = page.locator("table", has=page.locator("caption", has_text=caption)).first
    table.get_by_role("button", name=heading, exact=True).click()


def usd(text: str) -> float:
    return float(text.replace(",", ""))


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_it_opens_from_disk_without_a_word_in_the_console_or_a_request(
    browser: Browser, folder: Path, viewport: dict[str, int]
) -> None:
    page, trouble = opened(browser, folder, viewport)
    page.wait_for_load_state("load")
    assert trouble == []
    assert page.title() == "Paper trading report, simulated market"
    assert page.get_by_text("SIMULATED MARKET", exact=True).is_visible()


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE, NARROW], ids=["desktop", "phone", "narrow"])
def test_nothing_is_wider_than_the_screen_but_tables_that_scroll_in_their_box(
    browser: Browser, folder: Path, viewport: dict[str, int]
) -> None:
    page, _ = opened(browser, folder, viewport)
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE, NARROW], ids=["desktop", "phone", "narrow"])
def test_no_label_of_a_chart_lies_on_another(browser: Browser, folder: Path, viewport: dict[str, int]) -> None:
    page, _ = opened(browser, folder, viewport)
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    charts = page.locator("svg[role=img]").all()
    assert len(charts) > 10
    for chart in charts:
        assert chart.evaluate(BOXES_THAT_OVERLAP) == [], chart.get_attribute("aria-label") or chart.inner_html()[:200]


def test_every_chart_has_data(browser: Browser, folder: Path) -> None:
    page, _ = opened(browser, folder, DESKTOP)
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    equity = page.locator("section", has=page.locator("#equity"))
    points = equity.locator("polyline, path").evaluate_all(
        "all => all.map(line => (line.getAttribute('points') || line.getAttribute('d')).length)"
    )
    assert max(points) > 1000
    trades = page.locator("details.told svg[role=img]")
    assert trades.count() == len(report.trades(load_settings()).query("status in ('OPEN', 'CLOSED')"))
    for box in trades.locator("path").evaluate_all("all => all.map(path => path.getBBox().width)"):
        assert box > 0


def test_a_table_sorts_by_number_both_ways_and_says_which(browser: Browser, folder: Path) -> None:
    page, _ = opened(browser, folder, DESKTOP)
    before = [usd(text) for text in column(page, "Closed trades", "P&L, USD")]
    assert len(before) > 3
    sort(page, "Closed trades", "P&L, USD")
    assert [usd(text) for text in column(page, "Closed trades", "P&L, USD")] == sorted(before)
    sort(page, "Closed trades", "P&L, USD")
    assert [usd(text) for text in column(page, "Closed trades", "P&L, USD")] == sorted(before, reverse=True)
    assert page.locator("th[aria-sort=descending]").count() == 1


def test_a_table_sorts_by_word(browser: Browser, folder: Path) -> None:
    page, _ = opened(browser, folder, DESKTOP)
    sort(page, "Closed trades", "symbol")
    symbols = column(page, "Closed trades", "symbol")
    assert symbols == sorted(symbols)
    assert len(set(symbols)) > 1


def test_a_table_is_filtered_by_words_and_says_how_many_rows_are_left(browser: Browser, folder: Path) -> None:
    page, _ = opened(browser, folder, DESKTOP)
    symbols = column(page, "Every signal", "symbol")
    line = page.locator("section", has=page.locator("#signals")).locator(".filter").last
    line.get_by_label("Show rows with").fill(f"{symbols[0]} ordered")
    left = column(page, "Every signal", "symbol")
    assert 0 < len(left) < len(symbols)
    assert set(left) == {symbols[0]}
    assert line.get_by_role("status").inner_text() == f"{len(left)} of {len(symbols)}"
    line.get_by_label("Show rows with").fill("")
    assert column(page, "Every signal", "symbol") == symbols


def test_a_symbol_leads_to_its_trade_on_candles_with_what_spoke_for_it(browser: Browser, folder: Path) -> None:
    page, _ = opened(browser, folder, PHONE)
    link = page.locator("table", has=page.locator("caption", has_text="Closed trades")).locator("tbody a").last
    trade = page.locator(f'[id="{str(link.get_attribute("href"))[1:]}"]')
    assert trade.get_attribute("open") is None
    link.click()
    expect(trade).to_have_attribute("open", "")  # the script hears of a new address in a moment of its own
    assert trade.locator("svg[role=img]").is_visible()
    assert trade.get_by_text("spoke for it").first.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_that_keeps_anyone_out(
    browser: Browser, folder: Path, viewport: dict[str, int], scheme: str
) -> None:
    page, _ = opened(browser, folder, viewport, color_scheme=scheme)
    found = Axe().run(page).response["violations"]
    assert [(each["id"], [node["html"][:120] for node in each["nodes"]][:3]) for each in found] == []


def test_it_is_walked_by_keyboard_from_the_skip_link_to_a_sorted_table(browser: Browser, folder: Path) -> None:
    page, _ = opened(browser, folder, DESKTOP)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
    page.keyboard.press("Enter")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('th') !== null"):
            break
    page.keyboard.press("Enter")
    assert page.locator("th[aria-sort]").count() == 1


def test_on_paper_there_are_no_controls_and_nothing_is_cut_off(browser: Browser, folder: Path) -> None:
    page, _ = opened(browser, folder, DESKTOP)
    page.emulate_media(media="print")
    assert not page.get_by_role("navigation").is_visible()
    assert page.locator(".filter:visible").count() == 0
    assert page.locator(".scroll").first.evaluate("box => getComputedStyle(box).overflowX") == "visible"
    assert page.pdf().startswith(b"%PDF")


def test_without_scripts_everything_can_be_read(browser: Browser, folder: Path) -> None:
    page, _ = opened(browser, folder, DESKTOP, java_script_enabled=False)
    assert page.get_by_role("heading", name="Can it be believed").is_visible()
    assert page.locator(".filter").count() == 0
    assert page.locator("table", has=page.locator("caption", has_text="Closed trades")).first.is_visible()


def test_a_running_traders_page_loads_itself_anew_unless_told_not_to(browser: Browser, folder: Path) -> None:
    settings = load_settings()
    report.write_page(settings, settings.DATA_DIR / report.PAGE, reload_seconds=1)
    page, trouble = opened(browser, folder, DESKTOP)
    assert page.get_by_text("just now").is_visible()
    sort(page, "Closed trades", "P&L, USD")
    page.locator("details.told").last.locator("summary").click()
    with page.expect_navigation():
        pass
    assert [usd(text) for text in column(page, "Closed trades", "P&L, USD")] == sorted(
        usd(text) for text in column(page, "Closed trades", "P&L, USD")
    )
    assert page.locator("details.told").last.get_attribute("open") is not None
    page.get_by_label("Reload automatically").uncheck()
    page.evaluate("window.stayed = true")
    page.wait_for_function("performance.now() > 2500")
    assert page.evaluate("window.stayed")
    assert trouble == []
    assert report.main(["--quiet"]) == 0


def test_a_table_that_appears_between_two_reloads_does_not_take_the_sorting_of_another(
    browser: Browser, folder: Path
) -> None:
    settings = load_settings()
    path = report.write_page(settings, settings.DATA_DIR / report.PAGE, reload_seconds=1)
    page, _ = opened(browser, folder, DESKTOP)
    sort(page, "Closed trades", "P&L, USD")
    sort(page, "Closed trades", "P&L, USD")
    whole = path.read_text()
    first = whole[whole.index('<div class="scroll"') : whole.index("</div>", whole.index('<div class="scroll"')) + 7]
    another = first.replace("caption>", "caption>Another: ", 1)
    path.write_text(whole.replace(first, another + first, 1))
    with page.expect_navigation():
        pass
    assert page.locator("caption", has_text="Another: ").count() == 1
    (sorted_one,) = page.locator("table:has(th[aria-sort])").all()
    assert sorted_one.locator("caption").inner_text() == "Closed trades, newest first"
    assert sorted_one.locator("th[aria-sort=descending]").inner_text().strip(" ▲▼") == "P&L, USD"
    assert report.main(["--quiet"]) == 0


def test_the_page_of_a_stopped_trader_says_when_it_was_written_and_stays(browser: Browser, folder: Path) -> None:
    page, _ = opened(browser, folder, DESKTOP)
    assert re.search(r"Written \d{4}-\d\d-\d\d \d\d:\d\d:\d\d New York", page.inner_text("header"))
    assert page.locator(".fresh").count() == 0


def test_a_halt_is_the_first_thing_on_the_page(browser: Browser, folder: Path) -> None:
    assert live_trader.main(["--halt", "earnings week", "--quiet"]) == 0
    assert report.main(["--quiet"]) == 0
    page, _ = opened(browser, folder, PHONE)
    assert page.get_by_text("earnings week. Nothing is bought until python live_trader.py --resume").first.is_visible()
    assert live_trader.main(["--resume", "--quiet"]) == 0
    assert report.main(["--quiet"]) == 0


@pytest.mark.parametrize(("name", "viewport"), [("desktop", DESKTOP), ("phone", PHONE)])
def test_a_picture_of_it_can_be_looked_at(
    browser: Browser, folder: Path, tmp_path: Path, name: str, viewport: dict[str, int]
) -> None:
    """PICTURES=folder keeps them."""
    place = Path(os.environ.get("PICTURES", tmp_path))
    page, _ = opened(browser, folder, viewport)
    page.screenshot(path=place / f"{name}.png", full_page=True)
    assert (place / f"{name}.png").stat().st_size > 50_000
