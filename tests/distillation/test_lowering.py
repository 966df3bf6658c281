"""Every method's whole step: for which devices it can be compiled, and what it calls there."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from csdm_jax import networks
from csdm_jax.data.device import DeviceData
from csdm_jax.data.host import HostData
from csdm_jax.data.longtail import class_counts
from csdm_jax.data.preprocessing import Normaliser
from csdm_jax.distillation import methods, needs, starts
from csdm_jax.distillation.loop import Loop
from csdm_jax.distillation.methods import base
from csdm_jax.distillation.methods.recovery import statistics
from csdm_jax.experiment import config as configuration
from csdm_jax.training import experts, extractors
from csdm_jax.training.trajectories import Trajectories
from tests import hlo
from tests.distillation.families import ALIKE, VARIANTS
from tests.problem import tiny_loop

PAPER = Path(__file__).parent.parent.parent / "configs/cifar10_lt.py"
PLATFORMS = ("cpu", "cuda", "tpu")
STEPPING = sorted(
    name for name, kind in methods.METHODS.items() if not kind.selects and name not in ALIKE
)
"""What selects looks at images before the first step; the steps of `datm` and `lad` are `mtt`'s."""
SEEN_AS = [("gpu", name) for name in STEPPING] + [
    ("cpu", name) for name in STEPPING if name not in VARIANTS
]
"""What `jax.default_backend` says while a method is traced: layers and loops ask for a CPU alone,
and what they then do is the same in all methods of a loop."""
Program = tuple[Callable, tuple[Any, ...]]
"""A step and the shapes of its arguments."""


def with_shapes(loop: Loop) -> list[Program]:
    """The steps of a loop's phases, for which no array is needed."""

    def images(start: str, context: Any, wanted: int, *rest: Any) -> jax.Array:
        return jnp.zeros((context.num_classes * wanted, *context.host.images.shape[1:]))

    def of_classes(context: Any, params: Any, describe: Callable) -> Any:
        one_each = jnp.zeros((context.num_classes, *context.host.images.shape[1:]))
        return describe(context.network.apply_with_convolutions(params, one_each)[2])

    looks = mock.patch.object(starts, "images", images)  # at pixels, as the other one does
    with looks, mock.patch.object(statistics, "of_classes", of_classes):
        state = jax.eval_shape(loop.method.init, jax.random.key(0), loop.supplied)
    constants, feeds = loop.reading(jax.random.key(0))
    carry = loop.carry(state, constants)
    read = (constants if feed is None else (constants, feed(0)) for feed in feeds)
    programs = zip(loop.stepper.phases, read, strict=True)
    return [
        (phase.step, jax.eval_shape(lambda *given: given, carry, given, np.int32(0)))
        for phase, given in programs
    ]


def shapes_of(need: needs.Need, network: networks.Network) -> Any:
    """What a method needs, of 20 networks."""

    def stacked(*axes: int) -> Any:
        weights = jax.eval_shape(network.init, jax.random.key(0))
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((*axes, *leaf.shape), leaf.dtype), weights
        )

    match need:
        case needs.Pool():
            return extractors.Pool(stacked(20), stacked(20))
        case needs.Teacher():
            return stacked()
        case needs.Untrained(count):
            return stacked(count)
        case needs.Trajectories():
            return Trajectories(stacked(20, 61))
        case needs.Experts():
            return experts.like(network, 2, 50, 10)


def paper_programs(name: str) -> list[Program]:
    """CIFAR-10-LT, IPC 10, 20 extractors of width 128; images and weights take no memory."""
    config = configuration.load(f"{PAPER}:imb=200,ipc=10")
    config.distill.loss_scale, config.sdd.scale = 300.0, 1.5  # settled by the data
    config.sdd.frequency_method = "orthogonal"  # the draw that once called LAPACK
    counts = class_counts(5000, 200.0, 10)
    images = np.broadcast_to(np.uint8(0), (sum(counts), 32, 32, 3))
    network = networks.create("convnet", num_classes=10, image_shape=(32, 32, 3))
    host = HostData(images, np.arange(len(images)), counts)
    context = base.Context(host, network, Normaliser((0.5,) * 3, (0.2,) * 3), ("mosaic", 2))
    assert config.distill.batch == 1024 and config.sdd.num_frequencies == 4096
    data = DeviceData(jax.ShapeDtypeStruct(images.shape, images.dtype), counts)
    supplied = tuple(shapes_of(need, network) for need in methods.kind(name).needed(config))
    return with_shapes(Loop(methods.create(name, config, context), data, supplied))


def foreign_calls(text: str) -> list[str]:
    """Calls of the host's Python or of LAPACK, whose threads fight XLA's."""
    targets = re.findall(r'custom_call(?: @|_target=")(\w+)', text)
    return [t for t in targets if re.search("callback|lapack|solver", t)]


@pytest.mark.parametrize(("backend", "name"), SEEN_AS)
def test_the_step_of_the_paper_lowers_and_calls_neither_python_nor_lapack(backend, name):
    programs = paper_programs(name)
    assert programs
    for step, shapes in programs:
        with mock.patch.object(jax, "default_backend", lambda: backend):
            exported = jax.export.export(jax.jit(step), platforms=PLATFORMS)(*shapes)
        assert exported.platforms == PLATFORMS
        assert not foreign_calls(exported.mlir_module())


def test_nor_does_the_compiled_step_of_a_cpu():
    ((step, shapes),) = with_shapes(tiny_loop(name="csdm"))
    assert not foreign_calls(hlo.compiled(step, *shapes))
