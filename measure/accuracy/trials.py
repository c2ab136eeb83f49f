"""Accuracies of architectures on the digits task (digits.py), trained by the settings of training.py on one core.

The network is the space's own expansion, built by `builders.torch_module` and seeded by `builders.weights`.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch

from datasets.records import Architectures, InputError
from measure.accuracy.classifier import batches_of, pixels, train_classifier
from measure.accuracy.digits import LabelledImages
from measure.accuracy.training import DigitsTraining
from measure.bench import Row, date_and_host
from measure.builders.torch_module import NetworkModule
from measure.builders.weights import make_weights
from measure.campaign import Journal

METRIC = "accuracy_digits"


def accuracy(training: DigitsTraining, key: str, task: LabelledImages, seed: int = 0) -> float:
    """Train an architecture, given as text, with weights and an order of images drawn from `seed`.

    Returns:
        Percentage of test images that are classified correctly.
    """
    torch.set_num_threads(1)
    network, fold = training.network(key)
    module = NetworkModule(network, make_weights(network, seed))
    images, labels = pixels(task.train_images, fold), torch.from_numpy(task.train_labels)
    steps = training.epochs * (len(images) // training.batch)
    batches, settings = batches_of(len(images), training.batch, steps, seed), (training.rate, training.decay)
    train_classifier(module, partial(_logits, module), images, labels, batches, *settings, training.smoothing)
    module.eval()
    with torch.inference_mode():
        found = [_logits(module, x).argmax(1) for x in pixels(task.test_images, fold).split(250)]
    return 100 * float(np.mean(torch.cat(found).numpy() == task.test_labels))


def _logits(module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Class scores [n, classes], fp32; convolutions run in bfloat16. A constant output is repeated."""
    with torch.autocast("cpu", torch.bfloat16):
        return module(x.contiguous(memory_format=torch.channels_last)).float().expand(len(x), -1)


def run_accuracies(
    archs: Architectures, training: DigitsTraining, journal: Journal, seeds: int = 1, retry: bool = False
) -> Iterator[Row]:
    """Train architectures that the journal lacks, seed after seed; yields each row after it is on disk.

    Rows have no device; `repeat` is the seed and `value` the accuracy in percent. A failed training is a row with an
    `error`, which is trained again only with `retry`.

    Raises:
        InputError: the journal contains rows of another training.
    """
    protocol = asdict(training)
    if any(row.get("metric") != METRIC or row.get("protocol") != protocol for row in journal.rows):
        raise InputError(f"{journal.path} holds rows of another protocol; name another journal for this one.")
    for key in archs.keys[:1]:
        training.network(key)  # an unsuitable skeleton is no failed row
    task = training.task.labelled_images()
    for seed, key in pending_accuracies(archs, journal, seeds, retry):
        identity = {"space": str(archs.space), "key": key, "device": None, "repeat": seed, "metric": METRIC}
        row = {**identity, **date_and_host(), "protocol": protocol, "versions": _versions()}
        start = time.process_time()
        try:
            row["value"] = accuracy(training, key, task, seed)
        except Exception as error:
            row["error"] = f"{type(error).__name__}: {error}"
        row["cpu_s"] = time.process_time() - start
        journal.append(row)
        yield row


def pending_accuracies(archs: Architectures, journal: Journal, seeds: int, retry: bool) -> list[tuple[int, str]]:
    """Seed and text of each architecture that the journal lacks."""
    done = {(row["space"], row["key"], row["repeat"]) for row in journal.rows if not (retry and "error" in row)}
    space, keys = str(archs.space), archs.keys
    return [(seed, key) for seed in range(seeds) for key in keys if (space, key, seed) not in done]


def _versions() -> dict[str, Any]:
    import sklearn

    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "torch": torch.__version__,
    }
