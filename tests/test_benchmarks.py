"""The PyTorch reference of the benchmarks computes what we compute."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import csdm_jax as cj
from csdm_jax import networks, parameterisations

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install -e .[bench]")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
reference = pytest.importorskip("torch_reference")


def draw(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.9])
def test_loss_and_gradient_agree(alpha):
    real, synthetic, t = draw(40, 16), draw(12, 16) + 0.1, draw(64, 16)
    value, gradient = jax.value_and_grad(cj.sdd_loss, 1)(real, synthetic, jnp.array(t), alpha=alpha)
    leaf = torch.tensor(synthetic, requires_grad=True)
    loss = reference.sdd_loss(torch.tensor(real), leaf, torch.tensor(t), alpha)
    loss.backward()
    np.testing.assert_allclose(value, loss.item(), rtol=1e-5)
    np.testing.assert_allclose(gradient, leaf.grad.numpy(), rtol=1e-4, atol=1e-7)


def test_networks_agree():
    ours = networks.create("convnet", num_classes=10, image_shape=(32, 32, 3), width=8)
    params = ours.init(jax.random.key(0))
    theirs = reference.ConvNet(8)
    with torch.no_grad():
        for i in range(3):
            conv, norm = theirs.blocks[4 * i], theirs.blocks[4 * i + 1]
            kernel = np.asarray(params[f"Conv_{i}"]["kernel"]).transpose(3, 2, 0, 1).copy()
            conv.weight.copy_(torch.tensor(kernel))
            conv.bias.copy_(torch.tensor(np.array(params[f"Conv_{i}"]["bias"])))
            assert norm.eps == 1e-5
    images = draw(4, 32, 32, 3)
    features = np.asarray(ours.apply(params, images)[1]).reshape(4, 4, 4, 8)
    found = theirs.features(torch.tensor(images.transpose(0, 3, 1, 2).copy()))
    found = found.detach().numpy().reshape(4, 8, 4, 4).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found, features, rtol=1e-3, atol=1e-4)


def test_decoding_agrees():
    stored = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    ours = parameterisations.create("mosaic", 2).decode({"images": jnp.asarray(stored)})
    theirs = reference.decode(torch.tensor(stored.transpose(0, 3, 1, 2).copy()))
    np.testing.assert_allclose(theirs.numpy().transpose(0, 2, 3, 1), ours, atol=1e-5)


def test_parts_of_a_training_step_agree():
    import parts

    ours, theirs = parts.our_parts(4, 6), parts.their_parts(4, 6)
    assert list(ours) == list(theirs) and len(ours) == 15
    for name in [*ours][:-1]:  # the last one is the network of the test above, with other weights
        mine, other = (jax.tree.leaves(side[name]()) for side in (ours, theirs))
        other = [one.detach() for one in other]
        assert len(mine) == len(other), name
        layout = (2, 3, 1, 0) if "kernel" in name else (0, 2, 3, 1)
        for a, b in zip(mine, other, strict=True):
            b = b.permute(layout) if b.ndim == 4 else b
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3, err_msg=name)
    whole = [jax.tree.leaves(side[parts.WHOLE]()) for side in (ours, theirs)]
    assert len(whole[0]) == len(whole[1]) == 15  # the loss, and of 3 blocks 4 arrays, of the end 2
    row, *others = parts.measure(4, 6, 1)
    assert len(others) == 14 and row["ours"]["median"] > 0 and row["torch"]["median"] > 0


def test_a_step_moves_the_images_and_stays_in_range():
    images = torch.randint(0, 256, (30, 3, 32, 32), dtype=torch.uint8)
    step = reference.Step(images, (20, 10), ipc=1, width=4, batch=8, frequencies=16)
    before = step.images.detach().clone()
    assert np.isfinite(step())
    moved = step.images.detach() != before
    assert moved.float().mean() > 0.5
    assert step.images.min() >= 0 and step.images.max() <= 1
