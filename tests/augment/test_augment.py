"""Augmentation: every operation against NumPy or SciPy, sharing of draws, modes and CutMix."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, stats

from csdm_jax import augment
from csdm_jax.augment import Augmentation, Draw

FULL = "color_crop_cutout_flip_scale_rotate"
SHAPE = (8, 8, 3)


def images_of(n=4, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype(np.float32)


def apply_one(op, values, images):
    """One operation under given random numbers."""
    drawn = Draw(jnp.int32(0), {op: jnp.asarray(values)})
    return np.asarray(augment.apply(Augmentation((op,)), drawn, jnp.asarray(images)))


def drawn_values(op, count=2000, shape=(32, 32, 3), **strengths):
    augmentation = Augmentation((op,), **strengths)
    return np.asarray(augment.draw(augmentation, jax.random.key(5), count, shape).values[op])


# The operations


def test_color_is_brightness_then_saturation_then_contrast():
    images = images_of()
    amounts = np.array([[0.3, 1.7, 0.6], [-0.5, 0.0, 1.4], [0.1, 1.0, 0.5], [0.0, 2.0, 1.5]])
    expected = images + amounts[:, 0, None, None, None]
    grey = expected.mean(3, keepdims=True)
    expected = (expected - grey) * amounts[:, 1, None, None, None] + grey
    mean = expected.mean((1, 2, 3), keepdims=True)
    expected = (expected - mean) * amounts[:, 2, None, None, None] + mean
    np.testing.assert_allclose(apply_one("color", amounts, images), expected, atol=1e-5)


def test_crop_is_padding_and_slicing():
    images = images_of(shape=(8, 6, 3))
    shift = np.array([[0, 0], [1, -2], [-2, 1], [2, 2]], np.int32)
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    expected = [p[2 + i : 10 + i, 2 + j : 8 + j] for p, (i, j) in zip(padded, shift, strict=True)]
    np.testing.assert_array_equal(apply_one("crop", shift, images), expected)


def sampled(image, theta):
    """PyTorch's affine_grid and grid_sample with align_corners=False, by SciPy.

    Pixel i lies at (2 i + 1) / side - 1; `theta` maps an output's (x, y) to an input's.
    """
    height, width = image.shape[:2]
    y, x = np.meshgrid(
        (2 * np.arange(height) + 1) / height - 1,
        (2 * np.arange(width) + 1) / width - 1,
        indexing="ij",
    )
    x, y = theta[0][0] * x + theta[0][1] * y, theta[1][0] * x + theta[1][1] * y
    rows, columns = ((y + 1) * height - 1) / 2, ((x + 1) * width - 1) / 2
    channels = [
        ndimage.map_coordinates(channel, [rows, columns], order=1, mode="grid-constant")
        for channel in np.moveaxis(image.astype(np.float64), 2, 0)
    ]
    return np.stack(channels, axis=2)


@pytest.mark.parametrize("shape", [(8, 8, 3), (7, 10, 1)])
def test_scale_agrees_with_scipy(shape):
    images = images_of(3, shape)
    step = np.array([[1.2, 1 / 1.2], [0.9, 1.1], [1.05, 1.0]], np.float32)
    thetas = [[[columns, 0], [0, rows]] for rows, columns in step]
    expected = [sampled(image, theta) for image, theta in zip(images, thetas, strict=True)]
    np.testing.assert_allclose(apply_one("scale", step, images), expected, atol=1e-5)


@pytest.mark.parametrize("side", [7, 8])
def test_rotate_agrees_with_scipy(side):
    images = images_of(3, (side, side, 2))
    angles = np.radians([15, -15, 4], dtype=np.float32)
    thetas = [[[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] for a in angles]
    expected = [sampled(image, theta) for image, theta in zip(images, thetas, strict=True)]
    np.testing.assert_allclose(apply_one("rotate", angles, images), expected, atol=1e-5)


def test_rotate_keeps_distances_in_an_oblong_image():
    image = np.zeros((1, 9, 17, 1), np.float32)
    image[0, 4, 12] = 1  # four pixels right of the centre; a quarter turn takes it below or above
    turned = apply_one("rotate", np.array([np.pi / 2], np.float32), image)
    np.testing.assert_allclose(turned[0, 0, 8], 1, atol=1e-5)
    np.testing.assert_allclose(turned.sum(), 1, atol=1e-5)


def test_cutout_zeroes_a_square_that_may_hang_over_the_border():
    images = images_of(3)
    boxes = np.array([[[2, 3], [6, 7]], [[-2, 6], [2, 10]], [[8, 0], [12, 4]]], np.int32)
    expected = images.copy()
    expected[0, 2:6, 3:7] = 0
    expected[1, :2, 6:] = 0
    np.testing.assert_array_equal(apply_one("cutout", boxes, images), expected)


def test_flip_exchanges_left_and_right():
    images = images_of(2)
    out = apply_one("flip", np.array([True, False]), images)
    np.testing.assert_array_equal(out[0], images[0, :, ::-1])
    np.testing.assert_array_equal(out[1], images[1])


# The random numbers


@pytest.mark.parametrize(
    ("op", "strengths", "column", "low", "high"),
    [
        ("color", {}, 0, -0.5, 0.5),
        ("color", {}, 1, 0.0, 2.0),
        ("color", {}, 2, 0.5, 1.5),
        ("color", {"brightness": 0.2, "saturation": 3.0, "contrast": 0.7}, 2, 0.7, 1.7),
        ("scale", {}, 0, 1 / 1.2, 1.2),
        ("scale", {"scale": 2.0}, 1, 0.5, 2.0),
        ("rotate", {}, 0, -np.pi / 12, np.pi / 12),
        ("rotate", {"rotate": 90.0}, 0, -np.pi / 2, np.pi / 2),
    ],
)
def test_continuous_strengths_are_uniform_in_their_range(op, strengths, column, low, high):
    values = drawn_values(op, **strengths).reshape(2000, -1)[:, column]
    assert low <= values.min() + 1e-6 and values.max() <= high + 1e-6
    assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 1e-3


@pytest.mark.parametrize(("side", "reach"), [(32, 4), (28, 4), (128, 16), (8, 1)])
def test_crop_shifts_by_up_to_an_eighth_of_the_side(side, reach):
    shift = drawn_values("crop", shape=(side, side, 1))
    for axis in (0, 1):
        values, counts = np.unique(shift[:, axis], return_counts=True)
        np.testing.assert_array_equal(values, np.arange(-reach, reach + 1))
        assert stats.chisquare(counts).pvalue > 1e-3
    assert abs(np.corrcoef(shift.T)[0, 1]) < 0.1


@pytest.mark.parametrize(("side", "first", "last"), [(32, -8, 24), (6, -1, 4)])
def test_cutout_squares_have_half_the_side_and_every_centre(side, first, last):
    boxes = drawn_values("cutout", shape=(side, side, 1))
    np.testing.assert_array_equal(boxes[:, 1] - boxes[:, 0], side // 2)
    values, counts = np.unique(boxes[:, 0, 0], return_counts=True)
    np.testing.assert_array_equal(values, np.arange(first, last + 1))
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("probability", [0.0, 0.5, 0.9, 1.0])
def test_flip_probability(probability):
    flips = drawn_values("flip", flip=probability).sum()
    assert stats.binomtest(int(flips), 2000, probability).pvalue > 1e-3


def test_zero_strength_is_the_identity():
    ops = ("flip", "crop", "scale", "rotate", "cutout")
    zero = Augmentation(ops, "all", crop=0.0, cutout=0.0, flip=0.0, scale=1.0, rotate=0.0)
    images = images_of()
    out = augment.augment_each(zero, jax.random.key(0), jnp.asarray(images))
    np.testing.assert_allclose(out, images, atol=1e-5)
    np.testing.assert_allclose(apply_one("color", [[0.0, 1.0, 1.0]] * 4, images), images, atol=1e-6)


@pytest.mark.parametrize("strategy", ["", "none"])
@pytest.mark.parametrize("mode", augment.MODES)
def test_no_operation_is_the_identity(strategy, mode):
    images = images_of()
    identity = Augmentation.parse(strategy, mode)
    out = augment.augment_each(identity, jax.random.key(0), jnp.asarray(images))
    np.testing.assert_array_equal(out, images)


# Modes


def stepwise(augmentation, drawn, images, ops):
    """The operations one after another, each by itself."""
    for op in ops:
        images = apply_one(op, drawn.values[op], images)
    return images


@pytest.mark.parametrize(
    ("mode", "alternatives"),
    [
        ("one", [["flip"], ["color"], ["crop"], ["scale"], ["rotate"], ["cutout"]]),
        ("all", [["flip", "color", "crop", "scale", "rotate", "cutout"]]),
        ("ncfm", [["flip", "color", op, "cutout"] for op in ("crop", "scale", "rotate")]),
    ],
)
def test_mode_applies_exactly_its_operations(mode, alternatives):
    augmentation, images = Augmentation.parse(FULL, mode), images_of()
    drawn = augment.draw(augmentation, jax.random.key(2), 4, SHAPE)
    for choice, ops in enumerate(alternatives):
        chosen = dataclasses.replace(drawn, choice=jnp.int32(choice))
        out = augment.apply(augmentation, chosen, jnp.asarray(images))
        expected = stepwise(augmentation, drawn, images, ops)
        np.testing.assert_allclose(out, expected, atol=1e-5, err_msg=str(ops))


@pytest.mark.parametrize(
    ("strategy", "mode", "alternatives"),
    [
        (FULL, "one", 6),
        (FULL, "all", 1),
        (FULL, "ncfm", 3),
        ("color_crop_cutout", "ncfm", 1),
        ("color_crop_cutout", "one", 3),
        ("flip_scale_rotate", "ncfm", 2),
    ],
)
def test_choice_is_uniform_over_the_alternatives(strategy, mode, alternatives):
    augmentation = Augmentation.parse(strategy, mode)
    keys = jax.random.split(jax.random.key(1), 1200)
    choose = jax.jit(jax.vmap(lambda key: augment.draw(augmentation, key, 1, SHAPE).choice))
    choices = choose(keys)
    values, counts = np.unique(choices, return_counts=True)
    np.testing.assert_array_equal(values, np.arange(alternatives))
    assert alternatives == 1 or stats.chisquare(counts).pvalue > 1e-3


def test_strategies_are_read_in_any_order_and_applied_in_one():
    assert Augmentation.parse("cutout_color", "all").stages == (("color",), ("cutout",))
    assert Augmentation.parse("rotate_color_crop", "ncfm").stages == (
        ("color",),
        ("crop", "rotate"),
    )
    assert Augmentation.parse("crop_flip", "one").stages == (("flip", "crop"),)


# Sharing of draws


def test_images_of_a_class_share_its_entry_of_a_draw_and_differ_from_other_classes():
    pattern = images_of(1)[0]
    real_ids, synthetic_ids = np.array([0, 1, 2, 2, 1]), np.array([2, 0, 1])
    augmentation = Augmentation.parse(FULL, "all")
    drawn = augment.draw(augmentation, jax.random.key(4), 3, SHAPE)
    apply = jax.jit(lambda ids, images: augment.apply(augmentation, drawn.take(ids), images))
    real, synthetic = (
        apply(ids, jnp.stack([pattern] * len(ids))) for ids in (real_ids, synthetic_ids)
    )
    for image, c in zip(synthetic, synthetic_ids, strict=True):
        for other, other_class in zip(real, real_ids, strict=True):
            if c == other_class:
                np.testing.assert_allclose(image, other, atol=1e-5)
            else:
                assert np.abs(image - other).max() > 0.1


def test_augment_each_gives_every_image_numbers_of_its_own():
    images = jnp.stack([images_of(1)[0]] * 6)
    out = augment.augment_each(Augmentation.parse("color", "ncfm"), jax.random.key(0), images)
    distances = np.abs(out[:, None] - out[None]).max((2, 3, 4))
    assert (distances[~np.eye(6, dtype=bool)] > 1e-2).all()


def test_numbers_of_an_operation_do_not_depend_on_the_others():
    key = jax.random.key(0)
    alone = augment.draw(Augmentation(("crop",)), key, 5, SHAPE)
    among = augment.draw(Augmentation.parse(FULL, "all"), key, 5, SHAPE)
    np.testing.assert_array_equal(alone.values["crop"], among.values["crop"])


def test_take_leaves_the_choice():
    drawn = augment.draw(Augmentation.parse(FULL, "one"), jax.random.key(0), 3, SHAPE)
    ids = np.array([2, 2, 0, 1])
    taken = drawn.take(ids)
    assert taken.choice == drawn.choice and taken.choice.shape == ()
    np.testing.assert_array_equal(taken.values["color"], drawn.values["color"][ids])
    np.testing.assert_array_equal(taken.values["flip"], drawn.values["flip"][ids])


# Gradients and transformations


@pytest.mark.parametrize("op", augment.OPS)
def test_pixel_gradient_agrees_with_central_differences(op):
    augmentation = Augmentation((op,))
    drawn = augment.draw(augmentation, jax.random.key(1), 2, SHAPE)
    weights = jnp.asarray(images_of(2, seed=1))

    @jax.jit
    def loss(images):
        return jnp.sum(weights * augment.apply(augmentation, drawn, images))

    images = jnp.asarray(images_of(2))
    gradient = jax.grad(loss)(images)
    for position in [(0, 0, 0, 0), (0, 3, 4, 1), (1, 7, 7, 2), (1, 5, 2, 0)]:
        ends = [loss(images.at[position].add(step)) for step in (1.0, -1.0)]
        # Every operation is linear in the pixels, so a step of 1 is exact.
        np.testing.assert_allclose(gradient[position], (ends[0] - ends[1]) / 2, atol=1e-4)


@pytest.mark.parametrize("mode", augment.MODES)
def test_jit_equals_eager_and_compiles_once(mode):
    augmentation, images = Augmentation.parse(FULL, mode), jnp.asarray(images_of())
    traces = []

    @jax.jit
    def jitted(key, images):
        traces.append(key)
        return augment.augment_each(augmentation, key, images)

    outputs = [np.asarray(jitted(jax.random.key(seed), images)) for seed in range(6)]
    assert len(traces) == 1
    eager = augment.augment_each(augmentation, jax.random.key(0), images)
    np.testing.assert_allclose(outputs[0], eager, atol=1e-5)
    assert max(np.abs(outputs[0] - other).max() for other in outputs[1:]) > 0.1


# Errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ops": ("colour",)}, "distinct names out of flip, color, crop, scale, rotate, cutout"),
        ({"ops": ("crop", "crop")}, r"distinct names .* got \('crop', 'crop'\)"),
        ({"mode": "S"}, "mode must be one of one, all, ncfm, got 'S'"),
        ({"flip": 1.5}, r"flip must be finite and in \[0, 1\], got 1.5"),
        ({"scale": 0.8}, r"scale must be finite and in \[1, inf\], got 0.8"),
        ({"brightness": -1.0}, "brightness must be finite and in"),
        ({"contrast": float("nan")}, "contrast must be finite and in"),
        ({"saturation": float("inf")}, "saturation must be finite and in"),
    ],
)
def test_augmentation_rejects(arguments, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**arguments)


def test_apply_rejects_a_draw_of_another_length():
    augmentation = Augmentation(("crop",))
    drawn = augment.draw(augmentation, jax.random.key(0), 3, SHAPE)
    with pytest.raises(ValueError, match=r"draw of crop has 3 entries for 4 images: use draw.take"):
        augment.apply(augmentation, drawn, jnp.asarray(images_of()))


# CutMix


def shares(mixed):
    """Share of each mixed image's pixels that comes from image 0, 1, ..."""
    sources = np.arange(len(mixed)).reshape(1, 1, 1, -1)
    return (np.asarray(mixed) == sources).mean((1, 2))


