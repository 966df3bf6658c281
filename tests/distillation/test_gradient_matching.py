"""Gradient matching: losses and pixel gradients against float64 NumPy, networks, turns, runs."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from csdm_jax import networks
from csdm_jax.distillation import inputs, methods, views
from csdm_jax.distillation.loop import Cadence
from csdm_jax.distillation.methods import base
from csdm_jax.distillation.methods.base import Inputs
from csdm_jax.distillation.methods.gradients import dcc, dream, gradients
from tests.distillation.families import GRADIENT_MATCHING
from tests.distillation.test_rivals import configured
from tests.distillation.test_rivals import problem as classes_of_40_6_and_1
from tests.problem import make_loop
from tests.small import quick

SHORT = {"dc.train_steps": 2, "idc.train_steps": 2, "dcc.warm_up": 0, "idc.cutmix": 0.0,
         "dc.restart": 2, "idc.restart": 2, "dream.refresh": 2, "dream.iterations": 3}  # fmt: skip


def two_layers():
    """A convolution, smooth, and a linear layer."""

    def init(key):
        drawn = jax.random.uniform(key, (270,), minval=-0.5, maxval=0.5)  # one draw compiles fast
        return {
            "bias": jnp.array([0.1, -0.2]),
            "kernel": drawn[:54].reshape(3, 3, 3, 2),
            "last": drawn[54:].reshape(72, 3),
            "shift": jnp.array([0.1, 0.0, -0.1]),
        }

    def apply(params, images):
        maps = jax.lax.conv_general_dilated(
            images, params["kernel"], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        features = jnp.tanh(maps + params["bias"]).reshape(len(images), -1)
        return features @ params["last"] + params["shift"], features

    return networks.Network("two layers", jax.jit(init), apply, 72, 192, (8, 8, 3))


def gradient_by_hand(weights, images, labels):
    """Of the mean cross-entropy, by back-propagation written out, in float64."""
    w = {name: np.float64(leaf) for name, leaf in weights.items()}
    patches = np.lib.stride_tricks.sliding_window_view(images, (3, 3), (1, 2))  # [n,6,6,c,3,3]
    maps = np.tanh(np.einsum("nxycij,ijck->nxyk", patches, w["kernel"]) + w["bias"])
    features = maps.reshape(len(images), -1)
    scores = np.exp(features @ w["last"] + w["shift"])
    error = (scores / scores.sum(1, keepdims=True) - np.eye(3)[labels]) / len(images)
    inner = (error @ w["last"].T).reshape(maps.shape) * (1 - maps**2)
    return {
        "bias": inner.sum((0, 1, 2)),
        "kernel": np.einsum("nxycij,nxyk->ijck", patches, inner),
        "last": features.T @ error,
        "shift": error.sum(0),
    }


def cosines_by_hand(real, synthetic):
    total = 0.0
    for name in ("kernel", "last"):
        for row in range(real[name].shape[-1]):
            x, y = real[name][..., row].ravel(), synthetic[name][..., row].ravel()
            total += 1 - x @ y / (np.linalg.norm(x) * np.linalg.norm(y) + 1e-6)
    return total


def squares_by_hand(real, synthetic):
    return ((real["kernel"] - synthetic["kernel"]) ** 2).sum()


def mean(each):
    return {name: np.mean([one[name] for one in each], axis=0) for name in each[0]}


BY_HAND = {
    "dc": lambda real, own: sum(map(cosines_by_hand, real, own)),
    "dcc": lambda real, own: cosines_by_hand(mean(real), mean(own)),
    "idc": lambda real, own: sum(map(squares_by_hand, real, own)),
}
"""Losses of a round, from the gradients of each class."""


@functools.cache
def problem():
    host, _, normaliser = classes_of_40_6_and_1()
    return host, two_layers(), normaliser


def context():
    return base.Context(*problem(), ("pixels", 1))


def loop_of(name, fields=(), *, streamed=False, **distill):
    config = configured(SHORT | dict(fields), batch=8, **distill)
    return make_loop(name, config, *problem(), form=("pixels", 1), streamed=streamed)


class Steps:
    """The phases of a method, compiled, and what a step with a key of its own reads."""

    def __init__(self, name, fields=(), **distill):
        self.loop = loop_of(name, fields, **distill)
        self.method, self.host = self.loop.method, problem()[0]
        self.compiled = [quick(phase.step) for phase in self.method.phases]
        self.start = self.loop.begin(jax.random.key(0))[0]

    def reads(self, place, number):
        phase, key = self.method.phases[place], jax.random.fold_in(jax.random.key(7), number)
        number, batch = jnp.int32(number), None
        if phase.draw is not None:
            rows = phase.rows(key, number)
            batch = rows.with_values(jnp.asarray(self.host.take(np.asarray(rows.values))))
        given = Inputs(self.loop.supplied, batch, key, number)
        return given

    def make(self, state, place, numbers):
        """The state after steps of one phase, and what the last one tells."""
        for number in numbers:
            state, metrics = self.compiled[place](state, self.reads(place, number))
        return state, metrics

    def matched(self, state, number=0):
        """After all phases of a round that come before its update."""
        turns = range(number * self.method._turns, (number + 1) * self.method._turns)
        for place in range(len(self.compiled) - 2):
            state, _ = self.make(state, place, turns)
        return state

    def updated(self, state, number=0):
        return self.make(self.matched(state, number), -2, [number])


def normalised(pixels):
    normaliser = problem()[2]
    return (np.float64(pixels) - np.array(normaliser.mean)) / np.array(normaliser.std)


@pytest.mark.parametrize("name", BY_HAND)
def test_a_loss_and_its_pixel_gradient_are_those_written_out(name):
    steps = Steps(name)
    state = steps.matched(steps.matched(steps.start))  # nothing is left of an earlier round
    after, metrics = steps.make(state, -2, [0])
    weights = jax.device_get(state.network.weights)
    batches = [steps.reads(0, label).batch for label in range(3)]
    real = []
    for label, batch in enumerate(batches):
        # Eight of forty, six and one: what pads a small class is left out.
        pixels = np.asarray(batch.values)[np.asarray(batch.weights) > 0]
        assert len(pixels) == (8, 6, 1)[label]
        real.append(gradient_by_hand(weights, normalised(pixels / 255.0), [label] * len(pixels)))
    images = np.float64(state.stored["images"]).reshape(3, 2, 8, 8, 3)

    def loss(images):
        own = [gradient_by_hand(weights, normalised(x), [c] * 2) for c, x in enumerate(images)]
        return BY_HAND[name](real, own)

    np.testing.assert_allclose(metrics.loss, loss(images), rtol=1e-4)
    generator, gradient = np.random.default_rng(0), np.float64(state.found.pixels["images"])
    for _ in range(4):
        direction = generator.normal(0, 1, images.shape)
        slope = (loss(images + 1e-5 * direction) - loss(images - 1e-5 * direction)) / 2e-5
        np.testing.assert_allclose(np.vdot(gradient, direction), slope, rtol=2e-3, atol=1e-5)
    assert np.mean(np.asarray(after.stored["images"]) != np.asarray(state.stored["images"])) > 0.9


def test_distances_of_gradients_row_by_row():
    generator = np.random.default_rng(0)
    shapes = {"bias": (2,), "kernel": (3, 3, 3, 2), "last": (72, 3)}
    real, own = ({n: generator.normal(0, 1, s) for n, s in shapes.items()} for _ in range(2))
    own["kernel"][..., 1] = 0.0  # of a channel that no image excites
    trees = [jax.tree.map(jnp.float32, tree) for tree in (real, own)]
    for distance, by_hand in (
        (gradients.cosine_distance, cosines_by_hand),
        (gradients.squared_distance, squares_by_hand),
    ):
        value, slope = quick(jax.value_and_grad(distance, argnums=1))(*trees)
        np.testing.assert_allclose(value, by_hand(real, own), rtol=1e-5)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))
        assert not np.any(slope["bias"])


def test_dcc_of_one_class_is_dc_and_early_rounds_are_class_wise():
    steps = Steps("dcc", {"dcc.warm_up": 1}, classes_per_step=1)
    for number, early in ((0, True), (2, False)):  # class 0, class 2
        turn = steps.make(steps.start, 0, [number])[0]
        alone = turn.found.pixels["images"][number]
        found = steps.make(turn, 1, [number])[0].found
        if early:
            np.testing.assert_array_equal(found.pixels["images"][number], alone)
        np.testing.assert_allclose(
            found.pixels["images"][number], alone, atol=1e-5 * np.abs(alone).max()
        )


def test_early_rounds_of_a_network_match_class_by_class_while_the_run_is_young():
    method = methods.create(
        "dcc", configured(SHORT | {"dcc.warm_up": 4, "dcc.early": 1}), context()
    )
    early = [bool(method._class_wise(jnp.int32(number))) for number in range(6)]
    assert early == [True, False, True, False, False, False]  # a network serves two rounds
    weights = problem()[1].init(jax.random.key(0))
    found = gradients.Found({}, jnp.array([1.0, 2.0, 4.0]), dcc.Sums(weights, weights))
    joint, alone = (float(method.loss(found, jnp.arange(3), jnp.int32(n))) for n in (1, 0))
    assert alone == 7 and abs(joint) < 1e-3


@pytest.mark.parametrize("name", ["dcc", "idc"])
def test_the_loss_of_a_round_falls_and_the_images_move(name):
    steps = Steps(name, learning_rate=0.005)
    state, losses = steps.start, []
    for _ in range(12):
        state, metrics = steps.updated(state)
        losses.append(float(metrics.loss))
    images = np.asarray(state.stored["images"])
    assert images.min() >= 0 and images.max() <= 1
    assert np.mean(images != np.asarray(steps.start.stored["images"])) > 0.5
    assert np.isfinite(losses).all() and losses[-1] < 0.7 * losses[0]
    assert metrics.by_class["distance"].shape == (3,)


def test_networks_are_trained_and_a_fresh_one_begins_in_time():
    steps = Steps("dc", {"dc.learning_rate": 0.1})
    state, begun = steps.start, []
    for number in range(4):
        state = steps.matched(state, number)
        begun.append(np.asarray(state.network.weights["kernel"]))
        state, _ = steps.make(state, 1, [number])
        before, images = jax.device_get(state.network.weights), state.stored["images"]
        state, metrics = steps.make(state, 2, [2 * number])
        slope = gradient_by_hand(before, normalised(images), [0, 0, 1, 1, 2, 2])
        for name, leaf in state.network.weights.items():
            np.testing.assert_allclose(leaf, before[name] - 0.1 * slope[name], atol=1e-5)
        assert metrics.scalars["network_loss"] > 0
    gaps = [np.abs(a - b).max() for a, b in itertools.pairwise(begun)]
    # In rounds 0 and 2 another one begins; in between it moves by what it has learnt.
    assert gaps[1] > 1.5 * max(gaps[0], gaps[2]) and min(gaps) > 0


def test_idc_trains_on_real_images_with_momentum():
    steps = Steps("idc", {"idc.learning_rate": 0.1, "idc.train_batch": 5})
    state, trace = steps.start, 0.0
    for number in range(2):
        before = jax.device_get(state.network.weights)
        key = jax.random.fold_in(jax.random.key(7), number)
        rows = np.asarray(steps.method.phases[2].draw(key).values)
        pixels = normalised(steps.host.take(rows) / 255.0)
        slope = gradient_by_hand(before, pixels, steps.host.labels[rows])["kernel"]
        trace = slope + 5e-4 * before["kernel"] + 0.9 * trace
        state, _ = steps.make(state, 2, [number])
        np.testing.assert_allclose(
            state.network.weights["kernel"], before["kernel"] - 0.1 * trace, atol=1e-5
        )


def test_some_classes_take_turns():
    steps = Steps("dc", classes_per_step=2)
    taken = [steps.method._classes(jnp.int32(number)).tolist() for number in range(3)]
    assert taken == [[0, 1], [2, 0], [1, 2]]
    ones = jax.tree.map(jnp.ones_like, steps.start.found.pixels)
    state = steps.start._replace(found=steps.start.found._replace(pixels=ones))
    after, metrics = steps.make(state, 1, [1])
    moved = np.abs(np.asarray(after.stored["images"] - state.stored["images"])).reshape(3, -1)
    assert (moved.max(1) > 0).tolist() == [True, False, True]
    assert metrics.by_class["classes"].tolist() == [2, 0]


def test_both_sides_of_a_class_share_one_augmentation():
    steps = Steps("dsa", augmentation="color")
    flat = np.array([[200, 90, 40], [60, 180, 70], [30, 100, 220]], np.uint8)
    given = steps.reads(0, 0)
    real = jnp.broadcast_to(flat[0], given.batch.values.shape)
    given = given._replace(batch=given.batch.with_values(real))
    found = []
    for colours in (flat, flat // 2):
        images = np.broadcast_to(np.repeat(colours, 2, 0)[:, None, None] / 255.0, (6, 8, 8, 3))
        state = steps.start._replace(stored={"images": jnp.float32(images)})
        found.append(float(steps.compiled[0](state, given)[0].found.losses[0]))
    same, far = found
    assert abs(same) < 1e-2 * far


def test_methods_without_augmentation_have_none_whatever_the_configuration_says():
    ops = {
        name: methods.create(name, configured(augmentation="crop"), context())._augmentation.ops
        for name in GRADIENT_MATCHING
    }
    assert [name for name, own in ops.items() if not own] == ["dc", "dcc"]


@pytest.mark.parametrize("name", ["idc", "dream"])
def test_a_network_without_convolutions_is_refused(name):
    host, network, normaliser = classes_of_40_6_and_1()
    given = base.Context(host, network, normaliser, ("pixels", 1))
    with pytest.raises(ValueError, match=r"network 'small' has none: choose network.name=convnet"):
        methods.create(name, configured(SHORT), given)


def test_representatives_are_those_of_scikit_learn():
    cluster = pytest.importorskip("sklearn.cluster")
    generator = np.random.default_rng(0)
    rows = np.concatenate([generator.normal(c, 0.6, (20, 3)) for c in (-1, 0, 1)])
    rows = generator.permutation(rows)
    fitted = cluster.KMeans(7, init=rows[:7], n_init=1, max_iter=100, tol=0.0).fit(rows)
    gaps = ((rows[:, None] - fitted.cluster_centers_[None]) ** 2).sum(-1)
    expected = set(np.argmin(gaps, axis=0).tolist())
    padded = np.concatenate([rows, np.full((9, 3), 0.1)])
    counts = np.float32(np.arange(69) < 60)
    find = quick(dream.representatives, static_argnums=(2, 3))
    found, weights = find(jnp.float32(padded), counts, 7, 100)
    assert set(found.tolist()) == expected and weights.tolist() == [1.0] * 7


def test_of_two_rows_that_are_a_cluster_the_first_represents_it():
    generator = np.random.default_rng(0)
    find = quick(dream.representatives, static_argnums=(2, 3))
    for _ in range(8):
        pairs = np.repeat(generator.normal(0, 9, (6, 1, 3)), 2, 1) + generator.normal(
            0, 1, (6, 2, 3)
        )
        rows = np.concatenate([pairs[:, 0], pairs[:, 1]])
        found, _ = find(jnp.float32(rows), np.ones(12, np.float32), 6, 3)
        assert found.tolist() == list(range(6))


def test_a_class_with_fewer_images_than_clusters_is_taken_whole():
    rows = np.random.default_rng(0).normal(0, 1, (8, 3))
    find = quick(dream.representatives, static_argnums=(2, 3))
    for count in (1, 2):
        present = np.float32(np.arange(8) < count)
        found, weights = find(jnp.float32(rows), present, 5, 3)
        assert sorted(np.asarray(found)[np.asarray(weights) > 0].tolist()) == list(range(count))
        assert weights.sum() == count


def test_a_view_of_dream_holds_images_of_the_class_whose_turn_it_is():
    loop = loop_of("dream", {"dream.candidates": 20})
    phase, host = loop.method.phases[0], problem()[0]
    assert phase.views.kept == 3
    make = quick(phase.views.make)
    for number, size in ((3, 8), (4, 6), (5, 1)):
        rows = phase.rows(jax.random.key(number), jnp.int32(number))
        assert len(rows.values) == 20
        pixels = host.take(np.asarray(rows.values))
        given = Inputs(
            loop.supplied, rows.with_values(pixels), jax.random.key(1), jnp.int32(number)
        )
        view = make(given)
        own = host.take(np.flatnonzero(host.labels == number % 3))
        chosen = np.asarray(view.values)[np.asarray(view.weights) > 0]
        assert view.classes.tolist() == [number % 3] and 0 < len(chosen) <= size
        places = [np.flatnonzero((own == one).all((1, 2, 3))) for one in chosen]
        assert all(map(len, places)) and len(np.unique(np.concatenate(places))) == len(chosen)


def test_a_run_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    loop, cadence = loop_of("dream", steps=5), Cadence(log_every=2, checkpoint_every=2)
    loop.stepper._one = [quick(phase.step, donate_argnums=0) for phase in loop.stepper.phases]

    def run(folder):
        done = loop.run(jax.random.key(3), cadence, folder=tmp_path / folder, identity={}, label="")
        return loop.method.result(done.state).images.tobytes()

    whole = run("whole")
    monkeypatch.setattr(loop.method, "steps", 3)
    assert run("part") != whole
    monkeypatch.setattr(loop.method, "steps", 5)
    assert run("part") == whole


@pytest.mark.parametrize("name", ["dc", "dream"])
def test_images_on_the_host_are_read_for_the_class_whose_turn_it_is(name):
    method, host = methods.create(name, configured(SHORT), context()), problem()[0]
    phase, key = method.phases[0], jax.random.key(5)
    read, seen = inputs.feed(phase, host, (), key), set()
    for index in range(12):
        number = index if phase.views is None else views.number(index, phase.views)
        rows = phase.rows(jax.random.fold_in(key, number), jnp.int32(number))
        pixels = read(index).pixels
        assert (
            set(host.labels[np.asarray(rows.values)]) == {index % 3} == set(rows.classes.tolist())
        )
        if number not in seen:  # a view that is held is not read again
            np.testing.assert_array_equal(pixels, host.take(np.asarray(rows.values)))
        seen.add(number)
