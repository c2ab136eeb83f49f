"""The fuzzer: damaged inputs of every kind never end in a traceback, and the fuzzer itself notices what goes wrong."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.fuzz import campaign
from tests.fuzz.campaign import Campaign
from tests.fuzz.family import Family, families

SEED, VALID, DAMAGED = 17, 2, 6
"""Of the cases here; `make fuzz` draws others."""


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], dict]]:
    """Damages inputs of one family after the other, in a process beside this one; what was found in one of them."""
    folder = tmp_path_factory.mktemp("fuzz")
    file = folder / "summary.json"
    numbers = f"--seed {SEED} --valid {VALID} --cases {DAMAGED}".split()
    command = [sys.executable, "-m", "tests.fuzz", *numbers, "--out", str(folder), "--summary", str(file)]
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)

    def of(name: str) -> dict:
        while True:
            ended = process.poll() is not None
            found = json.loads(file.read_text()) if file.exists() else {"cases": {}}
            if name in found["cases"]:
                return found
            assert not ended, (folder / "output").read_text()
            time.sleep(0.2)

    yield of
    process.kill()
    process.wait()


@pytest.mark.parametrize("name", families())
def test_no_damaged_input_ends_in_a_traceback(name: str, summary: Callable[[str], dict]) -> None:
    assert not [f"{kind} ({count})" for family, kind, count in summary(name)["found"] if family == name], (
        f"python -m tests.fuzz --family '{name}' --seed {SEED} --valid {VALID} --cases {DAMAGED}"
    )


SCRIPTS = {
    "pass": "",
    "print('error: no', file=__import__('sys').stderr); raise SystemExit(2)": "",
    "raise KeyError('a')": "KeyError in :",
    "raise SystemExit(3)": "exit code 3",
    "raise SystemExit(2)": "not one sentence on stderr: nothing at all",
    "import sys; print('error: ' + 'x' * 5000, file=sys.stderr); sys.exit(2)": "a sentence of 5007",
    "import sys; print('Warning\\nerror: no', file=sys.stderr); sys.exit(2)": "not one sentence on stderr: Warning",
    "import os, signal; os.kill(os.getpid(), signal.SIGTERM)": "crashed by SIGTERM",
    "import os; os._exit(5)": "ended its process with 5",
    "open('../../outside', 'w')": "",
    "open('/tmp/fuzz-outside', 'w')": "wrote outside of its folder",
    "import os; os.system('true')": "os.system by",
    "open('x.py', 'w')": "changed its input x.py",
    "import gnomon_sentinel": "imported what a file names",
    "x = bytearray(b'x') * (5 * 2**28)": "needed more than 1 GiB",
    "while True: pass": "took more than",
}


def test_the_fuzzer_notices_what_goes_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "SECONDS", 3.0)  # filling memory takes seconds on a slow machine
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(tempfile, "tempdir", None)
    files = [{"x.py": script.encode()} for script in SCRIPTS]
    family = Family(
        "script", lambda folder: files, lambda files, rng: files, lambda case, beside, rng: [str(case / "x.py")]
    )
    one = Campaign(0, tmp_path / "work", tmp_path / "found", say=lambda text: None)
    for number, (script, kind) in enumerate(SCRIPTS.items(), 1):
        one.found.clear()
        one.run(family, [-number])
        kinds = [kind for _, kind in one.found]
        assert len(kinds) == bool(kind) and all(found.startswith(kind) for found in kinds), (script, kinds)
    assert not Path("/tmp/fuzz-outside").exists() or Path("/tmp/fuzz-outside").unlink() is None


def test_cases_are_reproduced_by_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "beside").mkdir()
    family = families()["journal"]
    first, second = (campaign.case(family, 1, 5, tmp_path) for _ in range(2))
    assert first == second != campaign.case(family, 2, 5, tmp_path)