def numbered(n=5, side=16):
    """Constant images that carry their index, and their one-hot labels."""
    index = jnp.arange(n, dtype=jnp.float32)
    return jnp.tile(index[:, None, None, None], (1, side, side, 1)), jnp.eye(n)


@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_cutmix_mixes_labels_by_the_area_of_one_box(beta):
    images, labels = numbered()
    mix = jax.jit(lambda key, images, labels: augment.cutmix(key, images, labels, 1.0, beta))
    mixed_any = False
    for seed in range(12):
        mixed, soft = mix(jax.random.key(seed), images, labels)
        np.testing.assert_allclose(soft, shares(mixed), atol=1e-6)
        pasted = np.asarray(mixed != images)[..., 0].any(0)
        rows, columns = np.flatnonzero(pasted.any(1)), np.flatnonzero(pasted.any(0))
        assert pasted.sum() == len(rows) * len(columns)
        assert len(rows) == 0 or np.ptp(rows) + 1 == len(rows)
        mixed_any |= bool(pasted.any())
    assert mixed_any


def test_cutmix_of_soft_labels_is_their_mixture():
    images, _ = numbered()
    labels = jax.nn.softmax(jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32))
    mixed, soft = augment.cutmix(jax.random.key(2), images, labels, 1.0)
    np.testing.assert_allclose(soft, shares(mixed) @ np.asarray(labels), atol=1e-6)
    np.testing.assert_allclose(soft.sum(1), 1, atol=1e-6)
    assert np.abs(soft - labels).max() > 1e-3


