"""Shared fixtures: a tiny long-tailed problem whose networks train in a second."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from csdm_jax import networks
from csdm_jax.data.dataset import Dataset
from csdm_jax.data.device import DeviceData, to_device
from csdm_jax.data.host import HostData
from csdm_jax.data.longtail import build_longtail
from csdm_jax.preprocessing import Normaliser


@dataclasses.dataclass(frozen=True)
class Tiny:
    """Three classes of 8x8 colour images, told apart by their colour."""

    dataset: Dataset
    data: DeviceData
    host: HostData
    network: networks.Network
    normaliser: Normaliser


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(3, dtype=np.int32), 40)
    base = np.eye(3)[labels][:, None, None, :] * 120 + 60
    images = np.clip(base + generator.normal(0, 30, (120, 8, 8, 3)), 0, 255).astype(np.uint8)
    test_labels = labels[::4]
    dataset = Dataset(
        name="tiny",
        train_images=images,
        train_labels=labels,
        test_images=images[::4],
        test_labels=test_labels,
        class_names=("red", "green", "blue"),
        mean=(0.4, 0.4, 0.4),
        std=(0.25, 0.25, 0.25),
    )
    longtail = build_longtail(labels, 3, imbalance_factor=5.0, rule="seeded", seed=0)
    host = HostData.create(dataset, longtail)
    return Tiny(
        dataset,
        to_device(host),
        host,
        networks.create("convnet", num_classes=3, image_shape=(8, 8, 3), depth=2, width=8),
        Normaliser(dataset.mean, dataset.std),
    )


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)
