"""Command line of studies: `python -m studies {list,run,claims}`."""

from __future__ import annotations

from pathlib import Path

from datasets.cli import main


def list_() -> None:
    """Print the name of each study, its results, requirements and duration."""
    from studies.study import about, names

    for name in names():
        print(f"{name}: {about(name)}")


def run(name: str) -> None:
    """Run a study, continuing where it was stopped, and check its claims.

    Args:
        name: name of the study, from `list`.
    """
    from studies.study import find

    find(name).run()
    claims(name)


def claims(name: str, file: Path | None = None) -> None:
    """Check a study's claims against the rows of its last run; writes them with their values to claims.json.

    Args:
        name: name of the study, from `list`; with `file`, a folder that holds a summary.json.
        file: claims about that summary, a YAML list with the fields of the claims.yaml files of studies/.
    """
    from studies.claims import check_claims, verdict
    from studies.study import STUDIES, find

    path, folder = (file, Path(name)) if file else (STUDIES / name / "claims.yaml", find(name).folder)
    print(*map(verdict, check_claims(path, folder)), sep="\n")


if __name__ == "__main__":
    list_.__name__ = "list"
    main([list_, run, claims], prog="python -m studies", positional=True)
