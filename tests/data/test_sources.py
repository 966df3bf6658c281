"""Digits, folders, archives, the cache and the checks on what they hold."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from csdm_jax import data
from csdm_jax.data import cache
from csdm_jax.data.dataset import check_dataset, pixel_statistics
from csdm_jax.data.images import Encoded, decode, decode_all
from csdm_jax.storage import npz


def _png(array, kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


def _tree(channels=3):
    """Path to (image, label): two classes, three training and two test images each."""
    rng = np.random.default_rng(0)
    shape = (6, 8, 3) if channels == 3 else (6, 8)
    return {
        f"{split}/{name}/{i}.png": rng.integers(0, 256, shape, np.uint8)
        for split, n in (("test", 2), ("train", 3))
        for name in ("cat", "dog")
        for i in range(n)
    }


def _folder(root, tree):
    for path, array in tree.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(_png(array))
    return root


def _load(path, cache_dir, name="folder"):
    return data.load(name, data_dir=path, cache_dir=cache_dir)


@pytest.fixture
def cache_dir(tmp_path):
    return tmp_path / "cache"


# ---- registry and digits


def test_unknown_name_lists_the_names_and_the_nearest():
    with pytest.raises(ValueError, match=r"unknown data set 'cifer10'.*'digits'.*mean 'cifar10'"):
        data.load("cifer10")


def test_digits_are_split_without_loss_into_a_balanced_test_set():
    digits = data.load("digits")
    assert np.bincount(digits.test_labels).tolist() == [50] * 10
    assert digits.train_images.shape == (1297, 8, 8, 1) and digits.train_images.dtype == np.uint8
    both = np.concatenate([digits.train_images, digits.test_images])[..., 0]
    scans = np.round(load_digits().images * 255 / 16)
    assert sorted(map(bytes, both)) == sorted(map(bytes, scans.astype(np.uint8)))
    assert np.isclose(digits.mean[0], digits.train_images.mean() / 255)
    assert digits.num_classes == 10 and digits.image_shape == (8, 8, 1)
    assert np.array_equal(digits.test_images, data.load("digits").test_images)


def test_pixel_statistics_equal_numpy_in_float64():
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 3, 3), np.uint8)
    mean, std = pixel_statistics(images)
    assert np.allclose(mean, (images / 255).mean((0, 1, 2)), rtol=1e-12)
    assert np.allclose(std, (images / 255).std((0, 1, 2)), rtol=1e-12)


# ---- folder and zip


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_labels_and_order_are_those_of_the_files(tmp_path, cache_dir, packed, channels):
    tree = _tree(channels)
    path = _folder(tmp_path / "pets", tree)
    (path / "notes.txt").write_text("not an image")
    if packed:
        path = tmp_path / "pets.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for member, array in reversed(tree.items()):
                archive.writestr(member, _png(array))
    loaded = _load(path, cache_dir)
    assert (loaded.name, loaded.class_names) == ("pets", ("cat", "dog"))
    for split, labels in (("train", [0, 0, 0, 1, 1, 1]), ("test", [0, 0, 1, 1])):
        expected = np.stack([a for p, a in tree.items() if p.startswith(split)])
        actual = getattr(loaded, f"{split}_images")
        assert np.array_equal(actual, expected.reshape(actual.shape))
        assert getattr(loaded, f"{split}_labels").tolist() == labels
    assert loaded.image_shape == (6, 8, channels)
    assert np.isclose(loaded.mean[0], loaded.train_images[..., 0].mean() / 255)


def test_grey_image_among_coloured_ones_becomes_rgb(tmp_path, cache_dir):
    tree = _tree()
    tree["train/cat/0.png"] = tree["train/cat/0.png"][..., 0]
    loaded = _load(_folder(tmp_path / "pets", tree), cache_dir)
    assert np.array_equal(loaded.train_images[0], tree["train/cat/0.png"][..., None].repeat(3, -1))


def test_changed_image_is_not_served_from_the_cache(tmp_path, cache_dir):
    root = _folder(tmp_path / "pets", _tree())
    before = np.array(_load(root, cache_dir).train_images)
    (root / "train/cat/0.png").write_bytes(_png(np.zeros((6, 8, 3), np.uint8)))
    after = _load(root, cache_dir).train_images
    assert not after[0].any() and before[0].any()


@pytest.mark.parametrize("path", [None, "nowhere"])
def test_missing_folder_is_refused(tmp_path, path):
    said = "nowhere does not exist" if path else "; none is given"
    with pytest.raises(ValueError, match=rf"needs data_dir.*{said}: give the path"):
        _load(path and tmp_path / path, tmp_path)


def test_folder_without_class_folders_is_refused(tmp_path, cache_dir):
    root = _folder(tmp_path / "pets", {"cat/0.png": np.zeros((2, 2), np.uint8)})
    with pytest.raises(ValueError, match=r"has no test images: .*data.holdout=0.2"):
        _load(root, cache_dir)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "train/bird").mkdir(), r"in train/ of class\(es\) \['bird'\]"),
        (lambda root: _folder(root, {"test/emu/0.png": np.zeros((6, 8), np.uint8)}), r"\['emu'\]"),
    ],
    ids=["empty class", "class in test only"],
)
def test_class_without_images_is_refused(tmp_path, cache_dir, change, message):
    root = _folder(tmp_path / "pets", _tree())
    change(root)
    with pytest.raises(ValueError, match=message):
        _load(root, cache_dir)


def test_mixed_sizes_are_refused_with_both_named(tmp_path, cache_dir):
    root = _folder(tmp_path / "pets", _tree() | {"train/dog/2.png": np.zeros((6, 9), np.uint8)})
    with pytest.raises(ValueError, match=r"test/cat/0.png is 8x6, .*train/dog/2.png is 9x6"):
        _load(root, cache_dir)


def test_unreadable_and_truncated_images_are_named(tmp_path, cache_dir):
    root = _folder(tmp_path / "pets", _tree())
    jpeg = _png(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8), "JPEG")
    for content in (b"no image", b"", jpeg[: len(jpeg) - 20]):
        (root / "train/cat/1.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"cannot decode .*train/cat/1.png: .*remove it"):
            _load(root, cache_dir)


def test_image_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ValueError, match=r"cannot decode bomb.png: .*decompression bomb"):
        decode(Encoded("bomb.png", _png(np.zeros((6, 8), np.uint8)), 0), None)


def test_no_image_at_all_is_refused():
    with pytest.raises(ValueError, match=r"no image to decode"):
        decode_all([])


def test_resolution_keeps_the_aspect_and_crops_the_centre():
    ramp = np.tile(np.arange(0, 200, 2, dtype=np.uint8), (40, 1))  # 100 x 40, grey = 2 column
    image = decode(Encoded("ramp", _png(ramp), 0), 20)[..., 0]
    assert image.shape == (20, 20)
    # Half size, columns 15..34 of 50: source columns 2 j + 30.5, grey 4 j + 61.
    assert np.allclose(image, 4 * np.arange(20) + 61, atol=2)


def test_resolution_averages_instead_of_picking_pixels():
    columns = np.tile(np.array([0, 200], np.uint8), (40, 20))  # 40 x 40, stripes of one pixel
    image = decode(Encoded("stripes", _png(columns), 0), 10)[1:-1, 1:-1]
    assert np.allclose(image, 100, atol=8)


@pytest.mark.parametrize("name", ["/etc/x.png", "../x.png", "train/../../x.png", "..\\x", "C:\\x"])
def test_zip_with_unsafe_paths_is_refused(tmp_path, cache_dir, name):
    path = tmp_path / "pets.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(ValueError, match=r"paths must be relative and without"):
        _load(path, cache_dir)


def test_zip_bomb_is_refused_before_it_is_unpacked(tmp_path, cache_dir, monkeypatch):
    monkeypatch.setattr(npz, "SMALL", 0)
    monkeypatch.setattr(npz, "SHARE", 0)
    path = tmp_path / "pets.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/cat/0.png", bytes(10**6))
    with pytest.raises(ValueError, match=r"would unpack.*more than 100 times.*unpacked folder"):
        _load(path, cache_dir)


def test_damaged_zip_is_refused(tmp_path, cache_dir):
    path = tmp_path / "pets.zip"
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"cannot read .*pets.zip: .*undamaged"):
        _load(path, cache_dir)
    with zipfile.ZipFile(path, "w") as archive:
        for member, array in _tree().items():
            archive.writestr(member, _png(array))
    content = bytearray(path.read_bytes())
    content[60] ^= 1  # in the first image
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read .*CRC.*undamaged"):
        _load(path, cache_dir)


# ---- npz


def _arrays(**changes):
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(0, 256, (6, 4, 4, 3), np.uint8),
        "y_train": np.array([0, 1, 2] * 2),
        "x_test": rng.integers(0, 256, (3, 4, 4, 3), np.uint8),
        "y_test": np.arange(3),
    }
    return arrays | changes


def _npz(path, arrays):
    np.savez(path, **arrays)
    return path


def test_npz_is_read_exactly(tmp_path):
    arrays = _arrays(y_train=np.array([[0], [1], [2]] * 2))
    loaded = _load(_npz(tmp_path / "tiny.npz", arrays), tmp_path, "npz")
    assert np.array_equal(loaded.train_images, arrays["x_train"])
    assert loaded.train_labels.tolist() == [0, 1, 2] * 2
    assert loaded.train_labels.dtype == np.int32 and loaded.name == "tiny"


def test_npz_of_grey_images_gains_a_channel(tmp_path):
    grey = {k: v[..., 0] for k, v in _arrays().items() if k.startswith("x")}
    loaded = _load(_npz(tmp_path / "tiny.npz", _arrays(**grey)), tmp_path, "npz")
    assert loaded.image_shape == (4, 4, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": np.full((6, 4, 4, 3), 1.5)}, r"must lie in \[0, 1\], got 1.5.*divide pixels"),
        ({"x_train": np.full((6, 4, 4, 3), np.nan)}, r"must lie in \[0, 1\], got nan..nan"),
        (
            {"x_train": np.full((6, 4, 4, 3), 256, np.int64)},
            r"int64 must lie in 0..255, got 256..256",
        ),
        ({"x_train": np.zeros((6, 4, 4, 3), complex)}, "must be numbers, got complex128"),
        ({"x_test": np.zeros((3, 5, 4, 3), np.uint8)}, "training images are .*bring all of them"),
        ({"x_train": np.zeros((6, 2, 4, 4), np.uint8)}, r"ch 1 or 3, got shape \(6, 2, 4, 4\)"),
        ({"x_train": np.zeros((6, 16), np.uint8)}, r"shape \(6, 16\): give every image its height"),
        ({"y_train": np.arange(5)}, r"labels must be int32 of shape \(6,\)"),
        ({"y_train": np.eye(6, dtype=int)}, r"labels must be int32 of shape \(6,\)"),
        ({"y_train": np.ones(6)}, "labels must be integers or text, got float64"),
        ({"y_train": np.array([0, 1, 3] * 2)}, r"labels must lie in \[0, 3\), got 0..3"),
        ({"y_train": np.array([0, 1, 2**32] * 2)}, r"labels must lie in \[0, 3\)"),
        ({"y_test": np.array([0, 1, -1])}, r"test labels must lie in \[0, 3\), got -1..1"),
        ({"class_names": np.array(["a", "a", "b"])}, "class names must differ"),
        ({"class_names": np.array(list("abcd"))}, r"no image of class\(es\) \['d'\]"),
        ({"x_train": np.zeros((6, 4, 4, 3), np.uint8)}, "constant channel"),
        ({"x_train": np.array([object()] * 6)}, "cannot read .*no Python objects"),
    ],
)
def test_npz_with_unfit_arrays_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        _load(_npz(tmp_path / "tiny.npz", _arrays(**changes)), tmp_path, "npz")


def test_npz_that_is_missing_damaged_or_incomplete_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"needs data_dir to be an .npz file"):
        data.load("npz")
    path = _npz(tmp_path / "tiny.npz", {"x_train": np.zeros(3)})
    with pytest.raises(ValueError, match=r"arrays \['y_train'\] are missing"):
        _load(path, tmp_path, "npz")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"it is not an .npz archive"):
        _load(path, tmp_path, "npz")


# ---- cache


def _build_counter(digits):
    calls = []

    def build():
        calls.append(1)
        return digits

    return build, calls


def test_cache_builds_once_and_returns_the_same(cache_dir):
    digits = data.load("digits")
    build, calls = _build_counter(digits)
    cache.cached("d", {"v": 1}, cache_dir, build)
    again = cache.cached("d", {"v": 1}, cache_dir, build)
    assert len(calls) == 1
    for field in dataclasses.fields(digits):
        assert np.array_equal(getattr(again, field.name), getattr(digits, field.name))
    cache.cached("d", {"v": 2}, cache_dir, build)
    assert len(calls) == 2


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "meta", "meta list"])
def test_damaged_cache_is_rebuilt(cache_dir, damage):
    build, calls = _build_counter(data.load("digits"))
    cache.cached("d", 0, cache_dir, build)
    (entry,) = cache_dir.iterdir()
    array, meta = entry / "train_images.npy", entry / "meta.json"
    content = array.read_bytes()
    if damage == "flip":
        array.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "truncate":
        array.write_bytes(content[:1000])
    elif damage == "remove":
        array.unlink()
    else:
        meta.write_text("{" if damage == "meta" else "[]")
    cache.cached("d", 0, cache_dir, build)
    assert len(calls) == 2
    cache.cached("d", 0, cache_dir, build)
    assert len(calls) == 2


def test_interrupted_build_leaves_no_entry(cache_dir, monkeypatch):
    digits = data.load("digits")

    def interrupted(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cache, "_digest", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cache.cached("d", 0, cache_dir, lambda: digits)
    assert list(cache_dir.iterdir()) == []


def test_entry_written_meanwhile_by_another_process_is_kept(cache_dir):
    build, calls = _build_counter(data.load("digits"))

    def slow_build():
        cache.cached("d", 0, cache_dir, build)
        return build()

    cache.cached("d", 0, cache_dir, slow_build)
    assert len(list(cache_dir.iterdir())) == 1
    cache.cached("d", 0, cache_dir, build)
    assert len(calls) == 2


def test_full_disk_is_reported(cache_dir, monkeypatch):
    def full(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match=r"No space left"):
        cache.cached("d", 0, cache_dir, lambda: data.load("digits"))


def test_unwritable_cache_directory_is_refused_before_decoding(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"must be writable.*another one as cache_dir"):
        cache.cached("d", 0, tmp_path / "file", lambda: pytest.fail("decoded first"))


def test_default_cache_directory_follows_xdg(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache.cached("d", 0, None, lambda: data.load("digits"))
    (entry,) = (tmp_path / "csdm_jax").iterdir()
    assert json.loads((entry / "meta.json").read_text())["name"] == "digits"


def test_unfit_data_are_not_cached(cache_dir):
    digits = dataclasses.replace(data.load("digits"), std=(0.0,))
    with pytest.raises(ValueError, match=r"std positive"):
        cache.cached("d", 0, cache_dir, lambda: digits)
    assert list(cache_dir.iterdir()) == []


def test_check_returns_a_well_formed_data_set_unchanged():
    digits = data.load("digits")
    assert check_dataset(digits) is digits
