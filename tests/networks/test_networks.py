"""Networks: sizes, initialisation and forward passes against float64 NumPy."""

import functools
from collections.abc import Callable

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from csdm_jax import networks
from csdm_jax.networks import layers

SMALLEST = {"convnet": (8, 8, 1), "resnet18": (9, 9, 3), "vgg11": (32, 32, 3), "alexnet": (8, 8, 1)}


def make(name="convnet", num_classes=10, image_shape=(32, 32, 3), **options):
    return networks.create(name, num_classes=num_classes, image_shape=image_shape, **options)


def tiny(**options):
    return make(num_classes=3, image_shape=(9, 8, 2), depth=2, width=4, **options)


def images_of(shape, n=2, seed=1):
    return jnp.array(np.random.default_rng(seed).normal(size=(n, *shape)), jnp.float32)


# Sizes


@pytest.mark.parametrize(
    ("name", "side", "num_classes", "options", "count", "dim"),
    [
        ("convnet", 32, 10, {}, 320_010, 2048),
        ("convnet", 32, 100, {}, 504_420, 2048),
        ("convnet", 64, 200, {"depth": 4}, 857_160, 2048),
        ("convnet", 128, 10, {"depth": 5}, 615_690, 2048),
        ("resnet18", 32, 10, {}, 11_173_962, 512),
        ("resnet18", 128, 10, {}, 11_173_962, 512),
        ("vgg11", 32, 10, {}, 9_231_114, 512),
        ("vgg11", 128, 10, {}, 9_231_114, 512),
        # Sum of k * (size^2 * c + 1) over the convolutions, and (16 * 192 + 1) * 10.
        ("alexnet", 32, 10, {}, 9_728 + 614_592 + 442_624 + 442_560 + 331_968 + 30_730, 3072),
        # A quarter of the published width: kernels with a sixteenth, dimensions with a quarter.
        ("resnet18", 32, 10, {"width": 32}, 701_466, 128),
        ("vgg11", 32, 10, {"width": 32}, 579_786, 128),
        ("alexnet", 32, 10, {"width": 32}, 2_432 + 38_448 + 27_712 + 27_696 + 20_784 + 7_690, 768),
        ("alexnet", 128, 10, {}, 1_841_472 + (256 * 192 + 1) * 10, 49_152),
    ],
)
def test_parameter_count_and_feature_dimension(name, side, num_classes, options, count, dim):
    network = make(name, num_classes, (side, side, 3), **options)
    params = jax.eval_shape(network.init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count
    images = jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
    logits, features = jax.eval_shape(network.apply, params, images)
    assert network.feature_dim == dim
    assert (logits.shape, features.shape) == ((2, num_classes), (2, dim))
    assert logits.dtype == features.dtype == jnp.float32


# Initialisation


@pytest.mark.parametrize("name", ["convnet", "alexnet"])
def test_weights_and_biases_are_uniform_within_the_fan_in_bound(name):
    params = make(name, image_shape=SMALLEST[name]).init(jax.random.key(3))
    scaled = {"kernel": [], "bias": []}
    for layer, leaves in params.items():
        if "Norm" in layer:
            np.testing.assert_array_equal(leaves["scale"], 1)
            np.testing.assert_array_equal(leaves["bias"], 0)
            continue
        fan_in = np.prod(leaves["kernel"].shape[:-1])
        for kind, values in scaled.items():
            values.append(np.ravel(leaves[kind]) * np.sqrt(fan_in))
    for layer_values in scaled.values():
        values = np.concatenate(layer_values)
        assert 0.9 < np.abs(values).max() <= 1 + 1e-6
        assert stats.kstest(values, stats.uniform(-1, 2).cdf).pvalue > 1e-3
    small = scaled["kernel"][0]  # the first layer has few values: not hidden by the large ones
    assert stats.kstest(small, stats.uniform(-1, 2).cdf).pvalue > 1e-3


def test_seed_decides_the_parameters():
    first, again, other = (tiny().init(jax.random.key(seed)) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.allclose(first["Conv_0"]["kernel"], other["Conv_0"]["kernel"])


# Forward passes against NumPy


def reference_conv(x, layer, stride=1):
    kernel = np.asarray(layer["kernel"], np.float64)
    size, pad = kernel.shape[0], kernel.shape[0] // 2
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    height, width = ((side + stride - 1) // stride for side in x.shape[1:3])
    out = np.zeros((len(x), height, width, kernel.shape[3]))
    for i in range(size):
        for j in range(size):
            window = padded[:, i : i + stride * height : stride, j : j + stride * width : stride]
            out += window[:, :height, :width] @ kernel[i, j]
    return out + np.asarray(layer.get("bias", 0), np.float64)


def reference_norm(x, layer):
    out = np.empty_like(x)
    for n in range(x.shape[0]):
        for c in range(x.shape[3]):
            plane = x[n, :, :, c]
            out[n, :, :, c] = (plane - plane.mean()) / np.sqrt(plane.var() + 1e-5)
    return out * np.asarray(layer["scale"], np.float64) + np.asarray(layer["bias"], np.float64)


def reference_pool(x, reduce):
    out = np.empty((x.shape[0], x.shape[1] // 2, x.shape[2] // 2, x.shape[3]))
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            out[:, i, j] = reduce(x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2], axis=(1, 2))
    return out


def relu(x):
    return np.maximum(x, 0)


class Layers:
    """Hands out the parameters in the order in which the layers were made."""

    def __init__(self, params):
        self.params, self.used = params, {}

    def __call__(self, kind):
        self.used[kind] = self.used.get(kind, -1) + 1
        return self.params[f"{kind}_{self.used[kind]}"]


def reference_convnet(x, layer, depth=3):
    for _ in range(depth):
        x = relu(reference_norm(reference_conv(x, layer("Conv")), layer("InstanceNorm")))
        x = reference_pool(x, np.mean)
    return x.reshape(len(x), -1)


def reference_alexnet(x, layer):
    for pooled in (True, True, False, False, True):
        x = relu(reference_conv(x, layer("Conv")))
        x = reference_pool(x, np.max) if pooled else x
    return x.reshape(len(x), -1)


def reference_vgg11(x, layer):
    for code in ["C", "P", "C", "P", "C", "C", "P", "C", "C", "P", "C", "C", "P"]:
        if code == "P":
            x = reference_pool(x, np.max)
        else:
            x = relu(reference_norm(reference_conv(x, layer("Conv")), layer("InstanceNorm")))
    return x.mean((1, 2))


def reference_resnet18(x, layer):
    x = relu(reference_norm(reference_conv(x, layer("Conv")), layer("InstanceNorm")))
    for stride, projected in [(1, 0), (1, 0), (2, 1), (1, 0), (2, 1), (1, 0), (2, 1), (1, 0)]:
        y = relu(reference_norm(reference_conv(x, layer("Conv"), stride), layer("InstanceNorm")))
        y = reference_norm(reference_conv(y, layer("Conv")), layer("InstanceNorm"))
        if projected:
            x = reference_norm(reference_conv(x, layer("Conv"), stride), layer("InstanceNorm"))
        x = relu(x + y)
    return x.mean((1, 2))


def perturbed(params):
    """Norm scales and biases away from 1 and 0, so that their use is tested."""
    leaves, treedef = jax.tree.flatten(params)
    rng = np.random.default_rng(7)
    moved = [
        leaf + np.float32(0.1 * rng.normal(size=leaf.shape) * (leaf.ndim == 1)) for leaf in leaves
    ]
    return jax.tree.unflatten(treedef, moved)


@pytest.mark.parametrize("name", SMALLEST)
def test_forward_agrees_with_numpy_at_the_smallest_image_size(name):
    network = make(name, image_shape=SMALLEST[name])
    params = perturbed(network.init(jax.random.key(0)))
    images = images_of(SMALLEST[name])
    logits, features = jax.jit(network.apply)(params, images)
    layer = Layers(params)
    expected = globals()[f"reference_{name}"](np.asarray(images, np.float64), layer)
    dense = layer("Dense")
    np.testing.assert_allclose(features, expected, atol=2e-4 * np.abs(expected).max())
    expected = expected @ np.asarray(dense["kernel"], np.float64) + np.asarray(dense["bias"])
    np.testing.assert_allclose(logits, expected, atol=2e-4 * np.abs(expected).max())
    assert np.ptp(features, axis=0).max() > 0.01 * np.abs(features).max()  # images are told apart


def test_convnet_of_odd_image_size_agrees_with_numpy():
    network = tiny()
    params = perturbed(network.init(jax.random.key(0)))
    images = images_of((9, 8, 2))
    expected = reference_convnet(np.asarray(images, np.float64), Layers(params), depth=2)
    np.testing.assert_allclose(network.apply(params, images)[1], expected, atol=1e-5)


class Norm(nn.Module):
    norm: Callable = layers.instance_norm

    @nn.compact
    def __call__(self, x):
        return self.norm(x)


@pytest.mark.parametrize(("offset", "spread"), [(0, 1), (100, 0.1), (0, 1e-3)])
def test_instance_norm_keeps_its_digits_on_flat_channels(offset, spread):
    x = offset + spread * images_of((5, 6, 3))
    layer = {"scale": jnp.array([1.0, 2.0, 0.5]), "bias": jnp.array([0.0, -1.0, 3.0])}
    out = Norm().apply({"params": {"InstanceNorm_0": layer}}, x)
    # A float32 at 100 is exact to 4e-6, a 2e-5 part of the spread.
    np.testing.assert_allclose(out, reference_norm(np.asarray(x, np.float64), layer), atol=5e-4)


def norm_of_flax(x, rectified=False):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        normal = nn.InstanceNorm(epsilon=1e-5, use_fast_variance=False)(x)
        return nn.relu(normal) if rectified else normal


@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_instance_norm_is_that_of_flax_in_value_parameters_and_gradients(dtype, rectified):
    keys = jax.random.split(jax.random.key(0), 3)
    x = (3 * jax.random.normal(keys[0], (4, 5, 6, 2)) + 1).astype(dtype)
    if dtype == jnp.float32:
        x = x.at[0, :, :, 1].set(0.5)  # a channel without variance multiplies by 300
    away = jax.random.normal(keys[1], x.shape)
    found, expected = (
        Norm(functools.partial(norm, rectified=rectified))
        for norm in (layers.instance_norm, norm_of_flax)
    )
    params = found.init(keys[2], x)
    chex.assert_trees_all_equal(params, expected.init(keys[2], x))
    values = {"scale": jnp.array([1.5, -0.5], dtype), "bias": jnp.array([0.2, -1.0], dtype)}
    params = {"params": {"InstanceNorm_0": values}}

    def loss(layer, params, x):
        out = layer.apply(params, x)
        return jnp.sum(away * jnp.sin(out.astype(jnp.float32))), out

    def value_and_gradients(layer):
        gradients, out = jax.grad(functools.partial(loss, layer), (0, 1), has_aux=True)(params, x)
        assert out.dtype == dtype
        return out, gradients

    tolerance = 1e-5 if dtype == jnp.float32 else 2e-2
    chex.assert_trees_all_close(
        *(jax.tree.map(np.float32, value_and_gradients(layer)) for layer in (found, expected)),
        rtol=tolerance,
        atol=tolerance,
    )


@pytest.mark.parametrize("channels", [3, 5])
def test_second_gradients_of_a_block_are_those_of_flax_and_jax(channels):
    """What gradient matching and trajectory matching differentiate; thin images have their own."""
    keys = jax.random.split(jax.random.key(0), 5)
    x, away = (
        jax.random.normal(key, (2, 3, 6, 5, size))
        for key, size in zip(keys[:2], (channels, 4), strict=True)
    )
    kernel = jax.random.normal(keys[2], (3, 3, channels, 4))
    values = [1 + 0.1 * jax.random.normal(key, (4,)) for key in keys[3:]]

    def slopes(ours, x):
        def loss(kernel, scale, bias, x, away):
            if ours:
                out = layers.normed(layers.same_conv(x, kernel), scale, bias, True)
            else:
                given = {"params": {"InstanceNorm_0": {"scale": scale, "bias": bias}}}
                out = Norm(functools.partial(norm_of_flax, rectified=True)).apply(
                    given, layers.xla_conv(x, kernel)
                )
            return jnp.sum(away * jnp.sin(out))

        first = jax.vmap(jax.grad(loss, (0, 1, 2)), (None, None, None, 0, 0))
        return sum(jnp.sum(jnp.cos(y)) for y in first(kernel, *values, x, away))

    found, expected = (jax.jit(jax.grad(functools.partial(slopes, o)))(x) for o in (True, False))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


# Gradients and transformations


def test_gradient_agrees_with_central_differences():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        network = tiny(dtype="float64")
        params = jax.tree.map(lambda p: p.astype("float64"), network.init(jax.random.key(0)))
        images = images_of((9, 8, 2)).astype("float64")

        @jax.jit
        def loss(params, images):
            logits, features = network.apply(params, images)
            return jnp.sum(jnp.sin(logits)) + jnp.sum(features**2)

        gradients = jax.grad(loss, (0, 1))(params, images)
        leaves, treedef = jax.tree.flatten((params, images))
        for position, gradient in enumerate(jax.tree.leaves(gradients)):
            for index in (0, gradient.size // 2, gradient.size - 1):
                step = np.zeros(gradient.size)
                step[index] = 1e-6
                ends = []
                for sign in (1, -1):
                    moved = list(leaves)
                    moved[position] = leaves[position] + sign * step.reshape(gradient.shape)
                    ends.append(loss(*jax.tree.unflatten(treedef, moved)))
                np.testing.assert_allclose(
                    gradient.ravel()[index], (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-7
                )


def test_max_pooling_sends_the_gradient_to_the_maximum():
    x = jax.random.permutation(jax.random.key(0), jnp.arange(32.0)).reshape(1, 4, 4, 2)
    gradient = jax.grad(lambda x: layers.pool(x, jnp.max).sum())(x)
    assert gradient.sum() == 8
    np.testing.assert_array_equal(
        np.sort(x[gradient == 1]), np.sort(reference_pool(np.asarray(x), np.max).ravel())
    )


def test_jit_equals_eager():
    network = tiny()
    params, images = network.init(jax.random.key(0)), images_of((9, 8, 2))
    for jitted, eager in zip(
        jax.jit(network.apply)(params, images), network.apply(params, images), strict=True
    ):
        np.testing.assert_allclose(jitted, eager, atol=1e-5)


def test_vmap_over_stacked_parameters_equals_a_loop():
    network, images = tiny(), images_of((9, 8, 2))
    keys = jax.random.split(jax.random.key(0), 3)
    stacked = jax.vmap(network.init)(keys)
    logits, features = jax.jit(jax.vmap(network.apply, (0, None)))(stacked, images)
    apply = jax.jit(network.apply)
    for i, key in enumerate(keys):
        one_logits, one_features = apply(network.init(key), images)
        np.testing.assert_allclose(logits[i], one_logits, atol=1e-5)
        np.testing.assert_allclose(features[i], one_features, atol=1e-5)


@pytest.mark.parametrize("name", ["convnet", "resnet18"])
def test_an_image_does_not_depend_on_the_others(name):
    network = make(name, image_shape=SMALLEST[name])
    params, images = network.init(jax.random.key(0)), images_of(SMALLEST[name], n=3)
    apply = jax.jit(network.apply)
    whole = apply(params, images)[0]
    np.testing.assert_allclose(apply(params, images[1:2])[0], whole[1:2], atol=1e-5)
    np.testing.assert_allclose(apply(params, images.at[0].set(9.0))[0][1:], whole[1:], atol=1e-5)


def test_bfloat16_computes_near_float32_and_returns_float32():
    full, half = tiny(), tiny(dtype=jnp.bfloat16)
    params, images = full.init(jax.random.key(0)), images_of((9, 8, 2))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(half.init(jax.random.key(0))))
    with jax.numpy_dtype_promotion("standard"):  # Flax's normalisation mixes the two types
        outputs = jax.jit(half.apply)(params, images)
        program = str(jax.make_jaxpr(half.apply)(params, images))
    assert "bf16[2,9,8,4] = conv" in program
    for exact, rounded in zip(jax.jit(full.apply)(params, images), outputs, strict=True):
        assert rounded.dtype == jnp.float32
        assert 1e-5 < np.abs(exact - rounded).max() < 0.05


# Creation


def test_equal_arguments_give_one_network_and_one_compilation():
    assert make() is make(image_shape=[32, 32, 3], depth=3, width=128, dtype="float32")
    assert make() is not make(width=64)
    traces = []
    jitted = jax.jit(lambda network, x: traces.append(network) or x, static_argnums=0)
    for _ in range(2):
        jitted(make(), 1.0)
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "lenet"}, "unknown network 'lenet'.*convnet, resnet18, vgg11, alexnet"),
        ({"width_factor": 2}, "convnet has no option 'width_factor'; its options: depth, width"),
        ({"name": "vgg11", "depth": 3}, "vgg11 has no option 'depth'; its options: width"),
        ({"width": 0}, "width must be an integer of at least 1, got 0"),
        ({"depth": 2.0}, "depth must be an integer of at least 1, got 2.0"),
        ({"num_classes": -1}, "num_classes must be an integer of at least 1, got -1"),
        ({"dtype": "int32"}, "dtype must be floating, such as bfloat16, got 'int32'"),
        ({"image_shape": (32, 32)}, r"image_shape must be \(height, width, channels\)"),
        ({"image_shape": (32, 32, 0)}, r"image_shape must be \(height, width, channels\)"),
        ({"depth": 4, "image_shape": (16, 8, 3)}, "depth 4 needs images of .*16x16, got 16x8"),
        ({"name": "resnet18", "image_shape": (8, 8, 3)}, "resnet18 needs .*9x9, got 8x8"),
        ({"name": "vgg11", "image_shape": (28, 28, 1)}, "vgg11 needs .*32x32, got 28x28"),
        ({"name": "alexnet", "image_shape": (7, 7, 1)}, "alexnet needs .*8x8, got 7x7"),
    ],
)
def test_create_rejects(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


@pytest.mark.parametrize("shape", [(2, 16, 16, 3), (32, 32, 3)])
def test_apply_rejects_images_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"images \[n, 32, 32, 3\], got .*image_shape"):
        make().apply({}, jnp.zeros(shape))


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("channels", [(1, 4), (4, 32), (5, 4), (3, 33)])
def test_the_convolution_is_that_of_jax_in_value_and_gradients(size, channels):
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (2, 6, 7, channels[0]))
    k = jax.random.normal(keys[1], (size, size, *channels))

    def plain(x, k):
        sums = jax.lax.conv_general_dilated(
            x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jnp.sum(jnp.sin(sums))

    def ours(x, k):
        return jnp.sum(jnp.sin(layers.same_conv(x, k)))

    value, gradients = jax.jit(jax.value_and_grad(ours, (0, 1)))(x, k)
    expected, expected_gradients = jax.jit(jax.value_and_grad(plain, (0, 1)))(x, k)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for found, other in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(found, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("limit", [1, 4, 5, 100])
def test_tiles_change_neither_outputs_nor_the_gradient_to_the_images(limit):
    net = networks.create("convnet", num_classes=3, image_shape=(8, 8, 3), depth=2, width=4)
    params = net.init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (10, 8, 8, 3))

    def loss(apply, images):
        logits, features = apply(params, images)
        return jnp.sum(jnp.sin(logits)) + jnp.sum(features**2), (logits, features)

    def tiled(params, images):
        return net.apply_in_tiles(params, images, limit=limit, gradient=True)

    results = [
        jax.jit(jax.value_and_grad(functools.partial(loss, apply), has_aux=True))(images)
        for apply in (net.apply, tiled)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5), *results)


