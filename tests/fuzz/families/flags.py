"""Command lines themselves: flags whose values nobody expects, beside files that are as they should be."""

from pathlib import Path
from random import Random

from tests.fuzz import inputs
from tests.fuzz.families.configurations import bench
from tests.fuzz.family import Command, Family, Files
from tests.fuzz.mutations import CLASS_PATHS, NUMBERS, WORDS

COMMANDS = """
predictors predict {}/adapted.pt --arch KEY --device toy_2 --level 0.9
predictors predict {}/linear.onnx --archs {}/archs.txt --device toy_0
predictors predict {}/layerwise.pt --network {}/ours.onnx --device toy_0 --batch 1 --out x.png
predictors choose {}/conditioned.pt --n 3 --seed 1 --archs {}/archs.txt
predictors adapt {}/conditioned.pt --measurements {}/table.parquet --device toy_0 --out new.pt
predictors score {}/linear.pt scores.parquet --limit 20
predictors show {}/linear.pt
predictors export {}/linear.pt p.onnx
predictors compare {}
predictors summarise {}
studies claims {} --file {}/none.yaml
datasets show {}/ours.onnx --batch 1
datasets describe {}/data.yaml --metric latency_ms --out figures
datasets enumerate small_zoo --out all.parquet --totals true
datasets leti {}/data.yaml out.json --metric latency_ms
measure table --journal {}/j.jsonl --out t.parquet --unstable true --quiet 1.1
measure repeatability --file {}/table.parquet
measure run --space nasbench201 --backend tensorrt --limit 2 --timing.repeats 1 --seed 0 --timing.timeout 5 \
--protocol quick --host x
measure build --arch KEY --space nasbench201(cells=1,channels=8) --backend ort:fp32:1 --block true --out built
measure delegates --file {}/ours.onnx
search exhaustive --accuracy {}/accuracy.parquet --latency {}/table.parquet --budget_ms 5 --device toy_0 \
--problem.memory_mb 9 --out x.png
search bisect --accuracy {}/accuracy.parquet --latency {}/table.parquet --proxy {}/table.parquet --proxy_device \
toy_1 --budget_ms 5 --device toy_0 --measurements 3 --delta 0.1 --equation budget --refine true --seed 1 --out x.png
search evolve --accuracy {}/accuracy.parquet --latency {}/table.parquet --budget_ms 5 --device toy_0 --measurements \
9 --population 4 --contenders 2 --seed 1 --out x.png
search hybrid --accuracy {}/accuracy.parquet --latency {}/table.parquet --proxy {}/conditioned.pt --budget_ms 5 \
--device toy_0 --measurements 8 --samples 3 --evaluations 9 --doubt 0.2 --confidence 0.8 --seed 1 --out x.png
train.py --data {}/data.yaml --split {}/split.yaml --predictor {}/mean.yaml --seed 1 --name x --out run --overwrite \
false
train.py --data {}/data.yaml --split {}/split.yaml --split.train 10 --predictor {}/linear.yaml --predictor.tolerance \
0 --study s
"""
LINES = [line.split() for line in COMMANDS.strip().splitlines()]


def _make(folder: Path) -> list[Files]:
    bench(folder)
    inputs.predictor(folder, "linear")
    inputs.exported(folder, "linear")
    inputs.adapted(folder)
    inputs.layerwise(folder)
    inputs.accuracies(folder)
    (folder / "j.jsonl").write_bytes(inputs.journal())
    (folder / "archs.txt").write_text("\n".join(inputs.keys(20)))
    for name, content in inputs.network_files(folder).items():
        (folder / name).write_bytes(content)
    return [{}]


def _attack(case: Path, beside: Path, rng: Random) -> Command:
    line = [word.replace("{}", str(beside)).replace("KEY", inputs.keys()[0]) for word in rng.choice(LINES)]
    for _ in range(rng.choice((1, 1, 1, 2))):
        i = rng.randrange(2, len(line))
        line[i] = _changed(line[i], rng)
    return line


def _changed(word: str, rng: Random) -> str:
    if word.startswith("--") and rng.random() < 0.7:
        return rng.choice(
            (word[:-1], word + "x", "--", "-" + word, word + "=", word.upper(), "--help", "--print_config", "")
        )
    odd = rng.choice((*NUMBERS, *WORDS, *CLASS_PATHS, "[1]", "{}", "[", "{a: 1}", "true", "1_0", "\udcff"))
    return "." if odd == "/" else str(odd).replace("\0", "")  # what a person writes to the root is their wish


FAMILIES = (Family("flags", _make, lambda files, rng: files, _attack, share=1.5),)
