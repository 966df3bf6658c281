"""Shared fixtures: a tiny long-tailed problem whose networks train in a second."""

from __future__ import annotations

import dataclasses
import os
import tempfile

# Before JAX is imported, here and in every process that a test starts: what one has compiled, the
# others read. The first process to come here decides, and removes the folder at its end.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _compiled = tempfile.TemporaryDirectory(prefix="csdm-compiled-", ignore_cleanup_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled.name
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

import jax
import pytest

from csdm_jax import networks
from csdm_jax.data.dataset import Dataset
from csdm_jax.data.device import DeviceData, to_device
from csdm_jax.data.host import HostData
from csdm_jax.data.longtail import build_longtail
from csdm_jax.data.preprocessing import Normaliser
from tests import shapes
from tests.problem import tiny_dataset

shapes.install()


@dataclasses.dataclass(frozen=True)
class Tiny:
    """Three classes of 8x8 colour images, told apart by their colour."""

    dataset: Dataset
    data: DeviceData
    host: HostData
    network: networks.Network
    normaliser: Normaliser


LONGEST = ("test_readme_commands.py", "test_package.py")
"""Whose tests run for a minute and more: one that is begun last keeps one worker waiting for it."""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    dataset = tiny_dataset()
    longtail = build_longtail(dataset.train_labels, 3, imbalance_factor=5.0, rule="seeded", seed=0)
    host = HostData.create(dataset, longtail)
    return Tiny(
        dataset,
        to_device(host),
        host,
        networks.create("convnet", num_classes=3, image_shape=(8, 8, 3), depth=2, width=8),
        Normaliser(dataset.mean, dataset.std),
    )


@pytest.fixture(autouse=True)
def strict(request):
    """In these rooms no type and no rank is promoted unless it is written out."""
    if request.path.parent.name in ("metric", "augment", "networks", "parameterisations"):
        with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
            yield
    else:
        yield


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)
