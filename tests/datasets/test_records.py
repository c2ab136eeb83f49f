"""`Measurements` and `Architectures`: columns in, columns out, bad values refused."""

import numpy as np
import pandas as pd
import pytest

from datasets.records import MOST_DEVICES, Device, InputError, Measurements
from datasets.spaces.nasbench201 import NasBench201


def table(**changes: object) -> pd.DataFrame:
    columns = {"arch": [0, 1, 2, 0], "device": [0, 0, 0, 1], "metric": "latency_ms", "value": [1.0, 2.0, 3.0, 4.0]}
    return pd.DataFrame({**columns, **changes})


DEVICES = [Device("a", "one", "gpu"), Device("b", "two", "gpu")]


@pytest.fixture
def archs(space: NasBench201):
    return space.all()[[7, 8, 9]]


def test_matrix_and_where(archs) -> None:
    m = Measurements(archs, DEVICES, table(), "toy")
    np.testing.assert_array_equal(m.matrix("latency_ms"), [[1, 4], [2, np.nan], [3, np.nan]])
    part = m.where(archs=np.array([2, 0]), devices=["b", "a"])
    np.testing.assert_array_equal(part.matrix("latency_ms"), [[np.nan, 3], [4, 1]])
    assert part.architectures.keys == [archs.keys[2], archs.keys[0]]
    assert [d.name for d in part.devices] == ["b", "a"]
    assert m.where(metrics=["latency_ms"]).fingerprint() == m.fingerprint()
    assert m.where(devices=["b", "b"]).matrix("latency_ms")[0].tolist() == [4]  # a name given twice is one device


def test_a_metric_of_no_device_is_one_column(archs) -> None:
    m = Measurements(archs, [], table(device=-1, metric="accuracy", value=[0.1, 0.0, 0.3, 0.1]), "toy")
    assert m.matrix("accuracy").shape == (3, 1)
    assert m.where(archs=np.array([1])).matrix("accuracy").tolist() == [[0.0]]


@pytest.mark.parametrize("bad", [np.nan, -1.0, 0.0, np.inf])
def test_a_bad_label_is_refused_with_its_row(archs, bad: float) -> None:
    with pytest.raises(InputError, match=r"toy: 1 of 4 values are missing, infinite, zero or negative .* in row 2"):
        Measurements(archs, DEVICES, table(value=[1, 2, bad, 4]), "toy")


def test_a_missing_column_is_named(archs) -> None:
    with pytest.raises(InputError, match="toy: the table has no column 'metric'"):
        Measurements(archs, DEVICES, table().drop(columns="metric"), "toy")


def test_positions_outside_are_refused(archs) -> None:
    with pytest.raises(InputError, match="column 'arch' points outside the 3"):
        Measurements(archs, DEVICES, table(arch=[0, 1, 3, 0]), "toy")


def test_thousands_of_devices_are_refused(archs) -> None:
    """Tables that compare them with each other would take gigabytes."""
    devices = [Device(str(i), "one", "gpu") for i in range(MOST_DEVICES + 1)]
    with pytest.raises(InputError, match=r"toy has 1,001 devices, and a data set at most 1,000"):
        Measurements(archs, devices, table(), "toy")


def test_unknown_devices_and_metrics_are_named(archs) -> None:
    m = Measurements(archs, DEVICES, table(), "toy")
    with pytest.raises(InputError, match="no device 'c' here; known are: a, b"):
        m.device("c")
    with pytest.raises(InputError, match="no metric 'energy_mj'; it has"):
        m.matrix("energy_mj")


def test_the_fingerprint_sees_values_and_not_the_order_of_rows(archs) -> None:
    m = Measurements(archs, DEVICES, table(), "toy")
    shuffled = Measurements(archs, DEVICES, table().sample(frac=1, random_state=0), "toy")
    changed = Measurements(archs, DEVICES, table(value=[1.0, 2.0, 3.0, 4.0001]), "toy")
    assert m.fingerprint() == shuffled.fingerprint() != changed.fingerprint()


def test_measurements_cannot_be_changed_through_their_architectures(archs) -> None:
    with pytest.raises(ValueError, match="read-only"):
        archs.decisions[0, 0] = 1


def test_rows_of_architectures_are_architectures_that_cannot_be_changed(archs) -> None:
    for rows, index in ((archs[1:], [1, 2]), (archs[[2, 0]], [2, 0]), (archs[np.array([], int)], [])):
        assert rows == type(archs)(archs.space, archs.decisions[index].reshape(-1, archs.decisions.shape[1]))
        with pytest.raises(ValueError, match="read-only"):
            rows.decisions[:] = 1
    with pytest.raises(InputError, match="takes 6 decisions a row"):
        archs[np.array([[0, 1]])]


def test_positions_of_architectures_among_others(archs) -> None:
    assert archs.positions(archs[[2, 0, 0]]).tolist() == [2, 0, 0]
    assert archs[[0, 2]].positions(archs[[1, 2]]).tolist() == [-1, 1]
    assert archs[[2]].positions(archs[:0]).tolist() == archs[:0].positions(archs[:0]).tolist() == []
