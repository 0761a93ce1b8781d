"""A report as one HTML file: tables, plots and failures, with nothing to load or to run."""

import base64
from collections.abc import Mapping
from html import escape

from cdjax.benchmark._grids import Cell, Column, Grid, number_of
from cdjax.benchmark._report import Report
from cdjax.benchmark._statistics import Interval

_STYLE = """
:root{--ink:#1b1f24;--soft:#59636e;--line:#d5dae0;--paper:#fff;--tint:#f5f7f9;--heat:0 114 178;
  --mark:#0b6e4f;--bad:#a3260b}
@media (prefers-color-scheme:dark){:root{--ink:#e4e8ec;--soft:#9aa5b1;--line:#3a424b;
  --paper:#14181c;--tint:#1d2329;--heat:86 180 233;--mark:#5fd3a8;--bad:#ff9a7d}}
*{box-sizing:border-box}
body{margin:0 auto;padding:2rem 1.5rem 4rem;max-width:78rem;background:var(--paper);
  color:var(--ink);font:15px/1.5 system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 1rem}
h2{font-size:1.15rem;margin:2.4rem 0 .6rem;border-bottom:1px solid var(--line);
  padding-bottom:.25rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1.2rem;margin:0;
  padding:.9rem 1.1rem;background:var(--tint);border-radius:6px;font-size:.9rem}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums}
th,td{padding:.28rem .65rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th{font-weight:600;vertical-align:bottom;border-bottom:2px solid var(--line)}
th:first-child,td:first-child,.text{text-align:left}
td:first-child{font-weight:500;white-space:nowrap}
td.text:not(:first-child){white-space:normal;overflow-wrap:anywhere}
td.best{color:var(--mark);font-weight:700}
td.heat{background:rgb(var(--heat)/calc(var(--v)*.62));text-align:center;padding:.2rem .4rem}
table.many th:not(:first-child){writing-mode:vertical-rl;transform:rotate(180deg);text-align:left;
  padding:.5rem .25rem;border:0}
table.many td{font-size:.8rem}
small{display:block;color:var(--soft);font-weight:400;font-size:.85em}
p.note{color:var(--soft);font-size:.86rem;margin:.5rem 0 0;max-width:60rem}
.plots{display:flex;flex-wrap:wrap;gap:1.2rem;align-items:flex-start}
.plots img{max-width:100%;height:auto;background:#fff;border:1px solid var(--line);
  border-radius:4px}
summary{cursor:pointer}summary b{color:var(--bad)}
pre{background:var(--tint);padding:.8rem;overflow-x:auto;font-size:.8rem}
@media print{body{max-width:none;padding:0;font-size:9.5pt}.wide{overflow:visible}
  th,td{padding:.15rem .35rem}table{font-size:.72rem}td.heat{print-color-adjust:exact}
  .plots img{max-height:9cm}h2,table tr,img{break-inside:avoid}h2{break-after:avoid}}
"""

_MANY = 7
"""Columns from which headings of a heat-coloured table stand upright."""


def render_html(report: Report, plots: Mapping[str, bytes]) -> str:
    """Renders a report.

    Args:
      report: from `make_report`.
      plots: name -> SVG file, from `draw_report`.

    Returns:
      The HTML text. It refers to nothing outside itself.
    """
    title = escape(report.title)
    facts = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in report.facts.items())
    first, *others = report.grids
    parts = [
        "<!DOCTYPE html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{title}</h1><dl>{facts}</dl>",
        _table(first),
        _images(plots),
        *map(_table, others),
        _failures(report),
        "</body></html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _images(plots: Mapping[str, bytes]) -> str:
    """The plots as images of their own, so that the ids in them cannot collide."""
    images = "".join(
        f'<img alt="{escape(name.replace("_", " "))} plot" '
        f'src="data:image/svg+xml;base64,{base64.b64encode(svg).decode()}">'
        for name, svg in plots.items()
    )
    return f'<h2>Plots</h2><div class="plots">{images}</div>' if images else ""


def _table(grid: Grid) -> str:
    """A table with its notes; intervals stand below their means."""
    heat = any(column.heat for column in grid.columns)
    kind = ' class="many"' if heat and len(grid.columns) > _MANY else ""
    best = [grid.marked(j) for j in range(len(grid.columns))]
    head = "".join(
        f"<th{_class(['text'] * column.words)}>{escape(column.name)}</th>"
        for column in grid.columns
    )
    body = []
    for i, row in enumerate(grid.rows):
        cells = []
        for j, (column, cell) in enumerate(zip(grid.columns, row, strict=True)):
            classes = ["text"] * column.words + ["best"] * (i in best[j])
            style, value = "", number_of(cell)
            if column.heat and value is not None:
                classes.append("heat")
                style = f' style="--v:{min(max(value, 0.0), 1.0):.3f}"'
            cells.append(f"<td{_class(classes)}{style}>{_cell(column, cell)}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in grid.notes)
    return (
        f'<h2>{escape(grid.title)}</h2><div class="wide"><table{kind}><thead><tr>{head}</tr>'
        f"</thead><tbody>{''.join(body)}</tbody></table></div>{notes}"
    )


def _class(names: list[str]) -> str:
    return f' class="{" ".join(names)}"' if names else ""


def _cell(column: Column, cell: Cell) -> str:
    if isinstance(cell, Interval):
        bounds = f"[{column.text(cell.low)}, {column.text(cell.high)}]"
        return f"{escape(column.text(cell.mean))}<small>{escape(bounds)}</small>"
    return escape(column.text(cell))


def _failures(report: Report) -> str:
    """What failed, tracebacks folded."""
    if not report.failures:
        return ""
    parts = [
        f"<details><summary><b>{escape(str(f.get('label', '')))}</b> on "
        f"{escape(str(f.get('sequence', '')))}: {escape(str(f.get('error', '')))}</summary>"
        f"<pre>{escape(str(f.get('traceback') or 'no traceback'))}</pre></details>"
        for f in report.failures
    ]
    return f"<h2>Failures ({len(parts)})</h2>{''.join(parts)}"
