"""Public files: downloaded at a pinned commit, checked by SHA-256, and resumed after interruptions."""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from datasets.files.reading import listed
from datasets.records import InputError

MIRROR = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class Source:
    """Files of one public repository at one commit.

    Attributes:
        name: name of their folder.
        repository: owner/name on GitHub.
        commit: forty hexadecimal digits.
        licence: licence stated by the repository.
        files: path in the repository -> SHA-256.
    """

    name: str
    repository: str
    commit: str
    licence: str
    files: Mapping[str, str]

    def path(self, file: str) -> Path:
        """The path of a file: `$GNOMON_DATA/<name>/<file>`, by default under `~/.cache/gnomon`."""
        return data_folder() / self.name / file

    def present(self) -> list[str]:
        """Files that are present."""
        return [file for file in self.files if self.path(file).is_file()]

    def need(self, file: str) -> Path:
        """The path of a file.

        Raises:
            InputError: the file is missing.
        """
        path = self.path(file)
        if not path.is_file():
            raise InputError(f"There is no {path}; `python -m datasets fetch {self.name}` downloads it.")
        return path

    def report_unknown(self, file: str) -> None:
        """Print a warning that names the files beside `file`, with its suffix, that are none of this source: a clone of
        the repository may have more devices than the pinned commit."""
        path = self.path(file)
        known = {self.path(name) for name in self.files}
        others = sorted(other.stem for other in path.parent.glob(f"[!.]*{path.suffix}") if other not in known)
        if others:
            what = f"{len(others)} file{'s' * (len(others) > 1)} that Gnomon does not know and leaves out"
            print(f"warning: {path.parent} has {what}: {listed(others)}.", file=sys.stderr)


def data_folder() -> Path:
    """The folder of all downloaded files."""
    return Path(os.environ.get("GNOMON_DATA") or Path.home() / ".cache" / "gnomon").expanduser()


def fetch(source: Source, mirror: str = MIRROR, log: Callable[[str], None] = print) -> list[Path]:
    """Download missing and damaged files.

    Raises:
        InputError: the server cannot be reached, or sends other content than the pinned file.
    """
    paths = []
    for number, (file, digest) in enumerate(source.files.items(), 1):
        path = source.path(file)
        if not (path.is_file() and _sha256(path) == digest):
            log(f"[{number}/{len(source.files)}] {file}")
            _download(f"{mirror}/{source.repository}/{source.commit}/{quote(file)}", path, digest)
        paths.append(path)
    return paths


def _download(url: str, path: Path, digest: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    try:
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        with urllib.request.urlopen(request, timeout=60) as answer, part.open("ab") as file:
            if answer.status != 206:  # the server sends the whole file
                file.truncate(0)
            while block := answer.read(1 << 16):
                file.write(block)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: nothing is left to send
            raise InputError(f"{url} answers {error.code} {error.reason}; is the mirror right?") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException, ValueError) as error:
        raise InputError(f"Cannot reach {url} ({error}); what has come so far is kept, run it again.") from error
    if _sha256(part) != digest:
        part.unlink()
        raise InputError(f"{url} did not send the pinned file (its SHA-256 differs); run it again or use a mirror.")
    part.replace(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
