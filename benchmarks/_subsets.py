"""Subsets of one size whose quality varies widely: random, herded, and spoilt on purpose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

CLEAN = ("random", "herded")
SHARES = {"random": 0.4, "herded": 0.15}
"""Of all subsets; the rest is spoilt, each way as often."""


class Subset(NamedTuple):
    """As many images of each class.

    Attributes:
        kind: "random", "herded" or a name of `SPOILT`.
        strength: how much it is spoilt, in [0, 1]; 0 for clean ones.
        classes: those that are spoilt; the others are random.
        images: uint8 [C, m, H, W, ch].
    """

    kind: str
    strength: float
    classes: tuple[int, ...]
    images: np.ndarray


Pools = Sequence[np.ndarray]
"""The training images of each class, uint8 [n_c, H, W, ch]."""


def herded(features: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of [n, d] whose mean follows that of all, one by one, out of a random half."""
    half = rng.permutation(len(features))[: max(count, len(features) // 2)]
    rows, target = features[half], features.mean(axis=0)
    chosen: list[int] = []
    total = np.zeros_like(target)
    for number in range(1, count + 1):
        away = np.linalg.norm(number * target - (total + rows), axis=1)
        away[chosen] = np.inf
        chosen.append(int(np.argmin(away)))
        total = total + rows[chosen[-1]]
    return half[chosen]


def _random(pool: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    return pool[rng.choice(len(pool), count, replace=False)]


def _ordered(
    pool: np.ndarray, centre: np.ndarray, count: int, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """Images by their distance to a centre: the more of the class to choose from, the stronger."""
    candidates = count + round(strength * (len(pool) - count))
    seen = _random(pool, candidates, rng)
    return seen[np.argsort(np.linalg.norm((seen - centre).reshape(candidates, -1), axis=1))]


def _noise(pools: Pools, c: int, m: int, strength: float, rng: np.random.Generator) -> np.ndarray:
    images = _random(pools[c], m, rng)
    return images + 160 * strength * rng.normal(size=images.shape)


def _blur(pools: Pools, c: int, m: int, strength: float, rng: np.random.Generator) -> np.ndarray:
    images = _random(pools[c], m, rng).astype(float)
    side = strength * images.shape[1] / 6
    return ndimage.gaussian_filter(images, (0, side, side, 0))


def _dark(pools: Pools, c: int, m: int, strength: float, rng: np.random.Generator) -> np.ndarray:
    return _random(pools[c], m, rng) * (1 - 0.95 * strength)


def _repeated(
    pools: Pools, c: int, m: int, strength: float, rng: np.random.Generator
) -> np.ndarray:
    distinct = _random(pools[c], max(1, round(m * (1 - strength))), rng)
    return np.resize(distinct, (m, *distinct.shape[1:]))


def _narrow(pools: Pools, c: int, m: int, strength: float, rng: np.random.Generator) -> np.ndarray:
    centre = pools[c][rng.integers(len(pools[c]))].astype(float)
    return _ordered(pools[c], centre, m, strength, rng)[:m]


def _outlying(
    pools: Pools, c: int, m: int, strength: float, rng: np.random.Generator
) -> np.ndarray:
    return _ordered(pools[c], pools[c].mean(axis=0), m, strength, rng)[-m:]


def _mislabelled(
    pools: Pools, c: int, m: int, strength: float, rng: np.random.Generator
) -> np.ndarray:
    images = _random(pools[c], m, rng)
    others = [other for other in range(len(pools)) if other != c]
    for row in range(round(strength * m)):
        images[row] = _random(pools[rng.choice(others)], 1, rng)[0]
    return images


SPOILT: dict[str, Callable[..., np.ndarray]] = {
    "noise": _noise,
    "blur": _blur,
    "dark": _dark,
    "repeated": _repeated,
    "narrow": _narrow,
    "outlying": _outlying,
    "mislabelled": _mislabelled,
}
"""Ways to spoil m images of class c: noise and blur; darker; the same image several times; the
nearest to one image of the class; the farthest from its mean; images of other classes."""


def draw(
    pools: Pools, features: Sequence[np.ndarray], m: int, count: int, seed: int = 0
) -> list[Subset]:
    """`count` subsets of m images a class, in random order of their kinds.

    A spoilt one is so in all classes or, as often, in a random half of them, by a strength that is
    uniform on [0, 1].

    Args:
        pools: training images of each class.
        features: [n_c, d] of each class, by which is herded.
        m: images a class, at most those of the smallest.
        count: of subsets.
        seed: subset k is a function of (seed, k).
    """
    order = np.random.default_rng(seed).permutation(count)
    clean = [kind for kind, share in SHARES.items() for _ in range(round(share * count))]
    ways = [*SPOILT]
    kinds = clean + [ways[k % len(ways)] for k in range(count - len(clean))]
    return [
        _one(kinds[place], pools, features, m, np.random.default_rng([seed, k]))
        for k, place in enumerate(order)
    ]


def _one(
    kind: str, pools: Pools, features: Sequence[np.ndarray], m: int, rng: np.random.Generator
) -> Subset:
    classes = np.arange(len(pools))
    if rng.uniform() < 0.5:
        classes = np.sort(rng.choice(classes, len(classes) // 2, replace=False))
    strength, spoilt = float(rng.uniform()), set(classes.tolist())
    if kind in CLEAN:
        strength, spoilt = 0.0, set()
    images = []
    for c, pool in enumerate(pools):
        if kind == "herded":
            images.append(pool[herded(features[c], m, rng)])
        elif c in spoilt:
            images.append(SPOILT[kind](pools, c, m, strength, rng))
        else:
            images.append(_random(pool, m, rng))
    pixels = np.clip(np.round(np.stack(images)), 0, 255).astype(np.uint8)
    return Subset(kind, strength, tuple(sorted(spoilt)), pixels)
