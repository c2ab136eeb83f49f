"""A classification task composed from scikit-learn's handwritten digits: hard enough to distinguish architectures, made
in seconds, without a download.

Every image is 32 x 32 RGB. Its label is the class of its largest digit, which is turned, sheared, stretched, scaled and
shifted, and lies on top. Under it lie smaller whole digits of any class (so the class has to be read from the digit of
the right size) and clutter: fragments of digits of about the large one's size, as in the cluttered MNIST of Mnih et al.
("Recurrent Models of Visual Attention", NeurIPS 2014). Each piece has a colour of its own; half of the images are dark
on light; noise lies over all of it.

Training and test images are composed from different source digits, test sources a third of each class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from datasets.records import InputError

SIDE, CLASSES = 32, 10
_SOURCE = 8  # height and width of scikit-learn's digits
_CHUNK = 500  # number of images that are composed at once


class LabelledImages(NamedTuple):
    """Images [n, 3, 32, 32] (uint8) and labels [n] (int64) for training and for testing."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


@dataclass(frozen=True)
class Digits:
    """The digits task: equal fields give equal bytes.

    Attributes:
        seed: seed of the random generator.
        train: number of training images.
        test: number of test images.
        distractors: number of smaller whole digits per image.
        clutter: number of fragments of digits per image.
        turn: largest angle of any piece, degrees.
        noise: standard deviation of the noise, as a share of the range of a pixel.
    """

    seed: int = 0
    train: int = 10_000
    test: int = 5_000
    distractors: int = 1
    clutter: int = 2
    turn: float = 12.0
    noise: float = 0.03

    def __post_init__(self) -> None:
        if min(self.train, self.test) < 1 or min(self.distractors, self.clutter, self.noise, self.turn) < 0:
            raise InputError(f"{self} cannot be drawn: give one training and one test image or more, nothing negative.")

    def labelled_images(self) -> LabelledImages:
        """Compose all images; a few CPU-seconds for the default sizes."""
        train, test = self.sources()
        of_train, of_test = np.random.default_rng(self.seed).spawn(2)
        return LabelledImages(*self._compose(*train, self.train, of_train), *self._compose(*test, self.test, of_test))

    def sources(self) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """Digits [n, 8, 8] (0 to 1) and classes [n] that training and test images are composed from."""
        from sklearn.datasets import load_digits

        images, classes = load_digits(return_X_y=True)
        images = images.reshape(-1, _SOURCE, _SOURCE) / 16
        shuffled = np.random.default_rng(self.seed).permutation(len(classes))
        of_class = [shuffled[classes[shuffled] == label] for label in range(CLASSES)]
        test = np.concatenate([those[: len(those) // 3] for those in of_class])
        train = np.concatenate([those[len(those) // 3 :] for those in of_class])
        return (images[train], classes[train]), (images[test], classes[test])

    def _compose(
        self, digits: np.ndarray, classes: np.ndarray, n: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        chosen = _balanced(classes, n, rng)
        starts = range(0, n, _CHUNK)
        images = [self._images(digits, digits[chosen[start : start + _CHUNK]], rng) for start in starts]
        return np.concatenate(images), classes[chosen].astype(np.int64)

    def _images(self, digits: np.ndarray, largest: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Images [n, 3, 32, 32] with `largest` digits [n, 8, 8] on top of pieces of random `digits`."""
        n = len(largest)
        canvas = rng.uniform(0.0, 0.3, (n, 3, 1, 1)) * np.ones((SIDE, SIDE))
        for _ in range(self.clutter):
            fragments = _fragments(digits[rng.integers(len(digits), size=n)], rng)
            self._lay(canvas, fragments, rng.uniform(16, 24, n), 16, rng)
        for _ in range(self.distractors):
            self._lay(canvas, digits[rng.integers(len(digits), size=n)], rng.uniform(8, 12, n), 13, rng)
        self._lay(canvas, largest, rng.uniform(20, 26, n), 3, rng)
        canvas += self.noise * rng.standard_normal(canvas.shape)
        inverted = rng.random((n, 1, 1, 1)) < 0.5
        return np.rint(255 * np.clip(np.where(inverted, 1 - canvas, canvas), 0, 1)).astype(np.uint8)

    def _lay(
        self, canvas: np.ndarray, pieces: np.ndarray, size: np.ndarray, shift: float, rng: np.random.Generator
    ) -> None:
        """Paint a piece [n, 8, 8] over each image: `size` pixels high, up to `shift` pixels off the centre."""
        n = len(pieces)
        angle = np.deg2rad(rng.uniform(-self.turn, self.turn, n))
        shear, stretch = rng.uniform(-0.2, 0.2, n), rng.uniform(0.85, 1.15, n)
        centre = SIDE / 2 - 0.5 + rng.uniform(-shift, shift, (n, 2))
        cover = _warp(pieces, size / _SOURCE, angle, shear, stretch, centre)[:, None]
        ink = rng.uniform(0.45, 1.0, (n, 3, 1, 1))
        canvas += cover * (ink - canvas)


def _balanced(classes: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Positions [n] of source digits whose classes are as equally frequent as can be, in random order."""
    members = [np.flatnonzero(classes == label) for label in range(CLASSES)]
    labels = rng.permutation(np.arange(n) % CLASSES)
    return np.array([members[label][rng.integers(len(members[label]))] for label in labels])


def _fragments(digits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A window of 4 x 4 of each digit [n, 8, 8], the rest empty."""
    corner = rng.integers(0, _SOURCE - 3, (len(digits), 2, 1))
    inside = (np.arange(_SOURCE) >= corner) & (np.arange(_SOURCE) < corner + 4)
    return digits * (inside[:, 0, :, None] & inside[:, 1, None, :])


def _warp(
    pieces: np.ndarray, scale: np.ndarray, angle: np.ndarray, shear: np.ndarray, stretch: np.ndarray, centre: np.ndarray
) -> np.ndarray:
    """Pieces [n, 8, 8] transformed into images [n, 32, 32] bilinearly, with zeros outside.

    In double precision, so that differences between processors do not show in 256 levels of grey.
    """
    n = len(pieces)
    padded = np.zeros((n, _SOURCE + 2, _SOURCE + 2))
    padded[:, 1:-1, 1:-1] = pieces
    row, column = np.arange(SIDE)[:, None], np.arange(SIDE)[None, :]
    down, right = row - centre[:, 0, None, None], column - centre[:, 1, None, None]
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    y = (cos * down - sin * right) / scale[:, None, None]
    x = (sin * down + cos * right) / (scale * stretch)[:, None, None] + shear[:, None, None] * y
    edge = (_SOURCE + 1) / 2  # the middle of the padded piece
    y, x = (np.clip(at + edge, 0, _SOURCE + 1 - 1e-9).reshape(n, -1) for at in (y, x))
    top, left = y.astype(int), x.astype(int)
    y, x = y - top, x - left
    flat, corner = padded.reshape(n, -1), top * (_SOURCE + 2) + left

    def at(offset: int) -> np.ndarray:
        return np.take_along_axis(flat, corner + offset, axis=1)

    below = _SOURCE + 2
    upper, lower = at(0) * (1 - x) + at(1) * x, at(below) * (1 - x) + at(below + 1) * x
    return (upper * (1 - y) + lower * y).reshape(n, SIDE, SIDE)
