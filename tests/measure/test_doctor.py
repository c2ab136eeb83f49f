"""The doctor reports each section as it ends, so that a bar can show how much is left."""

import pytest

from measure import doctor


def test_each_section_is_reported_when_it_is_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = {"what": "a", "found": "b", "todo": ""}
    monkeypatch.setattr(doctor, "SECTIONS", {"one": lambda: [finding], "two": lambda: [finding, finding]})
    calls = list[None]()
    found = doctor.diagnose(lambda: calls.append(None))
    assert list(found) == ["one", "two"] and len(calls) == 2
    assert doctor.as_text(found) == "one\n  a  b\n\ntwo\n  a  b\n  a  b"


@pytest.mark.parametrize("allowed, words", [({0}, "may use core 0"), ({0, 3}, "may use cores 0, 3")])
def test_numbers_of_cores_do_not_read_as_their_count(
    allowed: set[int], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.os, "sched_getaffinity", lambda process: allowed, raising=False)
    assert doctor._cores()["found"].endswith(words)
