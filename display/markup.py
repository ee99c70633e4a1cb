"""The blocks an HTML page is made of: text in, markup out. Whatever is not markup already is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

WORDY = 32  # characters; a column of longer texts wraps them


class Html(str):
    """Text that is markup already."""


def section(heading: str, *blocks: str) -> str:
    """A section of the page; its id is the heading up to a comma."""
    name = anchor(heading)
    return f'<section aria-labelledby="{name}">\n<h2 id="{name}">{heading}</h2>\n{"".join(blocks)}</section>\n'


def anchor(heading: str) -> str:
    """The id of a section, from its heading."""
    return heading.split(",")[0].lower().replace(" ", "-")


def subheading(words: str) -> str:
    """A heading within a section."""
    return f"<h3>{escape(words)}</h3>\n"


def note(words: str) -> str:
    """A paragraph."""
    return f"<p>{escape(words)}</p>\n"


def facts(pairs: Iterable[tuple[str, str]], style: str = "figures") -> str:
    """Names with their values: figures in a grid, or with the style "about" sentences one below the other."""
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{cell(value)}</dd></div>\n" for name, value in pairs)
    return f'<dl class="{style}">\n{items}</dl>\n'


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table that scrolls inside its box; a heading that begins with "#" is over numbers. Long texts are wrapped."""
    rows = list(rows)
    styles = [_style(name, column) for name, column in zip(head, zip(*rows, strict=True), strict=True)]
    columns = "".join(
        f'<th scope="col"{style}>{escape(name.lstrip("#"))}</th>' for name, style in zip(head, styles, strict=True)
    )
    body = "".join(
        f"<tr>{''.join(f'<td{style}>{cell(content)}</td>' for content, style in zip(row, styles, strict=True))}</tr>\n"
        for row in rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}">\n<table>\n'
        f"<caption>{escape(caption)}</caption>\n<thead><tr>{columns}</tr></thead>\n<tbody>\n{body}</tbody>\n"
        "</table>\n</div>\n"
    )


def _style(name: str, column: Iterable[object]) -> str:
    if name.startswith("#"):
        return ' class="n"'
    wordy = any(len(str(content)) > WORDY for content in column if not isinstance(content, Html))
    return ' class="w"' if wordy else ""


def cell(content: object) -> str:
    """Anything as markup."""
    return content if isinstance(content, Html) else escape(str(content))


def stressed(word: str, rest: str) -> Html:
    """A word that matters, and what follows it."""
    return Html(f"<strong>{escape(word)}</strong>{escape(rest)}")


STYLE = """
:root { color-scheme: light dark; --line: rgb(128 128 128 / .35); --ink: #3b7dc4; --band: rgb(128 128 128 / .3); }
body { margin: 0 auto; max-width: 70rem; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
h3 { font-size: 1rem; margin-top: 1.75rem; }
p { max-width: 44rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: 1rem 0; padding: 0; list-style: none; }
nav a { display: inline-block; padding: .2rem 0; color: inherit; }
.banner { max-width: none; border: 3px solid; padding: .75rem 1rem; background: #ffdf80; color: #000; }
.banner strong { display: block; }
dl { margin: 1rem 0; } dt { font-size: .85rem; opacity: .75; } dd { margin: 0; overflow-wrap: anywhere; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: 1rem; }
.figures dd { font-size: 1.15rem; font-variant-numeric: tabular-nums; }
.about div { display: grid; grid-template-columns: 9rem 1fr; gap: .75rem; margin-bottom: .25rem; }
.about dt { line-height: 1.8; } .about dd { max-width: 44rem; }
@media (max-width: 36rem) { .about div { display: block; margin-bottom: .5rem; } }
.scroll { overflow-x: auto; margin: 1rem 0;  /* a shadow at an edge beyond which there is more */
  background: linear-gradient(to right, Canvas 30%, transparent) local left / 2rem 100% no-repeat,
    linear-gradient(to left, Canvas 30%, transparent) local right / 2rem 100% no-repeat,
    linear-gradient(to right, var(--line), transparent) left / .75rem 100% no-repeat,
    linear-gradient(to left, var(--line), transparent) right / .75rem 100% no-repeat; }
table { border-collapse: collapse; font-size: .9rem; } caption { position: absolute; clip-path: inset(50%); }
th, td { padding: .3rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { vertical-align: bottom; font-weight: 600; } td { white-space: nowrap; }
td.w { white-space: normal; min-width: 10rem; } th:first-child, td:first-child { padding-left: 0; }
.n { text-align: right; font-variant-numeric: tabular-nums; }
th button { all: unset; cursor: pointer; } th button:hover, a:hover { text-decoration-thickness: 2px; }
th button { text-decoration: underline dotted; text-underline-offset: 3px; }
th[aria-sort=ascending] button::after { content: " ▲" / ""; }
th[aria-sort=descending] button::after { content: " ▼" / ""; }
:focus-visible { outline: 3px solid var(--ink); outline-offset: 2px; }
.skip { position: absolute; left: -100rem; } .skip:focus { position: static; }
.filter { margin: 1rem 0 -.5rem; } .filter input { font: inherit; padding: .25rem .5rem; max-width: 100%; }
summary { cursor: pointer; padding: .35rem 0; } td a { color: inherit; }
.beside { display: flex; flex-wrap: wrap; gap: 0 2rem; align-items: flex-start; } .beside > * { max-width: 100%; }
.beside figure { flex: 1 1 20rem; }
.told { border-top: 1px solid var(--line); } .told summary { font-variant-numeric: tabular-nums; }
svg text { font-size: 12px; fill: CanvasText; stroke: Canvas; stroke-width: 4px; paint-order: stroke; }
.grid { stroke: var(--line); } .curve { fill: none; stroke: var(--ink); stroke-width: 2px; }
.bar { display: block; width: 12rem; height: .9rem; fill: var(--ink); }
.plot { display: block; width: 12rem; overflow: visible; } .plot circle { fill: var(--ink); }
@media print { nav, .filter, .fresh, .skip { display: none; } .scroll { overflow: visible; } body { max-width: none; }
  th button { text-decoration: none; } tr, svg { break-inside: avoid; } h2, h3 { break-after: avoid; } }
.plot rect { fill: var(--band); } .mark { stroke: CanvasText; stroke-width: 2px; } .error { stroke: var(--ink); }
"""
