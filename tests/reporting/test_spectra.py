import jax
import numpy as np
import pytest

from csdm_jax import RBF
from csdm_jax.reporting import spectra
from csdm_jax.sets import distilled
from csdm_jax.sets.distilled import DistilledSet
from csdm_jax.storage import files


def measured(tiny, images, labels):
    return spectra.measure(
        DistilledSet(images, labels, "pixels", 1, 3),
        tiny.host,
        tiny.dataset.class_names,
        network=tiny.network,
        params=tiny.network.init(jax.random.key(0)),
        normaliser=tiny.normaliser,
        kernel=RBF(1.0),
    )


def complex_values(side):
    return np.array(side["re"]) + 1j * np.array(side["im"])


def real_set(tiny):
    """The whole training set as if it had been distilled."""
    images = tiny.host.take(np.arange(len(tiny.host))).astype(np.float32) / 255
    return images, tiny.host.labels


def test_a_set_of_all_real_images_has_the_real_characteristic_functions(tiny):
    found = measured(tiny, *real_set(tiny))
    assert [one["name"] for one in found["classes"]] == ["red", "blue"]  # head and tail
    for one in found["classes"]:
        assert one["real"] == one["synthetic"] == one["count"]
        assert len(one["rays"]) == spectra.DIRECTIONS
        for ray in one["rays"]:
            real, synthetic = complex_values(ray["real"]), complex_values(ray["synthetic"])
            np.testing.assert_allclose(real, synthetic, atol=1e-5)
            assert abs(real[0] - 1) < 1e-5 and np.all(abs(real) <= 1 + 1e-6)
            assert abs(real[-1] - 1) > 1e-3


def test_other_images_have_other_characteristic_functions(tiny):
    images, labels = real_set(tiny)
    found = measured(tiny, 1 - images, labels)
    ray = found["classes"][0]["rays"][0]
    assert np.ptp(abs(complex_values(ray["real"]) - complex_values(ray["synthetic"]))) > 1e-3


def test_radii_reach_twice_the_median_frequency(tiny):
    found = measured(tiny, *real_set(tiny))
    dim = tiny.network.feature_dim
    assert abs(found["median_radius"] - np.sqrt(dim)) < 0.1 * np.sqrt(dim)  # N(0, I) draws
    assert found["radii"][0] == 0 and len(found["radii"]) == spectra.RADII
    assert found["radii"][-1] == pytest.approx(2 * found["median_radius"], rel=1e-4)


def test_a_class_without_images_of_its_own_is_left_out(tiny):
    images, labels = real_set(tiny)
    soft = np.eye(3, dtype=np.float32)[np.where(labels == 2, 1, labels)]
    assert [one["name"] for one in measured(tiny, images, soft)["classes"]] == ["red"]


def test_what_is_kept_is_of_the_set_that_the_card_describes(tmp_path):
    card = {distilled.DIGEST: "one"}
    assert spectra.read(tmp_path, card) is None
    kept = spectra.write(tmp_path, card, {"radii": [0.0]})
    assert spectra.read(tmp_path, card) == kept
    assert spectra.read(tmp_path, {distilled.DIGEST: "other"}) is None


def test_a_damaged_file_is_set_aside(tmp_path):
    card = {distilled.DIGEST: "one"}
    spectra.write(tmp_path, card, {"radii": [0.0]})
    path = tmp_path / spectra.FILE
    path.write_text(path.read_text().replace("0.0", "1.0"))
    with pytest.raises(files.DamagedError):
        files.read_sealed_json(path)
    assert spectra.read(tmp_path, card) is None
    assert [p.name for p in tmp_path.iterdir()] == ["spectrum.json.damaged-0"]
