"""Ranking of runs: one line per configuration, means and confidence intervals over seeds, paired differences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from datasets.files.reading import listed, shortened
from datasets.records import InputError
from predictors.metrics import LATER, LEAST
from predictors.settings import is_seed, label, short_names

SHOWN = ("spearman", "kendall", "mape", "within_1", "within_5", "within_10", *LATER)
"""Metrics of the test set in a line."""
PAIRED = ("spearman", "mape", "within_10", *LATER)
"""Metrics of the test set whose differences to another line are reported."""
LEVEL = 0.95
"""Confidence level of the intervals over seeds."""

Rows = list[dict[str, Any]]
Scores = dict[tuple, float]
"""Scores of a line by (split, seeds, device), or by (split, seeds) where they are means over devices."""


def lines_of(rows: Rows) -> dict[str, Rows]:
    """Rows by the label of their line: the predictor, all settings that differ (dotted columns) and, where a predictor
    has several numbers of labels, that number. Seeds are no part of it."""
    names, found = settings_of(name for row in rows for name in row), dict[tuple, Rows]()
    for row in rows:
        values = [f"{type(row.get(name)) is bool}{row.get(name)}" for name in names]
        found.setdefault((row["predictor"], *values, row["shots"]), []).append(row)
    alike = [key[:-1] for key in found]
    lines: dict[str, Rows] = {}
    for key, part in found.items():
        shown = {name: part[0][name] for name in names if part[0].get(name) is not None}
        shown |= {"labels": key[-1]} if alike.count(key[:-1]) > 1 else {}
        text = "-".join(filter(None, (key[0], label(shown))))
        lines[text if text not in lines else f"{text} ({len(lines) + 1})"] = part
    return lines


def ranking(rows: Rows) -> pd.DataFrame:
    """Means over devices, then seeds, on all cells; one line per configuration, with its label as index.

    Devices with fewer than `metrics.LEAST` cells in a set are excluded from its means.

    Returns:
        Table with these columns: predictor; one per setting that differs; labels (validation included); seeds, their
        number; validation Spearman, by which lines are sorted (undefined last); metrics of the test set; `test_cells`,
        the least number of test cells of a device; CPU seconds; and for every mean X of scores `X_ci`, half the width
        of its 95 % confidence interval by Student's t over seeds (NaN for one seed).
    """
    names = short_names(
        settings_of(name for row in rows for name in row),
        ("labels", "seeds", *(name for name in rows[0] if "." not in name)),
    )
    lines, labels = [], []
    for text, part in lines_of(rows).items():
        tested = [row for row in part if row["set"] == "test" and row["cells"] == "all"]
        line = {"predictor": part[0]["predictor"], **{names[name]: part[0].get(name) for name in names}}
        line |= {"labels": part[0]["shots"], "seeds": len({_seeds(row) for row in part})}
        wanted = {"val_spearman": ("val", "spearman"), **{metric: ("test", metric) for metric in SHOWN}}
        means = {name: _over_devices(_scores(part, *which)) for name, which in wanted.items()}
        line |= {name: _mean(values.values()) for name, values in means.items()}
        line["test_cells"] = min((row["n"] for row in tested if row["n"] >= LEAST), default=np.nan)
        line |= {name: _mean(row[name] for row in tested) for name in ("fit_cpu_s", "predict_cpu_s")}
        lines.append(line | {f"{name}_ci": half_width(list(values.values())) for name, values in means.items()})
        labels.append(text)
    columns = {name: [line[name] for line in lines] for name in lines[0]}
    kept = {name: pd.Series(columns[name], dtype=object) for name in names.values()}  # 64 beside None stays an integer
    table = pd.DataFrame(columns | kept)
    table.index = pd.Index(labels, name="line")
    return table.sort_values("val_spearman", ascending=False, na_position="last", kind="stable")


def differences(rows: Rows, against: str) -> pd.DataFrame:
    """Paired differences of all lines to one line, on the test set.

    A pair has the same split (its settings, its seed and the number of cells) and the same device; differences are
    averaged over devices within a seed, then over seeds. Two lines are paired by all seeds where they have the same
    ones, otherwise by the seed of the split alone.

    Args:
        rows: of all runs.
        against: a line's label, its number in `ranking` from 1 on, or a predictor's name: each line is then compared
            with the predictor's line of the same split.

    Returns:
        Table with one line per line of `ranking` but the chosen one: `against`, the label of the other line; pairs, the
        number of seeds in common; for each metric X of `PAIRED` the mean difference X and `X_ci`, half the width of its
        95 % confidence interval by Student's t (NaN for one pair). Lines without a pair have no differences.

    Raises:
        InputError: no line fits, or several lines of one split do.
    """
    lines, order = lines_of(rows), list(ranking(rows).index)
    chosen = _chosen(lines, order, against)
    table = {}
    for name in (name for name in order if name not in chosen):
        table[name] = {"against": "", "pairs": 0}
        for other in chosen:
            pairs = {metric: list(_paired(lines[name], lines[other], metric).values()) for metric in PAIRED}
            if number := len(pairs[PAIRED[0]]):
                table[name] = {"against": other, "pairs": number}
                for metric, values in pairs.items():
                    table[name] |= {metric: _mean(values), f"{metric}_ci": half_width(values)}
    columns = ["against", "pairs", *(f"{metric}{end}" for metric in PAIRED for end in ("", "_ci"))]
    return pd.DataFrame(list(table.values()), index=pd.Index(list(table), name="line"), columns=columns)


def _chosen(lines: Mapping[str, Rows], order: Sequence[str], against: str) -> list[str]:
    """Labels of the lines that a text names."""
    if against in lines:
        return [against]
    if against.isdecimal() and 0 < int(against[:9]) <= len(order):
        return [order[int(against) - 1]]
    named = [name for name in order if lines[name][0]["predictor"] == against]
    splits = [_split(lines[name][0]) for name in named]
    if not named or len(set(splits)) < len(splits):
        what = "names several lines" if named else "is no line"
        raise InputError(
            f"'{shortened(against, 60)}' {what} of this comparison; give the number of a line in the ranking (1 to "
            f"{len(order)}), or its name: {listed(named or order, 30)}."
        )
    return named


def _paired(line: Rows, other: Rows, metric: str) -> Scores:
    """Differences of a metric between two lines by (split, seeds), means over the devices of both."""
    left, right = _scores(line, "test", metric), _scores(other, "test", metric)
    if {key[:-1] for key in left} != {key[:-1] for key in right}:  # a seed of one predictor is no seed of the other
        left, right = (_means(((split, "", device), y) for (split, _, device), y in s.items()) for s in (left, right))
    return _over_devices({key: value - right[key] for key, value in left.items() if key in right})


def _scores(part: Rows, set_: str, metric: str) -> Scores:
    """Scores of a line on devices with enough cells; those of repeated runs become their mean."""
    kept = [row for row in part if row["set"] == set_ and row["cells"] == "all" and row["n"] >= LEAST]
    return _means(
        (
            ((*_split(row), row["seed"]), _seeds(row), (row["device"], row["n"])),
            np.nan if row.get(metric) is None else row[metric],
        )
        for row in kept
    )


def _over_devices(scores: Scores) -> Scores:
    """Means by (split, seeds)."""
    return _means((key[:-1], value) for key, value in scores.items())


def _means(values: Iterable[tuple[tuple, float]]) -> Scores:
    """Means by key; NaN where one of the values is."""
    found: dict[tuple, list[float]] = {}
    for key, value in values:
        found.setdefault(key, []).append(value)
    return {key: _mean(part) for key, part in found.items()}


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return float(np.mean(numbers)) if numbers else float("nan")


def half_width(values: Sequence[float]) -> float:
    """Half the width of the 95 % confidence interval of a mean by Student's t; NaN for fewer than two values."""
    from scipy.stats import t

    if len(values) < 2:
        return float("nan")
    return float(t.ppf((1 + LEVEL) / 2, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)


def excluded(rows: Rows) -> list[str]:
    """Devices with fewer than `metrics.LEAST` cells, and their number, one text per device and set."""
    small = {(row["device"], row["set"]): row["n"] for row in rows if row["cells"] == "all" and row["n"] < LEAST}
    return [f"{device or 'the metric'}: {n} {part} cells" for (device, part), n in small.items()]


def why_undefined(rows: Rows) -> list[str]:
    """Reasons for which lines have no validation Spearman, each in a sentence."""
    scored = [row for row in rows if row["set"] == "val" and row["cells"] == "all"]
    reasons = []
    if any(row["n"] < LEAST for row in scored):
        reasons.append(
            f"ranks need {LEAST} cells or more of a device for validation; enlarge that part, as by --split.train 0.4 "
            "--split.val 0.3."
        )
    if any(row["n"] >= LEAST and row["spearman"] is None for row in scored):
        reasons.append("a constant prediction ranks nothing; such predictors come last.")
    return reasons


def settings_of(columns: Iterable[object]) -> list[str]:
    """Columns of settings but seeds; their names have a dot."""
    return [name for name in dict.fromkeys(map(str, columns)) if "." in name and not is_seed(name)]


def _split(row: Mapping[str, Any]) -> tuple:
    """The split of a row without its seed."""
    return row["shots"], *(f"{name}={row[name]}" for name in row if name.startswith(("split.", "data.")))


def _seeds(row: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={row[name]}" for name in row if is_seed(name))
