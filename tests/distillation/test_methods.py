import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.metrics import pairwise

import csdm_jax
from csdm_jax.data.device import draw_class_batches
from csdm_jax.distillation import methods
from csdm_jax.distillation.methods import base
from csdm_jax.distillation.methods.matching.matching import Matching
from csdm_jax.distillation.starts import random
from csdm_jax.experiment import config as configuration
from csdm_jax.runtime.stepping import Phases
from csdm_jax.training import extractors
from tests.distillation.families import OF_EXPERTS, RIVALS
from tests.problem import make_loop, read, rounds, tiny_loop, tiny_pool

IPC = 2


@pytest.fixture(scope="module")
def context(tiny):
    return base.Context(tiny.host, tiny.network, tiny.normaliser, ("mosaic", 2))


@pytest.fixture
def config():
    config = configuration.default_config()
    config.distill.ipc = IPC
    config.distill.steps = 3
    config.distill.batch = 8
    config.distill.augmentation = "none"
    config.distill.loss_scale = 300.0
    config.sdd.num_frequencies = 64
    return config


def loop_of(name, config, context):
    return make_loop(name, config, context.host, context.network, context.normaliser)


def features_by_hand(context, images, key):
    """Unit features of one drawn extractor, in float64 NumPy after the network."""
    blended, trained = extractors.draw(tiny_pool(context.network), key)
    features = np.asarray(context.network.apply(blended, images)[1], np.float64)
    logits = context.network.apply(trained, images)[0]
    return features / np.linalg.norm(features, axis=1, keepdims=True), logits


def one_step_loss(name, config, context):
    """The loss of step 0 as the method reports it, and the two sides it was computed from."""
    loop = loop_of(name, config, context)
    state, given = read(loop, key=5)
    draw_key, batch_key, _, distance_key = jax.random.split(given.key, 4)
    drawn = draw_class_batches(context.counts, batch_key, config.distill.batch)
    real, real_ids = jnp.asarray(context.host.take(np.asarray(drawn.values))), drawn.ids
    synthetic = context.parameterisation.decode(state.stored)
    sides = [
        features_by_hand(context, context.normaliser(images), draw_key)
        for images in (real, synthetic)
    ]
    synthetic_ids = np.repeat(np.arange(3), IPC * 4)
    logits = sides[1][1]
    calibration = optax.softmax_cross_entropy_with_integer_labels(logits, synthetic_ids)
    calibration = sum(calibration[synthetic_ids == c].mean() for c in range(3))
    _, metrics = jax.jit(loop.method.step)(state, given)
    classes = [
        (sides[0][0][np.asarray(real_ids) == c], sides[1][0][synthetic_ids == c]) for c in range(3)
    ]
    return metrics, classes, calibration, distance_key


@pytest.mark.parametrize(("batch", "sizes"), [(8, (8, 8, 8)), (20, (20, 17, 8))])
def test_dm_is_the_squared_distance_of_class_means(batch, sizes, config, context):
    config.distill.batch = batch
    metrics, classes, calibration, _ = one_step_loss("dm", config, context)
    assert tuple(len(real) for real, _ in classes) == sizes
    expected = sum(np.sum((r.mean(0) - s.mean(0)) ** 2) for r, s in classes)
    np.testing.assert_allclose(metrics.scalars["matching"], expected, rtol=1e-4)
    np.testing.assert_allclose(metrics.scalars["calibration"], calibration, rtol=1e-5)
    np.testing.assert_allclose(metrics.loss, 300 * expected + calibration, rtol=1e-4)


