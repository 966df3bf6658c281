"""Trajectory matching against plain float64 NumPy: unrolled by hand, gradients by differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from csdm_jax.data.device import to_device
from csdm_jax.distillation import methods
from csdm_jax.distillation.loop import Cadence, Loop
from csdm_jax.distillation.methods import base
from csdm_jax.distillation.methods.base import Inputs
from csdm_jax.distillation.methods.trajectories import att, datm
from csdm_jax.experiment import config as configuration
from csdm_jax.training.experts import Experts, unraveller
from tests import small
from tests.small import BACKBONE, COUNTS, MEAN, NETWORK, SIZE, STD, apply, descent, quick, softmax

IPC = 2


@functools.cache
def problem():
    """Classes of five, three and one image of four pixels, and two experts of 5 + 3 epochs."""
    generator = np.random.default_rng(1)
    rows = np.cumsum(generator.normal(0, 0.4, (2, 9, SIZE)), axis=1).astype(np.float32)
    rows[:, 6:, BACKBONE] = rows[:, 5:6, BACKBONE]  # of the second stage
    return small.host(), (Experts(tuple(rows), 5),)


def created(name, fields=(), **trajectory):
    config = configuration.default_config()
    config.distill.update({"ipc": IPC, "augmentation": "none", "optimiser": "sgd", "steps": 2})
    config.distill.update({"learning_rate": 0.5, "momentum": 0.0, "weight_decay": 0.0})
    config.experts.update({"epochs": 5, "classifier_epochs": 3})
    config.trajectory.update({"steps": 3, "classifier_steps": 2, "latest": 3, "step_size": 0.3})
    config.trajectory.update({"skip_above": 1e6, "latest_at_first": 1, **trajectory})
    config.update_from_flattened_dict(dict(fields))
    methods.check(name, config)
    context = base.Context(problem()[0], NETWORK, small.NORMALISER, ("pixels", 1))
    return methods.create(name, config, context)


def rounds(method, count=1, state=None):
    """States and metrics after each phase of the last round, and what each phase has read."""
    given, key = problem()[1], jax.random.key(5)
    state = method.init(jax.random.key(1), given) if state is None else state
    steps = [quick(phase.step) for phase in method.phases]
    for number in range(count):
        seen, own = [], jax.random.fold_in(key, number)
        for phase, step in zip(method.phases, steps, strict=True):
            fetched = phase.fetch and phase.fetch(given, own, number)
            for index in range(number * phase.times, (number + 1) * phase.times):
                inputs = Inputs(given, None, own, jnp.int32(index), fetched=fetched)
                state, metrics = step(state, inputs)
            seen.append((state, metrics, fetched))
    return seen


def matched(images, logits, step_size, pair, *, steps, at=None, soft, weights=1.0, where=True,
            moved=True):  # fmt: skip
    """The matching loss, and theta of every step; with `at`, gradients are taken there (TESLA)."""
    targets = softmax(logits) if soft else np.repeat(np.eye(3), IPC, 0)
    theta, path = np.float64(pair.start), []
    for index in range(steps):
        path.append(theta)
        here = theta if at is None else at[index]
        theta = theta - step_size * moved * descent(here, images, targets * weights)
    gap, whole = (where * (one - pair.target) for one in (theta, np.float64(pair.start)))
    return (gap**2).sum() / (whole**2).sum(), path


def differences(learned, pair, *, exact=True, **options):
    """Central differences of the matching loss with respect to all that is learned."""
    images = np.float64(learned.stored["images"])
    logits = np.float64(learned.labels) if options["soft"] else np.zeros((len(images), 3))
    values = [images, logits, np.float64(learned.step_size)]
    path = None if exact else matched(*values, pair, **options)[1]
    found = []
    for place, value in enumerate(values):
        gradient = np.zeros(value.size)
        for k in range(value.size):
            ends = []
            for sign in (1, -1):
                off = value.copy().reshape(-1)
                off[k] += sign * 1e-5
                off = [*values[:place], off.reshape(value.shape), *values[place + 1 :]]
                ends.append(matched(*off, pair, at=path, **options)[0])
            gradient[k] = (ends[0] - ends[1]) / 2e-5
        found.append(gradient.reshape(value.shape))
    return found


def agree(gradient, expected, *, soft):
    np.testing.assert_allclose(gradient.stored["images"], expected[0], rtol=2e-3, atol=2e-5)
    np.testing.assert_allclose(gradient.step_size, expected[2], rtol=2e-3, atol=2e-5)
    if soft:
        np.testing.assert_allclose(gradient.labels, expected[1], rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize("name", ["mtt", "tesla"])
def test_three_steps_and_their_gradient_are_those_of_numpy(name):
    method = created(name)
    before = method.init(jax.random.key(1), problem()[1])
    (_, there, pair), (back, *_), (after, *_) = rounds(method)
    options = {"steps": 3, "soft": False}
    images = np.float64(before.stored["images"])
    loss, _ = matched(images, None, 0.3, pair, **options)
    np.testing.assert_allclose(there.loss, loss, rtol=1e-5)
    expected = differences(before, pair, exact=name == "mtt", **options)
    gradient = back.unrolled[0].gradient
    agree(gradient, expected, soft=False)
    wanted = np.clip(images - 0.5 * expected[0], 0, 1)
    np.testing.assert_allclose(after.stored["images"], wanted, rtol=1e-3, atol=1e-4)
    moved = before.step_size - 1e-5 * expected[2]
    assert after.step_size != before.step_size
    np.testing.assert_allclose(after.step_size, moved, rtol=1e-6)


def test_what_is_made_again_on_the_way_back_is_what_a_stored_graph_gives():
    method = created("mtt", {"distill.augmentation": "flip"}, batch=4)
    before = method.init(jax.random.key(1), problem()[1])
    _, (back, _, pair), _ = rounds(method)
    key = jax.random.wrap_key_data(pair.key_data)

    def loss(learned):
        theta = jnp.asarray(pair.start)
        for index in range(3):
            theta = method.student_step(method.courses[0], theta, learned, key, jnp.int32(index))
        return jnp.sum((theta - pair.target) ** 2) / jnp.sum((pair.start - pair.target) ** 2)

    learned = type(back.unrolled[0].gradient)(*before[:3])
    stored = quick(jax.grad(loss))(learned)
    for a, b in zip(*map(jax.tree.leaves, (stored, back.unrolled[0].gradient)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_batches_of_a_student_are_epochs_in_random_order():
    method = created("mtt", batch=4)  # of six images
    state = method.init(jax.random.key(1), problem()[1])
    learned = type(state.unrolled[0].gradient)(
        {"images": jnp.arange(6.0)[:, None, None, None] * jnp.ones((6, 2, 2, 1))},
        state.labels,
        state.step_size,
    )
    batch = quick(functools.partial(method._batch, learned))
    seen = [batch(jax.random.key(3), jnp.int32(k)) for k in range(4)]
    rows = [np.rint(images[:, 0, 0, 0] * STD + MEAN).astype(int) for images, _, _ in seen]
    for epoch in (0, 2):
        first, second = seen[epoch][2] > 0, seen[epoch + 1][2] > 0
        both = [*rows[epoch][first], *rows[epoch + 1][second]]
        assert sorted(both) == list(range(6)) and first.sum() == 4
    for (_, targets, _), own in zip(seen, rows, strict=True):
        np.testing.assert_array_equal(targets.argmax(1), own // IPC)
    assert list(rows[0]) != list(rows[2])


def test_tesla_is_mtt_for_one_step_and_another_thing_for_two():
    found = {}
    for name in ("mtt", "tesla"):
        for steps in (1, 2):
            back = rounds(created(name, steps=steps))[1][0]
            found[name, steps] = np.asarray(back.unrolled[0].gradient.stored["images"])
    np.testing.assert_allclose(found["mtt", 1], found["tesla", 1], rtol=1e-6)
    assert np.abs(found["mtt", 2] - found["tesla", 2]).max() > 0.01 * np.abs(found["mtt", 2]).max()


def test_att_lands_at_the_last_minimum_and_what_comes_behind_has_no_part():
    for lengths, steps in (([3, 1, 2], 2), ([1, 1, 2], 2), ([3, 2, 1], 3), ([1, np.inf], 1)):
        assert att.last_minimum(jnp.array(lengths, jnp.float32)) == steps
    # So large a step size that the first step comes nearest.
    (there, metrics, pair), (back, *_), _ = rounds(created("att", step_size=2.0))
    known = there.unrolled[0]
    ends = np.asarray(known.weights)[1:]
    np.testing.assert_allclose(known.lengths, np.abs(ends - pair.target).sum(1), rtol=1e-5)
    landed = int(np.argmin(known.lengths)) + 1
    assert landed < 3
    shorter = rounds(created("mtt", steps=landed, step_size=2.0))
    np.testing.assert_allclose(metrics.loss, shorter[0][1].loss, rtol=1e-5)
    pairs = known_gradient(back), known_gradient(shorter[1][0])
    for a, b in zip(*map(jax.tree.leaves, pairs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def known_gradient(state):
    return state.unrolled[0].gradient


def test_the_average_has_no_bias_to_the_first_images():
    method = created("ftd", average=0.9)
    states, state = [], None
    for number in range(2):
        state = rounds(method, number + 1)[-1][0]
        states.append(np.asarray(state.stored["images"]))
    wanted = (0.9 * states[0] + states[1]) / 1.9
    np.testing.assert_allclose(state.average["images"], wanted, rtol=1e-5)
    np.testing.assert_array_equal(method.result(state).images, state.average["images"])


def test_datm_learns_labels_from_the_experts_logits():
    method, (experts,) = created("datm"), problem()[1]
    before = method.init(jax.random.key(1), (experts,))
    unravel = unraveller(NETWORK)
    judges = [unravel(experts.at(k, 8)) for k in range(2)]
    x = (before.stored["images"] - MEAN) / STD
    said = np.stack([apply(params, x)[0] for params in judges])
    right = (said.argmax(2) == np.repeat(np.arange(3), IPC))[:, :, None]
    assert 0 < right.sum() < right.size
    mean = (said * right).sum(0) / np.maximum(right.sum(0), 1)
    for row, label in enumerate(np.repeat(np.arange(3), IPC)):
        if not right[:, row].any():  # the own class in the place of the largest, and the other way
            mean[row] = said[:, row].mean(0)
            largest = mean[row].argmax()
            mean[row, [label, largest]] = mean[row, [largest, label]]
    assert not right.any(0).all()
    np.testing.assert_allclose(before.labels, mean, rtol=1e-4, atol=1e-5)
    (_, _, pair), (back, *_), (after, *_) = rounds(method)
    expected = differences(before, pair, steps=3, soft=True)
    agree(known_gradient(back), expected, soft=True)
    wanted = before.labels - 2.0 * expected[1]
    np.testing.assert_allclose(after.labels, wanted, rtol=1e-3, atol=1e-4)
    made = method.result(after)
    assert made.logits and made.lr == pytest.approx(float(after.step_size))


def test_a_round_changes_the_step_size_by_a_hundredth_at_most():
    method = created("mtt", step_size=2.0, step_size_rate=10.0)
    before = method.init(jax.random.key(1), problem()[1])
    seen = rounds(method)
    assert abs(known_gradient(seen[1][0]).step_size) > 0.1
    assert abs(seen[2][0].step_size - before.step_size) == pytest.approx(0.02, rel=1e-4)


def test_first_images_are_those_that_most_experts_are_right_about():
    method, (host, given) = created("datm"), problem()
    unravel, x = unraveller(NETWORK), (host.images / 255 - MEAN) / STD
    right = sum(
        np.asarray(apply(unravel(given[0].at(k, 8)), x)[0]).argmax(1) == host.labels
        for k in range(2)
    )
    assert 0 < right[:5].sum() < 10
    first = np.asarray(method.init(jax.random.key(1), given).stored["images"])
    rows = [int(np.abs(host.images / 255 - one).sum((1, 2, 3)).argmin()) for one in first]
    np.testing.assert_array_equal(host.labels[rows], np.repeat(np.arange(3), IPC))
    assert sorted(right[rows[:2]]) == sorted(right[:5])[-2:]
    assert rows[4] == rows[5] == 8  # the only one of its class


def test_the_window_of_datm_grows_and_a_loss_above_the_limit_moves_nothing():
    method = created("datm", growing=10, latest=3, latest_at_first=1)
    for number, latest in ((0, 1), (5, 2), (10, 3), (1000, 3)):
        keys = jax.random.split(jax.random.key(0), 40)
        rows = {method.courses[0].choose(key, number) for key in keys}
        assert rows == {(first, first + 2) for first in range(latest + 1)}
    spoilt = created("datm", skip_above=1e-6)
    before = spoilt.init(jax.random.key(1), problem()[1])
    after = rounds(spoilt)[-1][0]
    for a, b in zip(*map(jax.tree.leaves, (before[:5], after[:5])), strict=True):
        np.testing.assert_array_equal(a, b)


def test_both_courses_of_lad_are_those_of_numpy():
    method = created("lad", representation=0.5, classifier=2.0)
    before = method.init(jax.random.key(1), problem()[1])
    seen = rounds(method)
    pairs = [seen[0][2], seen[2][2]]
    np.testing.assert_array_equal(pairs[1].start[BACKBONE], pairs[1].target[BACKBONE])
    options = (
        {"steps": 3, "weights": np.array(COUNTS) / sum(COUNTS), "where": BACKBONE},
        {"steps": 2, "moved": ~BACKBONE},
    )
    expected = []
    for at, (pair, own) in enumerate(zip(pairs, options, strict=True)):
        expected.append(differences(before, pair, exact=False, soft=True, **own))
        agree(seen[3][0].unrolled[at].gradient, expected[-1], soft=True)
    after = seen[-1][0]
    both = [0.5 * a + 2.0 * b for a, b in zip(*expected, strict=True)]
    np.testing.assert_allclose(after.labels, before.labels - 2 * both[1], rtol=2e-3, atol=2e-4)
    student = np.asarray(seen[2][0].unrolled[1].weights)
    np.testing.assert_array_equal(student[:, BACKBONE], np.tile(pairs[1].start[BACKBONE], (3, 1)))
    losses = [seen[at][1].scalars[f"course_{at // 2}"] for at in (0, 2)]
    assert seen[-1][1].loss == pytest.approx(float(0.5 * losses[0] + 2.0 * losses[1]), rel=1e-5)


def test_a_run_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    method = created("datm", {"distill.steps": 5})
    loop = Loop(method, to_device(small.host()), problem()[1])
    cadence = Cadence(log_every=2, checkpoint_every=2)

    def run(folder):
        done = loop.run(jax.random.key(3), cadence, folder=folder, identity={}, label="tiny")
        return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(done.state)]

    whole = run(tmp_path / "whole")
    monkeypatch.setattr(method, "steps", 3)
    assert run(tmp_path / "part") != whole
    monkeypatch.setattr(method, "steps", 5)
    assert run(tmp_path / "part") == whole
    metrics = [(tmp_path / one / "metrics.jsonl").read_text() for one in ("whole", "part")]
    assert metrics[0] == metrics[1] and len(metrics[0].splitlines()) == 5
    monkeypatch.setattr(method, "init", lambda *given: spoilt(type(method).init(method, *given)))
    with pytest.raises(FloatingPointError, match="not finite at step 0"):
        run(tmp_path / "spoilt")


def spoilt(state):
    return state._replace(stored=jax.tree.map(lambda leaf: leaf * jnp.nan, state.stored))


def test_all_steps_of_a_round_read_one_pair_and_a_rollback_draws_another():
    loop = Loop(created("mtt"), small.host(), problem()[1])
    _, (there, back, update) = loop.reading(jax.random.key(3))
    assert update is None
    rounds = [[feed(index).fetched for feed in (there, back) for index in range(3 * r, 3 * r + 3)]
              for r in range(4)]  # fmt: skip
    for pairs in rounds:
        jax.tree.map(lambda *same: np.testing.assert_array_equal(same[1:], same[:-1]), *pairs)
    assert len({pairs[0].key_data.tobytes() for pairs in rounds}) == 4
    _, (again, *_) = loop.reading(jax.random.key(3), rollbacks=1)
    assert again(0).fetched.key_data.tobytes() != rounds[0][0].key_data.tobytes()


@pytest.mark.parametrize(
    ("name", "wrong", "words"),
    [
        ("mtt", {"latest": 4}, r"trajectory.latest \+ trajectory.epochs = 6 is behind the end"),
        ("mtt", {"earliest": 4}, "trajectory.earliest = 4 is behind trajectory.latest = 3"),
        ("datm", {"latest_at_first": 4}, "trajectory.latest_at_first = 4 must lie between"),
        ("lad", {"classifier_epochs": 4}, "trajectory.classifier_epochs = 4 is behind the end"),
    ],
)
def test_a_student_without_an_expert_is_refused(name, wrong, words):
    with pytest.raises(ValueError, match=words):
        created(name, **wrong)


def test_labels_begin_with_what_right_experts_say():
    said = np.array([[[2.0, 1.0], [3.0, 0.0]], [[4.0, 1.0], [1.0, 0.0]]])  # two experts, two images
    np.testing.assert_array_equal(datm._mean_of_right(said, np.array([0, 1])), [[3, 1], [0, 2]])


def test_where_no_expert_is_right_the_class_takes_the_place_of_the_largest():
    said = np.array([[[5.0, 1.0, -2.0]], [[3.0, 2.0, 0.0]]])
    for own, wanted in ((2, [-1, 1.5, 4]), (1, [1.5, 4, -1]), (0, [4, 1.5, -1])):
        np.testing.assert_array_equal(datm._mean_of_right(said, np.array([own])), [wanted])


def test_running_statistics_are_not_compared():
    with pytest.raises(ValueError, match="take one without batch norm"):
        created("mtt", {"network.name": "convnet_batch_norm"})
