"""Command line of studies: `python -m studies {list,run,claims}`."""

from __future__ import annotations

from pathlib import Path

from datasets.cli import main


def list_() -> None:
    """Print the name of every study, what it shows, what it needs and how long it takes."""
    from studies.study import about, names

    for name in names():
        print(f"{name}: {about(name)}")


def run(name: str) -> None:
    """Run a study, going on where it was stopped, and check what it claims.

    Args:
        name: one that `list` prints.
    """
    from studies.study import find

    find(name).run()
    claims(name)


def claims(name: str, file: Path | None = None) -> None:
    """Check a study's claims against the rows that its last run left; written to claims.json with their values.

    Args:
        name: one that `list` prints; with `file`, the folder of another study's summary.json.
        file: claims of that other study, a YAML list as every claims.yaml of studies/ holds.
    """
    from studies.claims import check_claims, verdict
    from studies.study import STUDIES, find

    path, folder = (file, Path(name)) if file else (STUDIES / name / "claims.yaml", find(name).folder)
    print(*map(verdict, check_claims(path, folder)), sep="\n")


if __name__ == "__main__":
    list_.__name__ = "list"
    main([list_, run, claims], prog="python -m studies", positional=True)