@pytest.mark.parametrize("name", ["csdm", "csdm_single", "ncfm"])
def test_spectral_methods_sum_their_formula_over_classes(name, config, context):
    config.distill.batch = 1000  # ragged: every class whole, 40, 17 and 8 images
    config.alpha.head, config.alpha.tail, config.alpha.single = 0.8, 0.2, 0.6
    metrics, classes, _, key = one_step_loss(name, config, context)
    assert [len(real) for real, _ in classes] == list(context.counts)
    frequencies = csdm_jax.sample_frequencies(
        key, csdm_jax.RBF(1.0), 64, context.network.feature_dim
    )
    counts = np.array(context.counts)
    position = np.log(counts / counts.min()) / np.log(counts.max() / counts.min())
    alphas = {"csdm": 0.2 + 0.6 * position, "csdm_single": [0.6] * 3, "ncfm": [0.5] * 3}[name]
    expected = 0.0
    for (real, synthetic), alpha in zip(classes, alphas, strict=True):
        phi = [
            np.exp(1j * x @ np.asarray(frequencies, np.float64).T).mean(0)
            for x in (real, synthetic)
        ]
        amplitude = (abs(phi[0]) - abs(phi[1])) ** 2
        phase = 2 * (abs(phi[0]) * abs(phi[1]) - (phi[0] * phi[1].conj()).real)
        mixed = alpha * amplitude + (1 - alpha) * phase
        expected += np.mean(np.sqrt(mixed) if name == "ncfm" else mixed)
    np.testing.assert_allclose(metrics.scalars["matching"], expected, rtol=2e-3)


@pytest.mark.parametrize(
    ("kernel", "reference"),
    [
        ("polynomial", functools.partial(pairwise.polynomial_kernel, degree=3, gamma=0.5, coef0=2)),
        ("sigmoid", functools.partial(pairwise.sigmoid_kernel, gamma=0.5, coef0=2)),
        ("rbf", functools.partial(pairwise.rbf_kernel, gamma=0.5 * 1.3**2)),
    ],
)
def test_mmd_sums_its_kernel_over_ragged_classes(kernel, reference, config, context):
    config.distill.batch = 1000
    config.mmd.update({"kernel": kernel, "degree": 3, "gamma": 0.5, "coef0": 2.0})
    config.sdd.scale = 1.3
    metrics, classes, _, _ = one_step_loss("mmd", config, context)
    expected = [
        reference(r, r).mean() + reference(s, s).mean() - 2 * reference(r, s).mean()
        for r, s in classes
    ]
    np.testing.assert_allclose(metrics.by_class["distance"], expected, rtol=1e-3)
    np.testing.assert_allclose(metrics.scalars["matching"], sum(expected), rtol=1e-3)


def test_mmd_of_the_classes_drawn_leaves_padding_out():
    """Padded rows are there when a step takes some of the classes."""
    whole = tiny_loop(name="mmd", batch=1000, augmentation="none")
    some = tiny_loop(name="mmd", batch=1000, augmentation="none", classes_per_step=1)
    expected, found = (rounds(loop, 1)[1].by_class for loop in (whole, some))
    (drawn,) = found["classes"][0]
    distances = found["distance"][0, 0], expected["distance"][0, drawn]
    np.testing.assert_allclose(*distances, rtol=1e-3)


def test_mmd_wants_a_kernel_with_a_gram_matrix(config):
    config.mmd.kernel, config.sdd.nu = "matern", 1.2
    with pytest.raises(ValueError, match="half-integer"):
        methods.kind("mmd").check(config)


@pytest.mark.parametrize("name", [n for n in methods.METHODS if n not in (*RIVALS, *OF_EXPERTS)])
def test_images_start_real_and_stay_in_range(name, config, context):
    loop = loop_of(name, config, context)
    start = loop.method.result(loop.begin(jax.random.key(0))[0]).images
    assert start.shape == (3 * IPC, 8, 8, 3)
    if methods.kind(name).selects:
        assert not loop.method.phases
        return
    state, metrics = rounds(loop, 3)
    stored = loop.method.result(state).images
    assert stored.min() >= 0 and stored.max() <= 1
    assert np.mean(stored != start) > 0.5
    assert np.isfinite(metrics.loss).all() and metrics.loss.shape == (3,)


def test_a_step_is_pure_and_compiled_once(config, context):
    traces = []

    class Counted(Matching):
        def loss(self, *arguments):
            traces.append(1)
            return super().loss(*arguments)

    loop = loop_of("csdm", config, context)
    loop.method.__class__ = Counted
    (first, _), (again, _) = rounds(loop, 3), rounds(loop, 3)
    np.testing.assert_array_equal(first.stored["images"], again.stored["images"])
    assert len(traces) == 1


