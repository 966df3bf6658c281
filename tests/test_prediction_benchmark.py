"""The benchmark that asks whether metrics predict: its parts against SciPy and the package."""

import importlib
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import csdm_jax as cj
from csdm_jax.metric.ragged import Ragged

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
prediction = importlib.import_module("prediction")
distances = importlib.import_module("_distances")
ranks = importlib.import_module("_ranks")
subsets = importlib.import_module("_subsets")


def test_correlations_and_intervals_are_scipys():
    rng = np.random.default_rng(0)
    values, target = rng.integers(0, 9, (2, 40)).astype(float), rng.normal(size=40)  # with ties
    values[1] += 3 * target
    both = np.stack([target, -target])
    point = ranks.spearman(values, both, np.arange(40)[None])[..., 0]
    np.testing.assert_allclose(point[1], -point[0])
    point = point[0]
    np.testing.assert_allclose(point, [stats.spearmanr(v, target).statistic for v in values])
    drawn = ranks.spearman(values, both, ranks.resamples(40, 2000))[0]
    expected = stats.bootstrap(
        (values[1], target),
        lambda v, t: stats.spearmanr(v, t).statistic,
        paired=True,
        vectorized=False,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    found = ranks.intervals(point, drawn)[1]
    np.testing.assert_allclose(found, (point[1], *expected), atol=0.02)


def test_a_constant_side_has_no_correlation():
    rows = np.arange(5)[None]
    assert ranks.spearman(np.ones((1, 5)), np.arange(5.0)[None], rows).item() == 0


@pytest.mark.parametrize("sizes", [(7, 3), (3, 7), (6, 4), (5, 5), (4, 1)])
def test_wasserstein_is_scipys_in_one_dimension(sizes):
    rng = np.random.default_rng(sizes)
    x, y = (np.sort(rng.normal(size=(size, 3)), axis=0).astype(np.float32) for size in sizes)
    expected = np.mean([stats.wasserstein_distance(x[:, k], y[:, k]) for k in range(3)])
    np.testing.assert_allclose(distances.wasserstein(x, y, 1), expected, rtol=1e-6)
    if sizes[0] == sizes[1]:
        np.testing.assert_allclose(distances.wasserstein(x, y, 2), np.mean((x - y) ** 2), rtol=1e-6)


@pytest.fixture(scope="module")
def compared():
    """Everything at two scales, for one set of two classes."""
    keys = jax.random.split(jax.random.key(0))
    real = cj.unit_features(jax.random.uniform(keys[0], (20, 6)))
    synthetic = cj.unit_features(jax.random.uniform(keys[1], (1, 2, 2, 6)))
    counts = jnp.array([120, 10])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distances, "SCALES", ("3", "median"))
        reference = distances.refer(jax.random.key(1), Ragged(real, (12, 8)), num=16)
        found = distances.distances(reference, synthetic, counts)
    return reference, synthetic[0], counts, {name: float(v[0]) for name, v in found.items()}


def test_exact_distances_are_those_of_the_package(compared):
    reference, synthetic, counts, found = compared
    classes = [x for x, _ in reference.rows.by_class()]
    median = float(cj.median_heuristic(reference.rows.values))
    for name, kernel in {
        ("linear", ""): cj.Linear(),
        ("polynomial", ""): cj.Polynomial(degree=2, gamma=1.0, coef0=1.0),
        ("energy", ""): cj.Energy(),
        ("RBF", "3"): cj.RBF(3.0),
        ("RBF", "median"): cj.RBF(median),
    }.items():
        expected = [cj.mmd2(x, y, kernel) for x, y in zip(classes, synthetic, strict=True)]
        np.testing.assert_allclose(found[name], sum(expected), rtol=1e-4, err_msg=str(name))
        if (root := (f"{name[0]}, root", name[1])) in found:
            roots = [value**0.5 for value in expected]
            np.testing.assert_allclose(found[root], sum(roots), rtol=1e-4, err_msg=str(root))
    alphas = np.array(cj.class_alphas(counts, head=0.7, tail=0.3))
    means = [np.sum((x.mean(0) - y.mean(0)) ** 2) for x, y in zip(classes, synthetic, strict=True)]
    weighted = found["linear, weights of 0.7 to 0.3", ""]
    np.testing.assert_allclose(weighted, 2 * (1 - alphas) @ np.array(means), rtol=1e-4)


def test_m3d_is_the_mean_over_five_bandwidths(compared):
    reference, synthetic, _, found = compared

    def kernel(x, y, width):
        pairs = np.sum((x[:, None].astype(float) - y[None].astype(float)) ** 2, axis=-1)
        return np.mean([np.exp(-pairs / (width * 2.0**k)).mean() for k in range(-2, 3)])

    total = 0.0
    for (real, _), y in zip(reference.rows.by_class(), np.array(synthetic), strict=True):
        x = np.array(real)
        width = np.mean(np.sum((x[:, None] - x[None]) ** 2, axis=-1))
        total += kernel(x, x, width) + kernel(y, y, width) - 2 * kernel(x, y, width)
    np.testing.assert_allclose(found["M3D", ""], total, rtol=1e-4)


