import dataclasses
import shutil
import threading
import time

import flax.serialization
import jax
import numpy as np
import pytest

from csdm_jax import networks
from csdm_jax.runtime.seeds import root_key
from csdm_jax.storage import files, lock
from csdm_jax.training import extractors
from csdm_jax.training.trainer import Trainer
from tests.training.test_trainer import RECIPE


def make(tiny, folder, *, count=2, network=None, seed=0, recipe=None):
    network = network or tiny.network
    recipe = recipe or dataclasses.replace(RECIPE, epochs=2)
    return extractors.ensure_pool(
        folder,
        {"test": 1},
        network=network,
        trainer=Trainer(network, recipe, tiny.normaliser),
        data=tiny.data,
        count=count,
        seed=seed,
    )


def test_networks_are_trained_once_and_loaded_after(tiny, tmp_path):
    first = make(tiny, tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.msgpack")}
    assert len(files) == 2
    larger = make(tiny, tmp_path, count=3)
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert (first.size, larger.size) == (2, 3)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b[:2]), first, larger)


def test_a_pool_that_another_run_is_training_is_awaited_not_trained_twice(tiny, tmp_path):
    make(tiny, tmp_path / "theirs")
    (theirs,) = (tmp_path / "theirs").iterdir()
    ours = tmp_path / "ours" / theirs.name
    begun = threading.Event()

    def train():
        with lock.held(ours):
            begun.set()
            time.sleep(1.0)
            for path in theirs.glob("*.msgpack"):
                shutil.copy2(path, ours)

    threading.Thread(target=train).start()
    assert begun.wait(10)
    pool = make(tiny, tmp_path / "ours")
    assert pool.size == 2
    for path in theirs.glob("*.msgpack"):
        assert (ours / path.name).stat().st_mtime_ns == path.stat().st_mtime_ns


def test_initial_and_trained_weights_are_both_kept(tiny, tmp_path):
    pool = make(tiny, tmp_path)
    for k in range(2):
        fresh = jax.random.split(jax.random.fold_in(root_key("extractors", 0), k))[0]
        expected = tiny.network.init(fresh)
        initial = jax.tree.map(lambda leaf, k=k: leaf[k], pool.initial)
        jax.tree.map(np.testing.assert_array_equal, initial, expected)
    weights = [np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(h)]) for h in pool]
    assert np.mean(weights[0] != weights[1]) > 0.9


def test_a_draw_interpolates_one_network_towards_its_initialisation(tiny, tmp_path):
    pool = make(tiny, tmp_path)
    chosen, mixes = set(), []
    for seed in range(40):
        blended, trained = extractors.draw(pool, jax.random.key(seed))
        leaves = [jax.tree.leaves(half) for half in (pool.initial, pool.trained)]
        which = next(
            k for k in range(2) if np.array_equal(leaves[1][0][k], jax.tree.leaves(trained)[0])
        )
        chosen.add(which)
        start, end = (np.concatenate([leaf[which].ravel() for leaf in h]) for h in leaves)
        found = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(blended)])
        mix = np.dot(found - end, start - end) / np.dot(start - end, start - end)
        np.testing.assert_allclose(found, mix * start + (1 - mix) * end, atol=1e-5)
        mixes.append(mix)
    assert chosen == {0, 1}
    assert 0 <= min(mixes) < 0.2 and 0.8 < max(mixes) <= 1


def test_a_pool_of_another_architecture_is_refused(tiny, tmp_path):
    make(tiny, tmp_path)
    wider = networks.create("convnet", num_classes=3, image_shape=(8, 8, 3), depth=2, width=12)
    with pytest.raises(ValueError, match=r"does not hold the weights of convnet: delete the file"):
        make(tiny, tmp_path, network=wider)


def test_a_damaged_network_is_set_aside_and_trained_again(tiny, tmp_path):
    first = make(tiny, tmp_path)
    (path,) = tmp_path.glob("*/network-01.msgpack")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    again = make(tiny, tmp_path)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert path.read_bytes() == content
    assert path.with_name("network-01.msgpack.damaged-0").exists()


def test_weights_that_are_not_finite_are_refused_with_the_file(tiny, tmp_path):
    make(tiny, tmp_path, count=1)
    (path,) = tmp_path.glob("*/network-00.msgpack")
    weights = flax.serialization.msgpack_restore(files.read_sealed_bytes(path))
    weights["trained"] = jax.tree.map(lambda leaf: leaf * np.nan, weights["trained"])
    files.write_sealed_bytes(path, flax.serialization.msgpack_serialize(weights))
    with pytest.raises(FloatingPointError, match=r"network-00\.msgpack: its trained weights"):
        make(tiny, tmp_path, count=1)


def test_a_diverging_training_stops_with_its_step(tiny, tmp_path):
    recipe = dataclasses.replace(RECIPE, epochs=3, optimiser="sgd", learning_rate=1e30)
    with pytest.raises(FloatingPointError, match="extractor network-00: loss not finite at step"):
        make(tiny, tmp_path, count=1, recipe=recipe)
    assert not list(tmp_path.glob("*/*.msgpack"))


def test_images_on_the_host_give_the_same_weights(tiny, tmp_path):
    resident = make(tiny, tmp_path / "resident")
    streamed = make(dataclasses.replace(tiny, data=tiny.host), tmp_path / "streamed")
    jax.tree.map(np.testing.assert_array_equal, resident, streamed)


def test_pools_with_other_settings_have_other_names():
    names = {extractors.pool_name({"epochs": epochs}) for epochs in (1, 2, 1.0)}
    assert len(names) == 3


@pytest.mark.parametrize("content", [b"", b"{", b'{"test": 2}', b"\xff"])
def test_a_damaged_description_of_a_pool_is_set_aside_and_written_again(tiny, tmp_path, content):
    make(tiny, tmp_path, count=1)
    (path,) = tmp_path.glob("*/description.json")
    whole = path.read_bytes()
    path.write_bytes(content)
    make(tiny, tmp_path, count=1)
    assert path.read_bytes() == whole
    assert path.with_name("description.json.damaged-0").read_bytes() == content


def test_the_description_of_a_whole_pool_is_not_written_again(tiny, tmp_path):
    make(tiny, tmp_path, count=1)
    (path,) = tmp_path.glob("*/description.json")
    before = path.stat().st_ino
    make(tiny, tmp_path, count=1)
    assert path.stat().st_ino == before