def test_other_steps_and_other_extractors_compile_nothing(config, context):
    loop = loop_of("csdm", config, context)
    state, constants, _ = loop.begin(jax.random.key(0))
    others = constants._replace(
        supplied=jax.tree.map(lambda leaf: leaf * 0.9, constants.supplied),
        key_data=jax.random.key_data(jax.random.key(9)),  # another distillation seed
    )
    step = jax.jit(loop.stepper.phases[0].step)
    for index, one in ((0, constants), (1, constants), (7, others)):
        state, _ = step(state, one, np.int32(index))
    assert step._cache_size() == 1


@pytest.mark.parametrize("name", ["csdm", "ncfm_sampler"])
def test_another_loss_scale_compiles_nothing_and_scales_the_term(name, config, context):
    config.distill.calibration = 0.0
    texts, losses = [], []
    for scale in (2.0, 4.0):
        config.distill.loss_scale = scale
        loop = loop_of(name, config, context)
        state, constants, _ = loop.begin(jax.random.key(0))
        given = (state, constants, np.int32(0))
        steps = [jax.jit(phase.step) for phase in loop.stepper.phases]
        texts.append([step.lower(*given).as_text() for step in steps])
        losses.append([float(step(*given)[1].loss) for step in steps])
    assert texts[0] == texts[1]
    np.testing.assert_allclose(losses[1], 2 * np.array(losses[0]), rtol=1e-5)


def test_loop_and_scan_agree(config, context):
    loop = loop_of("csdm", config, context)
    ends = []
    for strategy in ("loop", "scan"):
        loop.stepper = Phases(loop.stepper.phases, strategy=strategy)
        ends.append(rounds(loop, 3))
    images = [state.stored["images"] for state, _ in ends]
    np.testing.assert_allclose(*images, atol=1e-5)
    np.testing.assert_allclose(ends[0][1].loss, ends[1][1].loss, rtol=1e-4)


def test_matching_its_own_real_images_lowers_the_loss(config, context):
    config.distill.steps = 40
    config.distill.learning_rate = 0.01
    config.distill.batch = 1000
    _, metrics = rounds(loop_of("csdm", config, context), 40)
    assert metrics.scalars["matching"][-10:].mean() < 0.7 * metrics.scalars["matching"][:5].mean()


def test_a_plateau_lowers_the_learning_rate(config, context):
    config.distill.plateau_patience = config.distill.plateau_window = 1
    config.distill.plateau_factor = 0.1
    config.distill.calibration = 0.0
    config.distill.learning_rate = 1e-8  # nothing improves
    _, metrics = rounds(loop_of("dm", config, context), 30)
    assert metrics.scalars["learning_rate_factor"][0] == 1.0
    assert metrics.scalars["learning_rate_factor"][-1] < 0.1


def test_initial_rows_are_distinct_within_a_class_and_reused_evenly(key):
    rows = random.initial_rows((6, 3), 4, key)
    assert rows.shape == (8,)
    assert len(set(rows[:4])) == 4 and set(rows[:4]) <= set(range(6))
    used, times = np.unique(rows[4:], return_counts=True)
    assert set(used) == {6, 7, 8} and sorted(times) == [1, 1, 2]
    np.testing.assert_array_equal(rows, random.initial_rows((6, 3), 4, key))
    assert not np.array_equal(rows, random.initial_rows((6, 3), 4, jax.random.key(1)))


def test_all_methods_start_from_the_same_images(config, context, key):
    starts = []
    for name, kind in methods.METHODS.items():
        if name in RIVALS or (kind.selects and name != "random"):
            continue
        loop = loop_of(name, config, context)
        starts.append(loop.method.result(loop.begin(key)[0]).images)
    for start in starts[1:]:
        np.testing.assert_array_equal(start, starts[0])


def test_an_unknown_method_is_refused(config, context):
    with pytest.raises(ValueError, match=r"unknown method 'csmd'.*did you mean 'csdm'"):
        methods.create("csmd", config, context)


def test_a_kernel_without_a_spectrum_is_not_offered(config, context):
    config.sdd.kernel = "linear"
    with pytest.raises(ValueError, match=r"unknown kernel 'linear'.*'rbf'"):
        methods.create("csdm", config, context)
