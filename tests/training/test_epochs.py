"""Which images the steps see: an epoch's order, made once an epoch."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from csdm_jax.data.host import HostData
from csdm_jax.runtime.stepping import Stepper
from csdm_jax.training import parallel, trainer
from csdm_jax.training.trainer import Trainer
from tests import hlo
from tests.training.test_trainer import RECIPE, targets_of

COUNT, BATCH, EPOCHS = 21, 8, 3


def orders_written_out(key, count):
    """The rows of every step, a permutation of all images in each of them."""
    step_key = jax.random.split(key)[1]
    per_epoch = -(-count // BATCH)
    rows = []
    for index in range(EPOCHS * per_epoch):
        order = jax.random.permutation(jax.random.fold_in(step_key, index // per_epoch), count)
        padded = np.resize(np.asarray(order), (per_epoch, BATCH))
        rows.append(padded[index % per_epoch])
    return np.stack(rows)


@pytest.mark.parametrize("placement", ["device", "host"])
@pytest.mark.parametrize("strategy", ["loop", "scan"])
@pytest.mark.parametrize("report_every", [1, 2])
def test_every_step_sees_the_images_of_its_epochs_order(
    tiny, key, placement, strategy, report_every, monkeypatch
):
    """Each image's pixels hold its number."""
    numbers = np.arange(COUNT, dtype=np.uint8)
    images = np.broadcast_to(numbers[:, None, None, None], (COUNT, 8, 8, 3))
    seen = []

    def normaliser(images):
        jax.debug.callback(lambda batch: seen.append(batch[:, 0, 0, 0]), images, ordered=True)
        return tiny.normaliser(images)

    monkeypatch.setattr(trainer, "Stepper", lambda step: Stepper(step, strategy=strategy))
    recipe = dataclasses.replace(RECIPE, epochs=EPOCHS, batch=BATCH)
    Trainer(tiny.network, recipe, normaliser).fit(
        key,
        HostData(images, np.arange(COUNT), (COUNT,)) if placement == "host" else jnp.array(images),
        jax.nn.one_hot(numbers % 3, 3),
        report_every=report_every,
    )
    np.testing.assert_array_equal(seen, orders_written_out(key, COUNT))


@pytest.mark.parametrize("name", sorted(parallel.STRATEGIES))
def test_a_step_sorts_no_images_but_at_an_epochs_start(tiny, name):
    strategy = parallel.strategy(name)
    model = Trainer(tiny.network, RECIPE, tiny.normaliser)
    count = len(tiny.data.images)
    model._prepare(count)
    numbers = range(1 if not strategy.grouped else 2)
    keys = list(jax.random.split(jax.random.key(5), len(numbers)))
    shared = (tiny.data.images, targets_of(tiny.data), jnp.zeros(3))
    job = trainer._Job(keys, shared, None, [], [], None)
    states, step_keys = zip(*(model._begin(job, number) for number in numbers), strict=True)
    constants = strategy.share(shared), strategy.pack(step_keys)
    text = hlo.compiled(strategy.step(model._step), strategy.pack(states), constants, np.int32(0))
    assert f"[{count}]" in text and " sort(" in text  # the epoch's order is made
    assert " sort(" not in hlo.always_run(text)
