"""Claims of a study, checked against its rows: targets are in a file, values come from the summary."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from datasets.files.described import from_fields
from datasets.files.reading import read_yaml
from datasets.files.writing import write_text
from datasets.records import InputError
from predictors.rows import SCORES, Columns, read_rows


@dataclass(frozen=True)
class Claim:
    """A mean over rows, and its target.

    Attributes:
        claim: the claim in words.
        metric: column that is averaged.
        target: value that the mean has to reach.
        where: values that rows must have, by column; predictor `best` is the configuration that ranks first by
            validation among the rows selected by the other columns.
        study: folder whose `summary.json` has the rows; by default the study's own.
        better: whether the target is a lower (`higher`) or an upper (`lower`) limit.
        command: command that writes the rows.
        note: reason why the target is missed, where it is.
    """

    claim: str
    metric: str
    target: float
    where: dict[str, Any] = field(default_factory=dict)
    study: str = ""
    better: Literal["higher", "lower"] = "higher"
    command: str = ""
    note: str = ""

    def columns(self) -> Columns:
        """Columns that all rows must have beside those that the claim names: those by which `best` is ranked."""
        ranks = self.where.get("predictor") == "best"
        return {name: fits for name, fits in SCORES.items() if ranks and name != "dataset"}

    def check(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """The entry of claims.json: claim, value, target, met, command, and rows (the number that was averaged).

        Raises:
            InputError: a column is unknown, or no row fits.
        """
        table = pd.DataFrame(rows)
        for column, value in sorted(self.where.items(), key=lambda item: item == ("predictor", "best")):
            if column not in table:
                raise InputError(f"'{self.claim}': rows have no column '{column}'; they have {list(table.columns)}.")
            if (column, value) == ("predictor", "best"):
                table = table.loc[table.index.intersection(_best(rows, table))]
                continue
            values = value if isinstance(value, list) else [value]
            table = table[[entry in values for entry in table[column].tolist()]]
        if table.empty or self.metric not in table:
            raise InputError(f"'{self.claim}': no row has {self.metric} where {self.where}; is the study complete?")
        try:
            value = table[self.metric].astype(float).mean(skipna=False)
        except (ValueError, TypeError) as error:
            raise InputError(f"'{self.claim}': {self.metric} is not a number in all rows ({error}).") from None
        met = bool(value >= self.target if self.better == "higher" else value <= self.target)
        entry = {"claim": self.claim, "value": float(value), "target": self.target, "met": met, "command": self.command}
        return entry | {"rows": len(table)} | ({"note": self.note} if self.note else {})


def _best(rows: list[dict[str, Any]], chosen: pd.DataFrame) -> list[int]:
    """Places of the rows of the line that ranks first by validation among rows with the chosen rows' number of
    labels."""
    from predictors.ranking import lines_of, ranking

    labels = set(chosen["shots"])
    among = [row for row in rows if row["shots"] in labels]
    best = {id(row) for row in lines_of(among)[ranking(among).index[0]]} if among else set()
    return [place for place, row in enumerate(rows) if id(row) in best]


def read_claims(path: Path) -> list[Claim]:
    """Read a YAML list of claims.

    Raises:
        InputError: there is no such file, or it is no list of claims.
    """
    tree = read_yaml(path, "name a YAML list of claims")
    if not isinstance(tree, list):
        raise InputError(f"{path} is no list of claims with the fields {[f.name for f in fields(Claim)]}.")
    return [from_fields(entry, Claim, f"{path}: claim {number}") for number, entry in enumerate(tree, 1)]


def check_claims(path: Path, folder: Path) -> list[dict[str, Any]]:
    """Check the claims of a file, and write `claims.json` into the study's folder.

    Raises:
        InputError: the file is no list of claims, or rows are missing; an existing claims.json is kept.
    """
    checked = []
    for claim in read_claims(path):
        summary = (Path(claim.study) if claim.study else folder) / "summary.json"
        if not summary.is_file():
            raise InputError(f"'{claim.claim}' needs {summary}, which is not there; run: {claim.command}.")
        checked.append(claim.check(read_rows(summary, claim.columns(), f"run: {claim.command}")))
    write_text(folder / "claims.json", json.dumps(checked, indent=1))
    return checked


def verdict(entry: dict[str, Any]) -> str:
    """An entry of claims.json as a line for people."""
    state = "met" if entry["met"] else "NOT MET"
    return f"{state}: {entry['claim']}: {entry['value']:.4g} (target {entry['target']:g})"