@pytest.mark.parametrize(
    ("name", "largest"), [("convnet", 32 * 32 * 128), ("resnet18", 32 * 32 * 64)]
)
def test_the_largest_map_is_an_activation_not_a_kernel(name, largest):
    assert networks.create(name, num_classes=10, image_shape=(32, 32, 3)).largest_map == largest


def test_an_image_that_is_not_finite_shows_in_the_features_behind_every_relu():
    net = networks.create("convnet", num_classes=3, image_shape=(8, 8, 3), depth=2, width=8)
    params = net.init(jax.random.key(0))
    images = jnp.ones((5, 8, 8, 3)).at[3, 2, 2, 1].set(jnp.nan)
    for limit in (1, 2, 100):

        @jax.jit
        def features(images, limit=limit):
            return net.apply_in_tiles(params, images, limit=limit, gradient=False)[1]

        bad = ~np.isfinite(np.asarray(features(images))).all(axis=1)
        np.testing.assert_array_equal(bad, [False, False, False, True, False])


def test_batch_norm_uses_running_statistics_and_moves_them_where_it_may_write():
    network = make("convnet_batch_norm", 3, (4, 4, 2), depth=1, width=3)
    params = network.init(jax.random.key(0))
    given = {"mean": [0.1, 0.2, -0.3], "variance": [0.5, 1.0, 2.0]}
    given |= {"scale": [1.5, 1.0, -1.0], "bias": [0.2, 0.0, 0.1]}
    own = {name: np.array(value) for name, value in given.items()}
    params["BatchNorm_0"] = {name: jnp.float32(value) for name, value in own.items()}
    images = images_of((4, 4, 2))
    logits, features, ((before, x),) = network.apply_with_convolutions(params, images)
    np.testing.assert_array_equal(before, images)
    x = np.float64(x)

    def pooled(mean, variance):
        y = own["scale"] * (x - mean) / np.sqrt(variance + 1e-5) + own["bias"]
        return np.maximum(y, 0).reshape(2, 2, 2, 2, 2, 3).mean((2, 4)).reshape(2, -1)

    chex.assert_trees_all_equal((logits, features), network.apply(params, images))
    np.testing.assert_allclose(features, pooled(own["mean"], own["variance"]), atol=1e-5)
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    (_, features), seen = network.apply_in_training(params, images)
    np.testing.assert_allclose(features, pooled(mean, variance), atol=1e-5)
    moved = seen["BatchNorm_0"]
    np.testing.assert_allclose(moved["mean"], 0.9 * own["mean"] + 0.1 * mean, atol=1e-6)
    np.testing.assert_allclose(moved["variance"], 0.9 * own["variance"] + 0.1 * variance, atol=1e-6)
    kept = network.with_seen(jax.tree.map(jnp.zeros_like, params), seen)
    assert kept["BatchNorm_0"]["scale"][0] == 0 and not kept["Conv_0"]["kernel"].any()
    np.testing.assert_array_equal(kept["BatchNorm_0"]["mean"], moved["mean"])
    other = layers.with_running(params, [(mean, variance)])
    np.testing.assert_allclose(network.apply(other, images)[1], features, atol=1e-5)


def test_a_network_without_statistics_trains_as_it_applies():
    network, images = make(image_shape=(8, 8, 1)), images_of((8, 8, 1))
    params = network.init(jax.random.key(0))
    outputs, seen = network.apply_in_training(params, images)
    chex.assert_trees_all_equal(outputs, network.apply(params, images))
    assert seen is None and network.with_seen(params, seen) is params
