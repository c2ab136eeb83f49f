"""Reports as a browser shows them: they open offline, draw their figures, and their tables sort."""

import itertools
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import NoReturn

import pandas as pd
import pytest

from datasets.figures import PICTURES, check_picture, new_figure, rank_correlation, write_figure
from datasets.records import Device, InputError, Measurements
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


@pytest.mark.parametrize("devices, predictors", [(3, 2), (9, 7), (30, 1)])
def test_names_of_devices_and_predictors_never_collide(devices: int, predictors: int) -> None:
    """Boxes of tick labels of level and of upright names, the legend within the figure, titles within their panels."""
    from predictors.figures import device_bars, errors

    names = [f"xeon_litert_builtin_fp32_{n}" for n in range(devices)]
    rows = [{"device": d, "predictor": f"a predictor with a long name {p}", "spearman": 0.5, "within_10": 0.2}
            for d in names for p in range(predictors)]  # fmt: skip
    figure = device_bars(pd.DataFrame(rows))
    figure.draw_without_rendering()
    for axis in figure.axes:
        labels = axis.get_xticklabels()
        if labels[0].get_rotation() in (0, 90):
            boxes = [label.get_window_extent() for label in labels]
            assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
        else:
            starts = [label.get_window_extent().x1 for label in labels]
            assert (
                min(b - a for a, b in itertools.pairwise(starts)) > 2 * 10 / 72 * figure.dpi
            )  # of the height of lines
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1
    table = pd.DataFrame({"device": ["d" * 58], "measured": [1.0], "predicted": [1.0]})
    drawn = errors(table)
    drawn.draw_without_rendering()
    title = drawn.axes[0].title.get_window_extent()
    assert title.x0 >= 0 and title.x1 <= drawn.bbox.x1


HOSTILE = r"a $\frac{$ <b>{0}\n^"


def test_names_are_drawn_as_they_are(tmp_path: Path, measurements: Measurements) -> None:
    """Dollar signs in names are no mathematics in figures; powers of ten are still formatted."""
    from predictors.figures import device_bars, scatter

    named = [HOSTILE, "x" * 300]
    predictions = pd.DataFrame({"device": d, "measured": [1.0, 2000.0], "predicted": [1.1, 2000.0]} for d in named)
    predictions = predictions.explode(["measured", "predicted"]).astype({"measured": float, "predicted": float})
    rows = pd.DataFrame({"device": d, "predictor": p, "shots": n, "seed": 0, "spearman": 0.5, "within_10": 0.2}
                        for d in named for p in named for n in (100, 200))  # fmt: skip
    figure = new_figure(4, 3)
    axis = figure.subplots()
    axis.plot([1, 1e9], [1, 1e9], label=HOSTILE)
    axis.set(xscale="log", yscale="log", title=HOSTILE, xlabel=HOSTILE)
    axis.legend()
    devices = [Device(name, name, "server-cpu") for name in named]
    m = Measurements(measurements.architectures, devices, measurements.table, HOSTILE)
    for number, drawn in enumerate(
        (figure, scatter(predictions, "ms"), device_bars(rows), rank_correlation(m, "latency_ms"))
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # axes that names leave no room for
            write_figure(drawn, tmp_path / f"{number}.png")
    assert axis.title.get_text() == HOSTILE and not axis.title.get_parse_math()
    assert all(label.get_parse_math() for label in axis.get_xticklabels())
    assert len(list(tmp_path.iterdir())) == 4


def test_a_name_that_no_font_has_is_drawn_in_silence(tmp_path: Path) -> None:
    figure = new_figure(4, 3)
    axis = figure.subplots()
    axis.set(title="a\x07b\x1b[2J", xlabel="手机 📱")
    axis.set_xticks([0.5], ["手机"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for suffix in (".png", ".pdf", ".svg"):
            write_figure(figure, tmp_path / f"figure{suffix}", bbox_inches="tight")
    assert axis.title.get_text() == "a?b?[2J"


def test_pictures_of_unknown_suffixes_are_refused(tmp_path: Path) -> None:
    figure = new_figure(1, 1)
    for suffix in PICTURES:
        write_figure(figure, tmp_path / f"p.v2{suffix}")
    assert {path.name for path in tmp_path.iterdir()} == {f"p.v2{suffix}" for suffix in PICTURES}
    for name in ("p.v2", "p", "p.", ".png", "p.png.part"):
        with pytest.raises(InputError, match=r"no suffix of a picture; end its name with one of \.png"):
            check_picture(tmp_path / name)


def test_a_figure_that_fails_does_not_lose_the_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    huge = new_figure(1e6, 1e6)  # more than matplotlib draws

    def broken() -> NoReturn:
        raise ValueError("<no> figure")

    text = page("Title", [("Huge", huge), ("Broken", broken), ("Table", pd.DataFrame({"score": [2.5]}))])
    assert text.count("This figure could not be drawn") == 2 and "&lt;no&gt; figure" in text and "2.5" in text
    assert capsys.readouterr().err.count("could not be drawn") == 2
