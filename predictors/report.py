"""HTML reports as single files: tables that sort on click, and embedded figures."""

from __future__ import annotations

import base64
import html
import io
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from datasets.records import UNITS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Section = tuple[str, "str | pd.DataFrame | Figure | Callable[[], Figure]"]
"""A heading with a text, a table, a figure or a function that draws one."""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 75rem; margin: 2rem auto; padding: 0 1rem }}
h1 {{ font-size: 1.5rem }} h2 {{ font-size: 1.1rem; margin-top: 2rem }}
.wide {{ overflow-x: auto }} img {{ max-width: 100%; height: auto }}
pre {{ background: #f5f5f5; padding: .8rem; overflow-x: auto }}
table {{ border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums }}
th, td {{ padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }}
th {{ cursor: pointer; user-select: none; position: sticky; top: 0; background: #fff }}
th[aria-sort=ascending]::after {{ content: " ▲" }} th[aria-sort=descending]::after {{ content: " ▼" }}
</style></head><body><h1>{title}</h1>
{body}
<script>
for (const head of document.querySelectorAll("th")) head.addEventListener("click", () => {{
  const table = head.closest("table"), column = head.cellIndex, rows = [...table.tBodies[0].rows];
  const down = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down > 0 ? "ascending" : "descending");
  const value = row => row.cells[column].textContent, number = text => text === "–" ? NaN : Number(text);
  rows.sort((a, b) => {{
    const x = value(a), y = value(b), p = number(x), q = number(y);
    if (x === "–" || y === "–") return (x === "–") - (y === "–");  // undefined stays last, whichever way
    return down * (isNaN(p) || isNaN(q) ? x.localeCompare(y) : p - q);
  }});
  table.tBodies[0].append(...rows);
}});
</script></body></html>
"""


def run_report(config: dict[str, Any], rows: list[dict], predictions: pd.DataFrame | None) -> str:
    """HTML report of one run: its scores and, if given, predictions on the test set."""
    import yaml

    from predictors.figures import device_bars, errors, scatter

    table = pd.DataFrame(rows)
    draws = [] if table["draw"].nunique() > 1 else ["draw"]
    sections: list[Section] = [("Scores", table.drop(columns=["dataset", "predictor", *draws]))]
    if predictions is not None:
        tested = predictions[predictions["set"] == "test"]
        metric = tested["metric"].iloc[0]
        scored = table[(table["set"] == "test") & (table["cells"] == "all")]
        sections += [
            ("Measured against predicted, test set", lambda: scatter(tested, UNITS.get(metric, metric))),
            ("Relative errors, test set", lambda: errors(tested)),
            ("Devices, test set", lambda: device_bars(scored)),
        ]
    sections.append(("Configuration", yaml.safe_dump(config, sort_keys=False)))
    return page(f"{rows[0]['predictor']} on {rows[0]['dataset']}, seed {rows[0]['seed']}", sections)


def page(title: str, sections: Sequence[Section]) -> str:
    """HTML page of sections."""
    parts = []
    for heading, content in sections:
        parts.append(f"<h2>{html.escape(heading)}</h2>")
        if isinstance(content, str):
            parts.append(f"<pre>{html.escape(content)}</pre>")
        elif isinstance(content, pd.DataFrame):
            parts.append(f'<div class="wide">{_table(content)}</div>')
        else:
            parts.append(_image(heading, content))
    return _PAGE.format(title=html.escape(title), body="\n".join(parts))


def _image(heading: str, content: Figure | Callable[[], Figure]) -> str:
    """Embedded image; a figure that cannot be drawn is replaced by a message, so the rest of the report is kept."""
    image = io.BytesIO()
    try:
        figure = content() if callable(content) else content
        figure.savefig(image, format="png", dpi=110)
    except Exception as error:
        print(f"warning: '{heading}' could not be drawn ({type(error).__name__}: {error}).", file=sys.stderr)
        return f"<p>This figure could not be drawn ({html.escape(str(error))}).</p>"
    data = base64.b64encode(image.getvalue()).decode()
    return f'<img alt="{html.escape(heading)}" src="data:image/png;base64,{data}">'


def _table(table: pd.DataFrame) -> str:
    def cell(value: object) -> str:
        if value is None or value != value:
            return "–"
        return f"{value:.4g}" if isinstance(value, float) else html.escape(str(value))

    head = "".join(f"<th>{html.escape(str(column))}</th>" for column in table.columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{cell(value)}</td>" for value in row) + "</tr>" for row in table.itertuples(index=False)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
