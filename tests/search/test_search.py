"""Each search on its own: known optima, proxies, adapted predictors, and budgets on tables and boards."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.measured import Measured
from datasets.pareto import pareto
from datasets.records import Architectures, Device, InputError
from predictors.new_devices.conditioned import Conditioned
from search.base import Problem
from search.bisection import BestProxy, Bisection
from search.costs import read_measurements
from search.evolution import Evolution, Exhaustive
from search.gain import Corrected, ExpectedGain, correct
from search.proxies import UncertainCost, adapting, ranked
from search.task import Requirements, SearchTask
from search.task import run as run_task
from tests.conftest import made_up, run
from tests.doubles.problems import SPACE, CountedColumn, random_problem


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 200), budget=st.floats(0, 1), costs=st.integers(1, 2))
def test_exhaustive_finds_the_optimum(seed: int, n: int, budget: float, costs: int) -> None:
    problem, quality, ms = random_problem(seed, n, budget, costs)
    feasible = (ms <= np.array(list(problem.budgets.values()))).all(axis=1)
    decision = Exhaustive()(problem, np.random.default_rng(0))
    assert decision.met == feasible.any()
    if decision.met:
        assert decision.quality == quality[feasible].max()


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 200), budget=st.floats(0, 1), granularity=st.floats(0.001, 0.4))
def test_bisection_needs_no_more_than_its_bound_and_finds_the_optimum(
    seed: int, n: int, budget: float, granularity: float
) -> None:
    """With a monotone proxy and a granularity finer than the front equation 5 has no gap."""
    problem, quality, ms = random_problem(seed, n, budget)
    bound = math.ceil(math.log2(1 / granularity))
    decision = Bisection(bound)(problem, np.random.default_rng(0))
    assert decision.queries <= bound
    front = len(pareto(quality, ms))
    if 2 ** (bound - 1) > 2 * front:
        assert decision.met
        assert decision.quality == quality[ms[:, 0] <= problem.budgets["cost_0"]].max()


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 60), costs=st.integers(1, 3), ties=st.booleans())
def test_the_front_is_what_nothing_dominates(seed: int, n: int, costs: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    quality, values = rng.random(n), rng.random((n, costs))
    if ties:
        quality, values = quality.round(1), values.round(1)
    front = pareto(quality, values)
    for i in range(n):
        dominated = ((quality[front] >= quality[i]) & (values[front] <= values[i]).all(axis=1)).any()
        assert dominated  # by itself, where it stands there
    for i in front:
        better = (quality >= quality[i]) & (values <= values[i]).all(axis=1)
        strictly = (quality > quality[i]) | (values < values[i]).any(axis=1)
        assert not (better & strictly).any()
    assert (np.diff(values[front, 0]) >= 0).all()


@pytest.mark.parametrize("equation", ["weighted", "budget"])
def test_loose_and_impossible_budgets_are_answered(equation: str) -> None:
    problem, quality, ms = random_problem(1, 150)
    loose = replace(problem, budgets={"cost_0": 1e9})
    found = Bisection(equation=equation)(loose, np.random.default_rng(0))
    assert found.met and found.quality == quality.max()
    impossible = replace(problem, budgets={"cost_0": 1e-9})
    found = Bisection(equation=equation)(impossible, np.random.default_rng(0))
    assert not found.met and found.costs["cost_0"] == ms.min()


def test_solved_optima_are_reused_for_other_budgets_and_delta_stops_early() -> None:
    problem, _, _ = random_problem(2, 150)
    search = Bisection()
    search(problem, np.random.default_rng(0))
    asked = problem.proxies["cost_0"].queries, problem.quality.queries
    other = replace(problem, budgets={"cost_0": 1.2 * problem.budgets["cost_0"]})
    search(other, np.random.default_rng(0))
    assert problem.proxies["cost_0"].queries == asked[0]
    assert problem.quality.queries - asked[1] <= search.measurements  # only to tell the decision
    assert Bisection(delta=1.0)(problem, np.random.default_rng(0)).queries < search(problem, None).queries


def test_of_several_proxies_the_monotone_one_is_taken() -> None:
    problem, _, ms = random_problem(3, 120)
    archs, rng = problem.candidates, np.random.default_rng(0)
    noise = CountedColumn(archs, rng.random(len(archs)))
    pool = {"noise": noise, "alike": problem.proxies["cost_0"]}
    few = np.arange(10)
    scores = ranked(pool, archs[few], ms[few, 0])
    assert list(scores) == ["alike", "noise"] and scores["alike"] > 0.8 > scores["noise"]
    with pytest.raises(InputError, match="four or more"):
        ranked(pool, archs[:3], ms[:3, 0])
    costs = {name: {"cost_0": said} for name, said in pool.items()}
    search = BestProxy(pool=costs, refine=True)
    decision = search(replace(problem, proxies={}), rng)
    assert search.matched_ == "alike" and decision.met and decision.queries <= 10


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"budgets": {"cost_0": -1.0}}, "positive"),
        ({"budgets": {"ms": 1.0}}, "same names"),
        ({"proxies": {"ms": None}}, "no budget"),
        ({"candidates": SPACE.all()[:0]}, "Candidates"),
    ],
)
def test_a_wrong_problem_is_refused_with_a_sentence(change: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        replace(random_problem(0, 5)[0], **change)


@pytest.mark.parametrize("search", [Evolution(population=0), Evolution(contenders=-1), Evolution(contenders=10**12)])
def test_an_evolution_of_nobody_is_refused(search: Evolution) -> None:
    with pytest.raises(InputError, match="has to be between 1 and 1,000,000"):
        search(random_problem(0, 20)[0], np.random.default_rng(0))


def test_bisection_without_a_proxy_says_so() -> None:
    with pytest.raises(InputError, match="needs a proxy"):
        Bisection()(replace(random_problem(0, 5)[0], proxies={}), np.random.default_rng(0))


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(3, 150), budget=st.floats(0, 1))
def test_a_perfect_predictor_of_the_target_needs_one_measurement_beside_the_samples(
    seed: int, n: int, budget: float
) -> None:
    """With one device only, the method is the device-specific one: optimise on its own predictor."""
    problem, quality, ms = random_problem(seed, n, budget)
    own = CountedColumn(problem.candidates, ms[:, 0])
    decision = ExpectedGain(fits={"cost_0": lambda archs, costs: own})(problem, np.random.default_rng(seed))
    best = quality[ms[:, 0] <= problem.budgets["cost_0"]].max()
    assert decision.met and decision.quality == best
    assert best in problem.quality(decision.measured[:3])
    bisected = Bisection(20)(replace(problem, proxies={"cost_0": own}), np.random.default_rng(seed))
    assert bisected.met and bisected.quality == best


@pytest.fixture(scope="module")
def conditioned() -> tuple[Conditioned, Architectures, CountedColumn, Device]:
    """Our predictor fitted on two devices, and a third one's true latencies."""
    archs = SPACE.sample(300, np.random.default_rng(0))
    archs = archs[np.unique(archs.decisions, axis=0, return_index=True)[1]]
    m = made_up(archs, 3)
    model = Conditioned().fit(m.where(devices=["toy_0", "toy_1"]))
    return model, archs, CountedColumn(archs, m.matrix("latency_ms")[:, 2]), m.device("toy_2")


