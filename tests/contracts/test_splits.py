"""Contract of `Split`, on every split that is there."""

import numpy as np
import pandas as pd
import pytest

from datasets.records import InputError, Measurements
from datasets.splits import HeldOutArchitectures, HeldOutDevices, HeldOutFamilies, Random, Split
from tests.conftest import implementations, made_up

every_split = pytest.mark.parametrize("cls", implementations("datasets", Split), ids=lambda cls: cls.__name__)


@pytest.fixture
def measurements(measurements: Measurements) -> Measurements:
    """Those of all contract tests, with families of architectures."""
    table = measurements.table.assign(family=[f"family_{arch % 13}" for arch in measurements.table["arch"]])
    return Measurements(measurements.architectures, measurements.devices, table, measurements.name)


def rows(m: Measurements) -> set[tuple[str, str, float]]:
    keys = m.architectures.keys
    return {(keys[a], m.devices[d].name, v) for a, d, v in m.table[["arch", "device", "value"]].itertuples(index=False)}


@every_split
def test_parts_are_disjoint_known_and_repeatable(cls: type[Split], measurements: Measurements) -> None:
    for split in cls.examples(measurements):
        parts, again, other = (split(measurements, np.random.default_rng(seed)) for seed in (5, 5, 6))
        known = rows(measurements)
        seen: set = set()
        for name in ("train", "val", "test"):
            part = rows(getattr(parts, name))
            assert part and part <= known and not part & seen
            assert part == rows(getattr(again, name))
            seen |= part
        assert rows(parts.train) != rows(other.train)


@pytest.mark.parametrize("split", [Random(100, 20), Random(0.5, 0.1), HeldOutArchitectures(100, 20)])
def test_sizes_are_what_was_asked_for(split: Split, measurements: Measurements) -> None:
    parts = split(measurements, np.random.default_rng(0))
    assert 100 <= len(parts.train.architectures) <= 105
    assert 18 <= len(parts.val.architectures) <= 25
    assert len(parts.test.architectures) >= 200 - 105 - 25


def test_a_test_of_fixed_size(measurements: Measurements) -> None:
    parts = Random(50, 10, test=30)(measurements, np.random.default_rng(0))
    assert [len(p.architectures) for p in (parts.train, parts.val, parts.test)] == [50, 10, 30]


def test_cells_that_do_the_same_work_stay_together(space) -> None:
    m = made_up(space.all()[np.arange(0, 15_625, 10)], num_devices=1)
    parts = HeldOutArchitectures(0.6, 0.2)(m, np.random.default_rng(0))
    groups = [set(space.canonical(p.architectures)) for p in (parts.train, parts.val, parts.test)]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]


def test_families_of_held_out_devices_are_not_learnt_from(measurements: Measurements) -> None:
    devices = [*measurements.devices, type(measurements.devices[0])("twin_of_1", "family_1", "gpu")]
    extra = measurements.table[measurements.table["device"] == 1].assign(device=2)
    m = Measurements(measurements.architectures, devices, pd.concat([measurements.table, extra]), "twins")
    parts = HeldOutDevices(devices=("toy_1",))(m, np.random.default_rng(0))
    assert [d.name for d in parts.train.devices] == [d.name for d in parts.val.devices] == ["toy_0"]
    assert [d.name for d in parts.test.devices] == ["toy_1"]


def test_folds_hold_out_every_family_once(measurements: Measurements) -> None:
    tested: list[str] = []
    for fold in range(5):
        parts = HeldOutFamilies(fold, 5)(measurements, np.random.default_rng(3))
        families = [set(part.table["family"]) for part in (parts.train, parts.val, parts.test)]
        assert not families[0] & families[1] and not (families[0] | families[1]) & families[2]
        tested += families[2]
    assert sorted(tested) == sorted(set(measurements.table["family"]))


def test_families_are_needed_to_hold_them_out(measurements: Measurements) -> None:
    table = measurements.table.drop(columns="family")
    bare = Measurements(measurements.architectures, measurements.devices, table, "bare")
    with pytest.raises(InputError, match="bare has no column `family`"):
        HeldOutFamilies()(bare, np.random.default_rng(0))


@pytest.mark.parametrize(
    "split",
    [
        HeldOutFamilies(10),
        HeldOutFamilies(0, 14),
        HeldOutFamilies(0, 2, val=0.99),
        Random(200, 10),
        Random(0.9, 0.2),
        Random(-1, 10),
        Random(10.5, 3),
        HeldOutDevices(),
        Random(100, 0),
        Random(float("inf"), 3),
        Random(float("nan"), 3),
    ],
)
def test_an_impossible_split_is_one_sentence(split: Split, measurements: Measurements) -> None:
    with pytest.raises(InputError):
        split(measurements, np.random.default_rng(0))


def test_an_unknown_device_is_named(measurements: Measurements) -> None:
    with pytest.raises(InputError, match="no device 'toy_9'"):
        HeldOutDevices(devices=("toy_9",))(measurements, np.random.default_rng(0))
