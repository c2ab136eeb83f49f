"""Tables written by `python -m measure table`, including the bundled ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from datasets.base import Dataset
from datasets.records import Device, InputError, Measurements

ROOT = Path(__file__).resolve().parent.parent


def located(path: Path) -> Path:
    """The path of a table; a relative one is searched in the working directory, then in Gnomon's folder.

    Raises:
        InputError: there is no such file.
    """
    for found in (Path(path), ROOT / path):
        if found.exists():
            return found
    raise InputError(f"There is no file {path}; `python -m measure table --out {path}` writes one.")


@dataclass
class Measured(Dataset):
    """A Parquet table with one row per measurement: space, key, device, metric, value and columns of spread.

    Attributes:
        path: the file; a relative path is searched in the working directory, then in Gnomon's folder.
    """

    path: Path = Path("datasets/bundled/nasbench201.parquet")

    def measurements(self) -> Measurements:
        from datasets.files.table_file import read_table
        from datasets.tabulate import tabulate

        path = located(self.path)
        table, meta = read_table(path)
        return tabulate(table, [Device(**device) for device in meta["devices"]], name=path.stem)