def test_an_adapted_predictor_finds_the_optimum_in_ten_measurements(conditioned) -> None:
    model, archs, true, device = conditioned
    quality = archs.space.totals(archs)["params"].to_numpy(float) + np.random.default_rng(1).normal(0, 1e5, len(archs))
    ms = true(archs)
    most = float(np.quantile(ms, 0.5))
    problem = Problem(SPACE, CountedColumn(archs, quality), {"latency_ms": true}, {"latency_ms": most}, {}, archs)
    fit = adapting(model, device)
    assert isinstance(fit(archs[:3], ms[:3]), UncertainCost)
    decision = ExpectedGain(fits={"latency_ms": fit}, choose=model.choose)(problem, np.random.default_rng(0))
    assert decision.met and decision.queries <= 10
    assert (quality[ms <= most] > decision.quality).mean() < 0.02


def test_a_new_data_set_leaves_latency_predictors_and_what_was_measured_untouched(conditioned, tmp_path) -> None:
    """Section 5.3: other accuracies need another accuracy predictor and another search, nothing else."""
    model, archs, true, device = conditioned
    adapted = model.adapt(made_up(archs, 3).where(devices=["toy_2"]).where(archs=np.arange(8)))

    def saved() -> list[bytes]:
        files = []
        for one in (model, adapted):
            one.save(tmp_path / "predictor.pt")
            files.append((tmp_path / "predictor.pt").read_bytes())
        return files

    before = saved()
    said, asked = adapted.on(device), true.queries
    found = []
    for data_set in (1, 2):
        quality = CountedColumn(archs, np.random.default_rng(data_set).uniform(10, 90, len(archs)))
        most = {"latency_ms": float(np.median(said(archs)))}
        problem = Problem(SPACE, quality, {"latency_ms": said}, most, {"latency_ms": said}, archs)
        found.append(Bisection()(problem, np.random.default_rng(0)).arch)
    assert found[0] != found[1] and true.queries == asked
    assert saved() == before


