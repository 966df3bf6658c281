"""Characteristic functions of real and synthetic features along a few sampled frequencies.

For the largest and the smallest class, on the rays `t = r u` through frequencies that the kernel's
spectral measure draws: what the distance integrates, made visible. They are kept in
`spectrum.json` beside the distilled set, so that a page can be drawn without the extractors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax.data.host import HostData
from csdm_jax.data.preprocessing import Normaliser
from csdm_jax.metric import sample_frequencies, unit_features
from csdm_jax.metric.characteristic import characteristic_function
from csdm_jax.metric.kernels import SpectralKernel
from csdm_jax.networks import Network
from csdm_jax.runtime.seeds import root_key
from csdm_jax.sets import distilled
from csdm_jax.storage import files

FILE = "spectrum.json"
DIRECTIONS, RADII = 3, 41
DRAWS = 256  # frequencies behind the median length
MOST = 2000  # real images of a class
FORWARD = 500  # images a pass


def read(folder: Path, card: dict[str, Any]) -> dict[str, Any] | None:
    """The kept characteristic functions of the set that `card` describes; None without any.

    A damaged file is set aside.
    """
    path = folder / FILE
    try:
        found = files.read_sealed_json(path)
    except FileNotFoundError:
        return None
    except files.DamagedError as error:
        files.set_aside(path, error)
        return None
    return found if found.get(distilled.DIGEST) == card[distilled.DIGEST] else None


def write(folder: Path, card: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
    """Keeps what `measure` found about the set that `card` describes, and returns it."""
    kept = measured | {distilled.DIGEST: card[distilled.DIGEST]}
    files.write_sealed_json(folder / FILE, kept)
    return kept


def measure(
    result: distilled.DistilledSet,
    host: HostData,
    class_names: Sequence[str],
    *,
    network: Network,
    params: Any,
    normaliser: Normaliser,
    kernel: SpectralKernel,
) -> dict[str, Any]:
    """Characteristic functions of the unit features of the largest and the smallest class.

    Args:
      result: the distilled set.
      host: the long-tailed training set.
      class_names: C names.
      network: architecture of the extractors.
      params: weights of a trained one.
      normaliser: pixels to network input.
      kernel: whose spectral measure gives the rays.

    Returns:
      A dict for JSON: `radii`, `[RADII]` from 0 to twice `median_radius`, the median length of a
      sampled frequency; and `classes`, for head and tail the number of `real` and `synthetic`
      images and `rays`, each a dict of `real` and `synthetic`: lists `re` and `im` over the radii.
    """
    key = root_key("spectrum", 0)
    draw = jax.jit(sample_frequencies, static_argnums=(1, 2, 3))  # one program, not fifty
    draws = np.asarray(draw(key, kernel, DRAWS, network.feature_dim), np.float64)
    lengths = np.linalg.norm(draws, axis=1)
    median = float(np.median(lengths))
    radii = np.linspace(0.0, 2.0 * median, RADII)
    rays = draws[:DIRECTIONS] / lengths[:DIRECTIONS, None]
    frequencies = jnp.asarray((rays[:, None] * radii[:, None]).reshape(-1, draws.shape[1]))

    forward = jax.jit(lambda rows: network.apply(params, normaliser(rows))[1])
    of_features = jax.jit(lambda raw: characteristic_function(unit_features(raw), frequencies))

    def functions(images: np.ndarray) -> list[dict[str, list[float]]]:
        values = np.asarray(of_features(_features(forward, images)))
        return [{"re": _listed(ray.real), "im": _listed(ray.imag)} for ray in _split(values)]

    decoded, targets = (np.asarray(array) for array in result.training_data())
    found = []
    for label in dict.fromkeys((int(np.argmax(host.counts)), _smallest(host.counts))):
        real, synthetic = _real(host, label), decoded[targets.argmax(axis=1) == label]
        if len(synthetic) == 0:  # soft labels may leave a class without an image of its own
            continue
        pairs = zip(functions(real), functions(synthetic), strict=True)
        found.append(
            {
                "class": label,
                "name": class_names[label],
                "count": host.counts[label],
                "real": len(real),
                "synthetic": len(synthetic),
                "rays": [{"real": one, "synthetic": other} for one, other in pairs],
            }
        )
    return {
        "kernel": str(kernel),
        "median_radius": round(median, 4),
        "radii": _listed(radii),
        "classes": found,
    }


def _smallest(counts: Sequence[int]) -> int:
    """The last of the smallest classes: where all are equal, not the first once more."""
    return len(counts) - 1 - int(np.argmin(counts[::-1]))


def _real(host: HostData, label: int) -> np.ndarray:
    """Real images of a class, uint8 `[n, H, W, ch]`: all, or `MOST` evenly spaced ones."""
    first, count = sum(host.counts[:label]), host.counts[label]
    rows = np.unique(np.linspace(0, count - 1, min(count, MOST)).astype(int))
    return host.take(first + rows)


def _features(forward: Callable[[np.ndarray], jax.Array], images: np.ndarray) -> np.ndarray:
    """`[n, d]`."""
    parts = [forward(images[first : first + FORWARD]) for first in range(0, len(images), FORWARD)]
    return np.concatenate([np.asarray(part) for part in parts])


def _split(values: np.ndarray) -> np.ndarray:
    return values.reshape(DIRECTIONS, RADII)


def _listed(values: np.ndarray) -> list[float]:
    """Seven digits, as single precision has: unit features of a class leave 1 by little."""
    return [float(f"{value:.7g}") for value in values]
