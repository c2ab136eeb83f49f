"""Run folders of `train.py` and of `python -m predictors transfer`: names, files and when runs are skipped."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.files.folders import LONGEST, Busy, Outcome, check_replaceable, complete, inside, locked, whole_folder
from datasets.files.writing import write_bytes, write_text
from predictors.base import Predictor
from predictors.trainer import checkpoints_of

if TYPE_CHECKING:
    import pandas as pd

SHORT = ("config.yaml", "predictor.pt", "metrics.json", "report.html")
"""Files of a run folder of `transfer`."""
FILES = ("config.yaml", "predictor.pt", "predictor.onnx", "metrics.json", "predictions.parquet", "report.html")
"""Files of a run folder of `train.py`; predictor.onnx only for predictors with an ONNX form."""


@dataclass(frozen=True)
class Run:
    """Results that a run folder is written from.

    Attributes:
        config: configuration of the run, as the command's `--config` reads it.
        predictor: fitted.
        rows: of metrics.
        predictions: table of metric, set, key, device, measured and predicted values; None: not written.
    """

    config: dict[str, Any]
    predictor: Predictor
    rows: list[dict[str, Any]]
    predictions: pd.DataFrame | None = None

    def write(self, folder: Path) -> Exception | None:
        """Write `FILES` into a folder; without predictions, `SHORT`. Where the export fails, predictor.onnx is left
        out, so that the fit is not lost; the failure is returned, unless it is that there is no such form."""
        import yaml

        from predictors.export import NoOnnxForm, exported
        from predictors.report import run_report

        failure = None
        write_text(folder / "config.yaml", yaml.safe_dump(self.config, sort_keys=False))
        self.predictor.save(folder / "predictor.pt")
        write_text(folder / "metrics.json", json.dumps(self.rows, indent=1))
        write_text(folder / "report.html", run_report(self.config, self.rows, self.predictions))
        if self.predictions is not None:
            try:
                content = exported(self.predictor)
            except NoOnnxForm as reason:
                print(f"without predictor.onnx: {reason}")
            except Exception as error:  # of a `to_onnx` that anybody wrote
                failure = error
            else:
                write_bytes(folder / "predictor.onnx", content)
            self.predictions.to_parquet(folder / "predictions.parquet", index=False)
        return failure


def _whole(folder: Path, files: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `files` that a run folder has to have: predictor.onnx if it is there, since some have none."""
    return tuple(name for name in files if name != "predictor.onnx" or (folder / name).exists())


def named(study: Path, name: str, config: dict[str, Any], label: str = "") -> Path:
    """Run folder of a configuration in a study: that of an earlier run with equal settings, or a new one.

    A new folder is called by the run's name and `label` (`gcn-hidden=64-seed=1`); where a run with other settings has
    that name, a digest of all settings follows.

    Args:
        study: folder of run folders.
        name: name of the predictor in rows.
        config: configuration of the run without its folder.
        label: what distinguishes the run among others of the study.
    """
    import yaml

    text = yaml.safe_dump(config, sort_keys=False)
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:10]
    most = max(0, LONGEST - len(os.fsencode(name)) - len(digest) - 2)
    short = inside(study, f"{name}-{label[:most]}".rstrip("-=."))
    longer = inside(study, f"{short.name}-{digest}")
    before = inside(study, f"{name}-{digest}")  # the name that it had in earlier versions
    for folder in (short, longer, before, *(sorted(study.iterdir()) if study.is_dir() else ())):
        if not folder.name.startswith(".") and _is_of(folder, text):
            return folder
    return longer if short.exists() else short


def _is_of(folder: Path, settings: str) -> bool:
    """Whether a run folder has these settings: the text of its config.yaml without the folder's name at the end."""
    try:
        content = (folder / "config.yaml").read_text()
    except (OSError, UnicodeDecodeError):
        return False
    return content == settings or (content.startswith(settings) and content[len(settings) :].startswith("out: "))


def run_once(
    out: Path, files: tuple[str, ...], work: Callable[[Path], Run], *, study: bool, overwrite: bool = False
) -> Outcome:
    """Do a run and write its folder, whole or not at all, in one process at a time.

    Args:
        out: the run folder.
        files: files of a complete folder: `FILES` or `SHORT`.
        work: does the run, given the path of its folder.
        study: whether the folder is one of many: it is skipped where it is complete or another process writes it.
        overwrite: replace an existing run folder.

    Returns:
        Whether the run is done now, was complete before, or is being done by another process.

    Raises:
        InputError: the folder may not be written, or another process writes it and it is not one of many.
        Exception: what the export of the predictor raised, after the folder was written without it.
    """
    skips = study and not overwrite
    try:
        if not (skips and complete(out, _whole(out, files))):
            check_replaceable(out, _whole(out, files), overwrite)
            with locked(out) as place:
                # another process may have completed it meanwhile
                if not (skips and complete(place, _whole(place, files))):
                    check_replaceable(place, _whole(place, files), overwrite)
                    done = work(place)
                    with whole_folder(place, _whole(place, files), overwrite) as part:
                        failure = done.write(part)
                    shutil.rmtree(checkpoints_of(place), ignore_errors=True)
                    print(f"finished: {out}, see {out / 'report.html'}")
                    if failure:
                        print("It lacks predictor.onnx, for the reason below; predictor.pt is whole.", flush=True)
                        raise failure
                    return "done"
    except Busy as reason:
        if not study:
            raise
        print(f"left out: {reason}")
        return "busy"
    print(f"complete: {out}")
    return "complete"