def test_a_corrected_proxy_follows_what_was_measured_nearby_and_knows_how_sure_it_is() -> None:
    rng = np.random.default_rng(0)
    archs = random_problem(0, 200)[0].candidates
    proxy = rng.lognormal(1, 0.6, len(archs))
    target = 0.4 * proxy**1.2 * np.exp(0.03 * rng.standard_normal(len(archs)))
    order = np.argsort(proxy)
    few = order[np.linspace(5, len(order) - 5, 8).astype(int)]
    believed = correct(CountedColumn(archs, proxy))(archs[few], target[few])
    assert isinstance(believed, Corrected)
    error = np.abs(np.log(believed(archs) / target))
    assert np.median(error) < 0.05 < np.median(np.abs(np.log(0.4 * proxy / target)))
    chance = believed.belief(archs).cdf(float(np.median(target)))
    assert chance[target < 0.6 * np.median(target)].min() > 0.9 > 0.1 > chance[target > 1.6 * np.median(target)].max()
    sure = (chance > 0.9) | (chance < 0.1)
    assert ((chance > 0.5) == (target <= np.median(target)))[sure].mean() > 0.9
    with pytest.raises(InputError, match="above zero"):
        correct(CountedColumn(archs, proxy - 5))(archs[few], target[few])


def test_what_cannot_run_is_no_reason_to_stop() -> None:
    """Half of all measurements fail (NaN): the search goes on with what can be learnt."""
    problem, _, ms = random_problem(5, 120)
    broken = np.where(np.random.default_rng(0).random(len(ms)) < 0.5, np.nan, ms[:, 0])
    holed = replace(problem, costs={"cost_0": CountedColumn(problem.candidates, broken)})
    for search in (ExpectedGain(20), Bisection(20), Bisection(20, refine=True)):
        decision = search(holed, np.random.default_rng(0))
        assert decision.met and np.isfinite(decision.costs["cost_0"])


def test_nothing_to_learn_from_is_said() -> None:
    with pytest.raises(InputError, match="Nothing predicts cost_0"):
        ExpectedGain()(replace(random_problem(0, 5)[0], proxies={}), np.random.default_rng(0))


def test_the_command_bisects_on_bundled_tables_and_draws(tmp_path) -> None:
    tables, out = "datasets/bundled/nasbench201.parquet", tmp_path / "path.png"
    common = ["--accuracy=datasets/bundled/accuracy.parquet", f"--latency={tables}", f"--proxy={tables}"]
    devices = ["--device=xeon_ort_fp32_1", "--proxy-device=xeon_ort_fp32_16", f"--out={out}"]
    done = run("-m", "search", "bisect", *common, *devices, "--budget-ms=5")
    assert done.returncode == 0, done.stderr
    assert "keeps the budget of 5 ms" in done.stdout and out.stat().st_size > 10_000
    with pytest.raises(InputError, match="no suffix of a picture"):  # before anything is read
        run_task(lambda *_: pytest.fail(), SearchTask(Path(), "", 1, out=tmp_path / "p.v2"))
    wrong = run(
        "-m", "search", "bisect", *common, "--device=nobody", "--proxy-device=xeon_ort_fp32_16", "--budget-ms=5"
    )
    assert wrong.returncode == 2 and "There is no device 'nobody'" in wrong.stderr


def test_tables_of_several_spaces_are_refused() -> None:
    """Nothing can be drawn of them, nor decided in one space."""
    with pytest.raises(InputError, match="a search needs those of one space"):
        read_measurements(Path("datasets/bundled/zoo.parquet,datasets/bundled/convnet.parquet"))