@pytest.mark.parametrize(("probability", "happens"), [(0.0, False), (1.0, True)])
def test_cutmix_happens_never_or_always(probability, happens):
    images, labels = numbered()
    for seed in range(8):
        mixed, soft = augment.cutmix(jax.random.key(seed), images, labels, probability)
        assert bool((mixed != images).any()) == bool((soft != labels).any()) == happens


def test_cutmix_happens_half_the_time_with_boxes_of_the_expected_area():
    images, labels = numbered(5, 64)
    keys = jax.random.split(jax.random.key(1), 1000)
    _, soft = jax.jit(jax.vmap(lambda key: augment.cutmix(key, images, labels, 0.5)))(keys)
    area = 1 - np.diagonal(soft, axis1=1, axis2=2).min(1)
    area = area[area > 0]
    assert stats.binomtest(len(area), 1000, 0.5).pvalue > 1e-3
    # A side s = sqrt(1 - l) has density 2 s. The border leaves s - s^2 / 4 of it on average, so the
    # mean area is the integral of 2 s (s - s^2 / 4)^2 = 1/2 - 1/5 + 1/48; 0.01 for whole pixels.
    expected = 1 / 2 - 1 / 5 + 1 / 48
    assert abs(area.mean() - expected) < 3 * area.std() / np.sqrt(len(area)) + 0.01


@pytest.mark.parametrize(
    ("labels", "probability", "beta", "message"),
    [
        (jnp.zeros(5, int), 0.5, 1.0, r"labels must be floating probabilities \[5, K\]"),
        (jnp.zeros((5, 3), int), 0.5, 1.0, r"got int32 \[5, 3\]: use jax.nn.one_hot"),
        (jnp.zeros((4, 3)), 0.5, 1.0, r"got float32 \[4, 3\]"),
        (jnp.zeros((5, 3)), 1.5, 1.0, r"probability must be in \[0, 1\].* got 1.5 and 1.0"),
        (jnp.zeros((5, 3)), 0.5, 0.0, r"beta positive, got 0.5 and 0.0"),
    ],
)
def test_cutmix_rejects(labels, probability, beta, message):
    with pytest.raises(ValueError, match=message):
        augment.cutmix(jax.random.key(0), numbered()[0], labels, probability, beta)