def test_spectral_distances_are_those_of_the_package(compared):
    reference, synthetic, counts, found = compared
    sides = reference.rows, Ragged(synthetic.reshape(4, -1), (2, 2))
    t = 3.0 * reference.frequencies["orthogonal"]
    given = {"exact": "RBF", "spectral": "SDD"}
    for schedule, (head, tail) in distances.SCHEDULES.items():
        alpha = cj.class_alphas(counts, head=head, tail=tail)
        for estimator, metric in given.items():
            options = {"estimator": estimator, "kernel": cj.RBF(3.0), "alpha": alpha}
            expected = cj.sdd_loss(*sides, t, **options)
            np.testing.assert_allclose(found[f"{metric}, {schedule}", "3"], expected, rtol=1e-3)
    np.testing.assert_allclose(found["SDD", "3"], cj.sdd_loss(*sides, t), rtol=1e-4)
    np.testing.assert_allclose(found["CFD", "3"], cj.cfd_loss(*sides, t), rtol=1e-4)
    iid = cj.sdd_loss(*sides, 3.0 * reference.frequencies["iid"])
    np.testing.assert_allclose(found["SDD, iid", "3"], iid, rtol=1e-4)
    both = found["amplitude", "3"] + found["phase", "3"]
    np.testing.assert_allclose(both / 2, found["SDD", "3"], rtol=1e-4)


def pools(classes=4, size=12):
    """Images whose first pixel says their class, and whose second is their number."""
    images = np.random.default_rng(0).integers(0, 256, (classes, size, 8, 8, 1)).astype(np.uint8)
    images[:, :, 0, 0, 0] = np.arange(classes)[:, None]
    images[:, :, 0, 1, 0] = np.arange(size)
    return images


def test_clean_subsets_are_images_of_their_class_and_spoilt_ones_are_named():
    images = pools()
    features = images.reshape(4, 12, -1) / 255.0
    drawn = subsets.draw(images, features, 3, 60)
    again = subsets.draw(images, features, 3, 60)
    assert all(np.array_equal(a.images, b.images) for a, b in zip(drawn, again, strict=True))
    kinds = [subset.kind for subset in drawn]
    assert {*kinds} == {*subsets.CLEAN, *subsets.SPOILT} and kinds.count("random") == 24
    for subset in drawn:
        assert subset.images.shape == (4, 3, 8, 8, 1) and subset.images.dtype == np.uint8
        untouched = [c for c in range(4) if c not in subset.classes]
        for c in untouched:
            assert (subset.images[c, :, 0, 0, 0] == c).all()
            assert len({*subset.images[c, :, 0, 1, 0].tolist()}) == 3
        assert (subset.kind in subsets.CLEAN) == (not subset.classes)


@pytest.mark.parametrize("kind", [*subsets.SPOILT])
def test_full_strength_spoils(kind):
    images, rng = pools().astype(float), np.random.default_rng(0)
    found = np.asarray(subsets.SPOILT[kind](images, 1, 3, 1.0, rng), float)
    centre = images[1].mean(axis=0)
    away = np.linalg.norm((images[1] - centre).reshape(12, -1), axis=1)
    numbers = found[:, 0, 1, 0]
    assert {
        "noise": lambda: found.std() > 1.5 * images[1].std(),
        "blur": lambda: found.std() < 0.7 * images[1].std(),
        "dark": lambda: found.max() < 0.06 * 255,
        "repeated": lambda: len({*numbers.tolist()}) == 1,
        "narrow": lambda: _spread(found) <= min(_spread(images[1][[0, 1, k]]) for k in (2, 3, 4)),
        "outlying": lambda: set(numbers.astype(int)) == set(np.argsort(away)[-3:]),
        "mislabelled": lambda: (found[:, 0, 0, 0] != 1).all(),
    }[kind]()


def _spread(images):
    return np.linalg.norm(images - images[0])


def test_herding_follows_the_mean():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 3))
    errors = [
        np.linalg.norm(rows[chosen].mean(0) - rows.mean(0))
        for chosen in (subsets.herded(rows, 5, rng), rng.choice(40, 5, replace=False))
    ]
    assert errors[0] < 0.5 * errors[1]


def test_it_writes_a_row_for_every_distance_and_kind_of_extractor(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(distances, "SCALES", ("median",))
    few = {("linear", ""): cj.Linear(), ("RBF", "median"): cj.RBF(5.0)}  # they compile ten times
    monkeypatch.setattr(distances, "kernels", lambda median, spread: few)
    out = tmp_path / "prediction.json"
    small = ["--subsets=12", "--networks=2", "--epochs=1", "--extractors=1", "--frequencies=8"]
    small += ["--extractor_epochs=1", "--cap=12", "--resamples=20", f"--out={out}"]
    prediction.main([*small, f"--pool_dir={tmp_path}"])
    written = json.loads(out.read_text())
    assert len(written["subsets"]) == 12 and len(written["subsets"][0]["few"]) == 2
    keys = {(row["extractor"], row["metric"], row["scale"]) for row in written["rows"]}
    assert len(keys) == 5 * (5 + 13) and len(written["rows"]) == 2 * len(keys)
    for row in written["rows"]:
        assert set(row["spearman"]) == {"all", "many", "medium", "few"}
        assert all(low <= high for _, low, high in row["spearman"].values())
    assert capsys.readouterr().out.count("| SDD | median |") == 2


def test_accuracies_are_taken_from_an_earlier_output_of_the_same_subsets(tmp_path):
    kept = tmp_path / "kept.json"
    kept.write_text(json.dumps({"subsets": [{"kind": "random"}, {"kind": "blur"}]}))
    images = np.zeros((4, 3, 8, 8, 1), np.uint8)
    drawn = [subsets.Subset(kind, 0.0, (), images) for kind in ("random", "blur", "noise")]
    assert prediction.earlier(kept, drawn)[1] == {"kind": "blur"}
    with pytest.raises(SystemExit, match="has other subsets"):
        prediction.earlier(kept, drawn[::-1])
