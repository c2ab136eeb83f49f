"""Reports as a browser shows them: they open offline, draw their figures, and their tables sort."""

import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from predictors.report import page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync",
         "--disable-component-update", "--no-first-run", "--virtual-time-budget=5000"]  # fmt: skip


@pytest.fixture
def report(tmp_path: Path) -> Path:
    from predictors.figures import errors, scatter

    predictions = pd.DataFrame({"device": "d", "measured": [1.0, 2.0, 4.0], "predicted": [1.1, 2.0, 3.0]})
    table = pd.DataFrame({"name": ["a", "b", "c"], "score": [2.0, None, 10.0]})
    path = tmp_path / "report.html"
    path.write_text(page("Title <&>", [("Table", table), ("Scatter", scatter(predictions, "ms")),
                                       ("Errors", errors(predictions)), ("Text", "a < b")]))  # fmt: skip
    return path


def test_a_report_stands_alone(report: Path) -> None:
    text = report.read_text()
    assert "http" not in text and "<link" not in text and "Title &lt;&amp;&gt;" in text and "a &lt; b" in text
    assert text.count("data:image/png;base64,") == 2 and "<td>–</td>" in text


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_draws_it_and_a_click_sorts(report: Path, tmp_path: Path) -> None:
    """A script of the test's own clicks twice on a head and writes what it sees into the page."""
    probe = """<script>
    const head = [...document.querySelectorAll("th")].find(th => th.textContent === "score"), seen = [];
    const column = () => [...document.querySelectorAll("tbody tr")].map(row => row.cells[1].textContent).join();
    for (let i = 0; i < 2; i++) { head.click(); seen.push(column()); }
    seen.push([...document.images].every(image => image.complete && image.naturalWidth > 100));
    document.body.dataset.seen = seen.join(" | ");
    </script></body>"""
    report.write_text(report.read_text().replace("</body>", probe))
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", report.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    assert 'data-seen="2,10,– | 10,2,– | true"' in shown, shown[-500:]


def test_every_learning_curve_is_named() -> None:
    """A constant prediction has no Spearman and so no line there, but it has one on the right."""
    from predictors.figures import learning_curves

    rows = [{"predictor": p, "shots": n, "seed": 0, "spearman": None if p == "mean" else 0.5, "within_10": 0.2}
            for p in ("mean", "flops") for n in (100, 200)]  # fmt: skip
    (legend,) = learning_curves(pd.DataFrame(rows)).legends
    assert [text.get_text() for text in legend.get_texts()] == ["mean", "flops"]