@pytest.mark.parametrize("equation", ["weighted", "budget"])
def test_budgets_of_latency_and_energy_are_kept_on_a_real_board(equation: str) -> None:
    """Equation 7 on a Raspberry Pi 5: onnxruntime by means of LiteRT, ten measurements."""
    from datasets.public import help as help_
    from datasets.public import nats, pi5

    for source in (help_.SOURCE, nats.SOURCE, pi5.SOURCE):
        if not source.present():
            pytest.skip(f"the file is not here: python -m datasets fetch {source.name}")
    from studies.search.more import board

    _, archs, quality, costs = board()
    true, proxy = costs["pi5_onnx"], costs["pi5_litert"]
    table = np.stack([true[name](archs) for name in true], axis=1)
    limits = np.quantile(table, 0.6, axis=0) * np.array([1.0, 0.9])
    budgets = dict(zip(true, limits.tolist(), strict=True))
    decision = Bisection(10, equation)(Problem(archs.space, quality, true, budgets, proxy, archs), None)
    assert decision.met and decision.queries <= 10 and set(decision.costs) == {"latency_ms", "energy_mj"}
    best = quality(archs)[(table <= limits).all(axis=1)].max()
    assert decision.quality > best - (5 if equation == "weighted" else 2)


BUNDLED = Path("datasets/bundled/nasbench201.parquet")
ACCURACY = Path("datasets/bundled/accuracy.parquet")


def test_the_best_precision_of_a_runtime_is_chosen_within_a_limit_of_memory(tmp_path, capsys) -> None:
    from search.__main__ import exhaustive
    from search.costs import within_memory

    precisions = [f"xeon_openvino_{precision}_1" for precision in ("fp32", "bf16", "int8")]
    exhaustive(Requirements(ACCURACY, str(BUNDLED), 0.5, ", ".join(precisions), memory_mb=0.2, out=tmp_path / "a.png"))
    printed = capsys.readouterr().out
    latencies, accuracy = (Measured(file).measurements() for file in (BUNDLED, ACCURACY))
    best = {}
    quality = dict(zip(accuracy.architectures.keys, accuracy.matrix("accuracy_digits")[:, 0], strict=True))
    archs = within_memory(latencies.architectures, 0.2)
    small_ones = set(archs.keys)
    assert 0 < len(archs) < len(latencies.architectures)
    for name in precisions:
        column = latencies.where(devices=[name])
        ms = column.matrix("latency_ms")[:, 0]
        fast = [key for key, value in zip(column.architectures.keys, ms, strict=True) if value <= 0.5]
        best[name] = max((quality[key], key) for key in fast if key in quality and key in small_ones)
    assert "best: xeon_openvino_bf16_1" in printed and best["xeon_openvino_bf16_1"][1] in printed
    assert max(best.values()) == best["xeon_openvino_bf16_1"]
    with pytest.raises(InputError, match="Nothing runs in"):
        within_memory(latencies.architectures, 1e-6)


def test_the_command_adapts_a_predictor_to_the_target(tmp_path, capsys) -> None:
    from search.__main__ import bisect, exhaustive

    m = Measured(BUNDLED).measurements()
    sources = ["xeon_ort_fp32_1", "xeon_eager_fp32_1", "xeon_ort_int8_1"]
    Conditioned().fit(m.where(devices=sources)).save(tmp_path / "sources.pt")
    problem = Requirements(ACCURACY, str(BUNDLED), 1.0, out=tmp_path / "b.png")
    bisect(replace(problem, device="xeon_openvino_fp32_1"), str(tmp_path / "sources.pt"), equation="adapted")
    assert "keeps the budget of 1 ms; 10 queries" in capsys.readouterr().out
    bisect(replace(problem, device="xeon_openvino_fp32_1"), str(BUNDLED))
    printed = capsys.readouterr()
    assert "proxy: xeon_ort_fp32_1" in printed.err and "keeps the budget of 1 ms" in printed.out
    exhaustive(replace(problem, latency=str(tmp_path / "sources.pt"), device="xeon_ort_fp32_1"))
    printed = capsys.readouterr().out
    assert "predicted latency" in printed and "drawn" in printed and "P(latency" not in printed, (
        "of sources it is not sure"
    )
    with pytest.raises(InputError, match="cannot learn a new device"):
        bisect(replace(problem, device="xeon_jax_fp32_1"), str(BUNDLED), equation="adapted")
    with pytest.raises(InputError, match="no metric 'energy_mj'"):
        bisect(replace(problem, device="xeon_jax_fp32_1", budget_mj=1.0), str(BUNDLED), "xeon_ort_fp32_1")
