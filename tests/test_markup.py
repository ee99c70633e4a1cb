"""The blocks of a page escape what they are given and are told apart by name."""

from __future__ import annotations

from reporting import HOSTILE, Page

from display.markup import Html, anchor, facts, note, section, stressed, subheading, table


def test_every_block_escapes_its_text() -> None:
    blocks = [
        note(HOSTILE), subheading(HOSTILE), facts([(HOSTILE, HOSTILE)]),
        stressed(HOSTILE, HOSTILE), table(HOSTILE, [HOSTILE], [[HOSTILE]]),
    ]  # fmt: skip
    page = Page("".join(blocks))
    assert "script" not in page.tags
    assert page.text.count(HOSTILE) == 9
    assert ("aria-label", HOSTILE) in page.attributes


def test_markup_is_not_escaped_again() -> None:
    assert "<b>1</b>" in facts([("name", Html("<b>1</b>"))])
    assert "<td><b>1</b></td>" in table("caption", ["name"], [[Html("<b>1</b>")]])


def test_a_section_is_named_by_its_heading_up_to_a_comma() -> None:
    page = Page(section("Open positions, times New York", note("No position is open.")))
    assert page.ids == [anchor("Open positions, times New York")] == ["open-positions"]
    assert ("aria-labelledby", "open-positions") in page.attributes


def test_numbers_stand_right_and_long_texts_wrap() -> None:
    html = table(
        "caption", ["#number", "short", "long"], [["1", "few words", "a sentence that needs more than a line"]]
    )
    assert '<td class="n">1</td><td>few words</td><td class="w">a sentence' in html
    assert '<th scope="col" class="n">number</th><th scope="col">short</th>' in html


def test_a_table_can_be_reached_and_scrolled_by_keyboard() -> None:
    page = Page(table("Trades", ["symbol"], [["AAPL"]]))
    assert {("role", "region"), ("tabindex", "0"), ("aria-label", "Trades")} <= set(page.attributes)
    assert page.tables == {"Trades": [["symbol"], ["AAPL"]]}
