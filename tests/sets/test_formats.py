"""Every format: written and read back by us, and read by code that is not ours."""

from __future__ import annotations

import dataclasses
import importlib
import sys

import numpy as np
import pytest

from csdm_jax import parameterisations
from csdm_jax.parameterisations.pixels import Pixels
from csdm_jax.sets import distilled
from csdm_jax.sets.exporting import export_set
from csdm_jax.sets.formats import FORMATS
from csdm_jax.sets.formats.facts import Facts
from csdm_jax.sets.formats.png import folder_names
from csdm_jax.sets.importing import read_set, write_set
from tests.sets.formats_examples import MEAN, NAMES, STD, example, read_json, run_folder

TORCH = ("ddranking", "ncfm", "dcbench", "mtt")
QUANTISED = ("png", "tfds")
SOFT = ("npz", "safetensors", "ddranking", "mtt")


def _exported(tmp_path, name, **kind):
    if name in TORCH:
        pytest.importorskip("torch")
    card = export_set(run_folder(tmp_path / "run", **kind), name, tmp_path / "out")
    written = read_json(tmp_path / "out" / "card.json")
    assert ("sha256" in written) == (name == "npz")  # only our own card is sealed
    assert card == {field: value for field, value in written.items() if field != "sha256"}
    assert ("distilled_sha256" in card) == (name == "npz")
    return tmp_path / "out", card


def _tolerance(name):
    return 0.5 / 255 + 1e-6 if name in QUANTISED else 1e-6


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("channels", [1, 3])
def test_round_trip(tmp_path, name, channels):
    card = {"mean": MEAN[:channels], "std": STD[:channels], "class_names": NAMES}
    if name in TORCH:
        pytest.importorskip("torch")
    run = run_folder(tmp_path / "run", card=card, channels=channels)
    export_set(run, name, tmp_path / "out")
    result, card = read_set(tmp_path / "out", name)
    original = example(channels=channels)
    np.testing.assert_allclose(result.images, original.images, atol=_tolerance(name))
    np.testing.assert_array_equal(result.labels, original.labels)
    assert (result.labels.dtype, result.num_classes) == (np.int32, 3)
    assert (card["class_names"], card["outside"], card["space"]) == (NAMES, 0, "unit")
    assert ("pixels were quantised to uint8" in card["notes"]) == (name in QUANTISED)


@pytest.mark.parametrize("name", FORMATS)
def test_mosaics_train_as_the_same_images_everywhere(tmp_path, name):
    out, card = _exported(tmp_path, name, mosaic=True)
    whole = name in ("npz", "ncfm")
    assert card["images"].startswith("mosaic" if whole else "decoded")
    assert card["images_per_class"] == (2 if whole else 8)
    images, targets = read_set(out, name)[0].training_data()
    expected, expected_targets = example(mosaic=True).training_data()
    np.testing.assert_allclose(images, expected, atol=_tolerance(name))
    np.testing.assert_array_equal(targets, expected_targets)


def test_mosaics_stay_mosaics_in_our_own_file(tmp_path):
    out, _ = _exported(tmp_path, "npz", mosaic=True)
    result, card = read_set(out, "npz")
    assert (result.parameterisation, result.factor) == ("mosaic", 2)
    assert not {"sha256", "distilled_sha256"} & set(card)  # those of the files it came from
    np.testing.assert_array_equal(result.images, example().images)


class Mirrored(Pixels):
    """Stands for a parameterisation that others' code does not know."""

    def decode(self, stored):
        return stored["images"][:, :, ::-1]


def test_what_others_cannot_decode_is_decoded_for_them(tmp_path, monkeypatch):
    monkeypatch.setitem(parameterisations.PARAMETERISATIONS, "mirrored", lambda factor: Mirrored())
    stored = dataclasses.replace(example(), parameterisation="mirrored")
    distilled.save(tmp_path / "run", stored, {})
    export_set(tmp_path / "run", "npz", tmp_path / "npz")
    export_set(tmp_path / "run", "safetensors", tmp_path / "safetensors")
    ours, _ = read_set(tmp_path / "npz", "npz")
    theirs, _ = read_set(tmp_path / "safetensors", "safetensors")
    assert (ours.parameterisation, theirs.parameterisation) == ("mirrored", "pixels")
    np.testing.assert_array_equal(ours.images, example().images)
    np.testing.assert_array_equal(theirs.images, example().images[:, :, ::-1])
    pytest.importorskip("torch")
    export_set(tmp_path / "run", "ncfm", tmp_path / "ncfm")
    np.testing.assert_array_equal(read_set(tmp_path / "ncfm", "ncfm")[0].images, theirs.images)


def test_white_mosaics_stay_within_the_range(tmp_path):
    images = np.ones((1, 27, 27, 1), np.float32)
    stored = distilled.DistilledSet(images, np.zeros(1, np.int32), "mosaic", 9, 1)
    assert stored.training_data()[0].max() > 1  # rounding of the interpolation
    distilled.save(tmp_path / "run", stored, {})
    export_set(tmp_path / "run", "safetensors", tmp_path / "out")
    assert read_set(tmp_path / "out", "safetensors")[1]["outside"] == 0
    file = tmp_path / "out" / "distilled.safetensors"
    assert importlib.import_module("safetensors.numpy").load_file(file)["images"].max() == 1


def test_mosaics_are_kept_when_told(tmp_path):
    out, _ = _exported(tmp_path, "ncfm", mosaic=True)
    decoded, _ = read_set(out, "ncfm")
    kept, card = read_set(out, "ncfm", keep_mosaics=True)
    assert (decoded.parameterisation, len(decoded.images)) == ("pixels", 24)
    assert (kept.parameterisation, kept.factor, len(kept.images)) == ("mosaic", 2, 6)
    assert card["images"] == "mosaic, factor 2: decode before training"


@pytest.mark.parametrize("name", SOFT)
def test_soft_labels_survive(tmp_path, name):
    out, card = _exported(tmp_path, name, soft=True)
    kind = "probabilities" if name in ("npz", "safetensors") else "softmax is the class prob"
    assert card["label_kind"].startswith("soft (") and kind in card["label_kind"]
    result, _ = read_set(out, name)
    np.testing.assert_allclose(result.labels, example(soft=True).labels, atol=1e-6)
    np.testing.assert_allclose(result.images, example().images, atol=1e-6)


@pytest.mark.parametrize("name", sorted(set(FORMATS) - set(SOFT)))
def test_soft_labels_are_refused_where_a_format_has_none(tmp_path, name):
    with pytest.raises(ValueError, match=r"class numbers only.*choose npz, safetensors"):
        _exported(tmp_path, name, soft=True)
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("name", FORMATS)
def test_the_card_says_how_to_use_the_images(tmp_path, name):
    _, card = _exported(tmp_path, name)
    space = "normalised" if name in ("ddranking", "dcbench", "mtt") else "unit"
    space = "uint8" if name in QUANTISED else space
    ranges = {"unit": [0, 1], "uint8": [0, 255], "normalised": [-2, 3]}
    assert card["format"] == name and card["space"] == space
    assert card["value_range"] == pytest.approx(ranges[space])
    assert card["layout"] == ("NCHW" if name in TORCH else "NHWC") + ", class-major"
    assert (card["mean"], card["std"], card["class_names"]) == (MEAN, STD, NAMES)
    assert card["label_kind"] == "hard (class index)" and card["images"] == "decoded"
    assert card["test_preprocessing"] == "(uint8 / 255 - mean) / std"
    assert ("none" in card["preprocessing"]) == (space == "normalised")
    assert bool(card["format_notes"]) == (name in ("png", "tfds", "ddranking", "ncfm", "mtt"))


# What others see: libraries of theirs alone, and the numbers of the example worked out anew.


def _normalised():
    scaled = (example().images - np.float32(MEAN)) / np.float32(STD)
    return scaled.transpose(0, 3, 1, 2)


def test_numpy_reads_npz(tmp_path):
    out, _ = _exported(tmp_path, "npz")
    arrays = np.load(out / "distilled.npz", allow_pickle=False)
    np.testing.assert_array_equal(arrays["images"], example().images)
    assert arrays["labels"].tolist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_array_equal(distilled.load(out)[0].images, example().images)


def test_safetensors_reads_safetensors(tmp_path):
    out, _ = _exported(tmp_path, "safetensors")
    arrays = importlib.import_module("safetensors.numpy").load_file(out / "distilled.safetensors")
    np.testing.assert_array_equal(arrays["images"], example().images)
    assert arrays["labels"].dtype == np.int64 and arrays["labels"].tolist() == [0, 0, 1, 1, 2, 2]


def test_pillow_reads_the_png_folder_in_label_order(tmp_path):
    from PIL import Image

    out, _ = _exported(tmp_path, "png")
    folders = sorted(path.name for path in (out / "train").iterdir())
    assert folders == ["0_red", "1_blue", "2_a_b"]
    images = [
        Image.open(path) for name in folders for path in sorted((out / "train" / name).glob("*"))
    ]
    found = np.stack([np.asarray(image) for image in images])
    np.testing.assert_array_equal(found, np.round(example().images * 255))
    for image in images:
        image.close()


def test_tfds_reads_the_tfds_folder(tmp_path):
    out, _ = _exported(tmp_path, "tfds")
    tfds = importlib.import_module("tensorflow_datasets")
    source = tfds.builder_from_directory(out).as_data_source("train")
    assert len(source) == 6
    found = [source[index] for index in range(6)]
    np.testing.assert_array_equal(
        np.stack([one["image"] for one in found]), np.round(example().images * 255)
    )
    assert [one["label"] for one in found] == [0, 0, 1, 1, 2, 2]
    builder = tfds.builder_from_directory(out)
    assert builder.info.features["label"].names == NAMES
    assert builder.info.supervised_keys == ("image", "label")
    assert "tensorflow" not in sys.modules


def _check_tensors(images, labels):
    torch = pytest.importorskip("torch")
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
    np.testing.assert_allclose(images.numpy(), _normalised(), atol=1e-6)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("name", "files"),
    [("ddranking", ("images.pt", "labels.pt")), ("mtt", ("images_best.pt", "labels_best.pt"))],
    ids=["ddranking", "mtt"],
)
def test_torch_reads_tensors(tmp_path, name, files):
    torch = pytest.importorskip("torch")
    out, _ = _exported(tmp_path, name)
    _check_tensors(*(torch.load(out / file, weights_only=True) for file in files))
    assert sorted(p.name for p in out.iterdir()) == sorted([*files, "card.json"])


def test_torch_reads_dcbench(tmp_path):
    torch = pytest.importorskip("torch")
    out, _ = _exported(tmp_path, "dcbench")
    saved = torch.load(out / "res.pt", weights_only=True)
    images, labels = saved["data"][-1]
    _check_tensors(images, labels)


def test_torch_reads_and_decodes_ncfm(tmp_path):
    """Its decoding: tiles row by row, up-sampled bilinearly; labels repeated with the tiles."""
    torch = pytest.importorskip("torch")
    out, card = _exported(tmp_path, "ncfm", mosaic=True)
    images, labels = torch.load(out / "data.pt", weights_only=True)
    assert (images.dtype, labels.dtype, card["factor"]) == (torch.float32, torch.int64, 2)
    tiles = [images[:, :, i : i + 4, j : j + 3] for i in (0, 4) for j in (0, 3)]
    large = [torch.nn.functional.interpolate(t, (8, 6), mode="bilinear") for t in tiles]
    decoded = torch.stack(large, 1).flatten(0, 1).permute(0, 2, 3, 1)
    expected, targets = example(mosaic=True).training_data()
    np.testing.assert_allclose(decoded.numpy(), expected, atol=1e-6)
    assert labels.repeat_interleave(4).tolist() == np.argmax(targets, 1).tolist()


def test_softmax_of_exported_logits_is_the_probabilities(tmp_path):
    torch = pytest.importorskip("torch")
    out, _ = _exported(tmp_path, "ddranking", soft=True)
    logits = torch.load(out / "labels.pt", weights_only=True)
    np.testing.assert_allclose(logits.softmax(1).numpy(), example(soft=True).labels, atol=1e-6)


# Files as the peers' own code writes them, without a card of ours.

SAID = Facts(mean=tuple(MEAN), std=tuple(STD), num_classes=3)


def test_dm_file_with_accuracies_as_numpy_numbers(tmp_path):
    torch = pytest.importorskip("torch")
    pair = [torch.from_numpy(_normalised()), torch.tensor([0, 0, 1, 1, 2, 2])]
    accuracies = {"ConvNet": [np.float64(61.5), np.mean([1.0, 2.0]), np.ones(2)]}
    other = [pair[0] + 1, pair[1]]
    torch.save({"data": [pair, other], "accs_all_exps": accuracies}, tmp_path / "res_DM.pt")
    result, card = read_set(tmp_path / "res_DM.pt", "dcbench", SAID)
    np.testing.assert_allclose(result.images, example().images, atol=1e-6)
    assert card["notes"] == ["first of the 2 repetitions in the file"]


@pytest.mark.parametrize("kind", ["float", "tensor"])
def test_mtt_files_with_logits_and_a_learning_rate(tmp_path, kind):
    torch = pytest.importorskip("torch")
    images = torch.from_numpy(_normalised()).requires_grad_()
    logits = torch.tensor(np.log(np.maximum(example(soft=True).labels, 1e-8)) + 5)
    rate = 0.015625 if kind == "float" else torch.tensor(0.015625, requires_grad=True)
    for name, value in (("images", images), ("labels", logits), ("lr", rate)):
        torch.save(value, tmp_path / f"{name}_best.pt")
    said = Facts(space="normalised", mean=tuple(MEAN), std=tuple(STD))
    result, card = read_set(tmp_path, "mtt", said)
    np.testing.assert_allclose(result.labels, example(soft=True).labels, atol=1e-6)
    assert card["lr"] == 0.015625 and result.num_classes == 3
    write_set(tmp_path / "ours", result, card)
    export_set(tmp_path / "ours", "ddranking", tmp_path / "theirs")
    assert torch.load(tmp_path / "theirs" / "lr.pt", weights_only=True) == 0.015625
    assert read_set(tmp_path / "theirs", "ddranking")[1]["lr"] == 0.015625


def test_ncfm_file_holds_mosaics_unless_told(tmp_path):
    torch = pytest.importorskip("torch")
    images = torch.from_numpy(example().images).permute(0, 3, 1, 2)
    torch.save([images, torch.tensor([0, 0, 1, 1, 2, 2])], tmp_path / "data_20000.pt")
    decoded, _ = read_set(tmp_path / "data_20000.pt", "ncfm", Facts(num_classes=3))
    expected, _ = example(mosaic=True).training_data()
    np.testing.assert_allclose(decoded.images, expected, atol=1e-6)
    plain, _ = read_set(tmp_path / "data_20000.pt", "ncfm", Facts(num_classes=3, factor=1))
    np.testing.assert_allclose(plain.images, example().images, atol=1e-6)
    said = Facts(num_classes=3, factor=4)
    with pytest.raises(ValueError, match="8 x 6, the factor is 4"):
        read_set(tmp_path / "data_20000.pt", "ncfm", said)


def test_an_export_is_class_major_and_drops_no_label(tmp_path):
    mixed = dataclasses.replace(example(), labels=np.array([2, 0, 1, 2, 0, 1], np.int32))
    distilled.save(tmp_path / "run", mixed, {})
    export_set(tmp_path / "run", "safetensors", tmp_path / "out")
    result, card = read_set(tmp_path / "out", "safetensors")
    assert result.labels.tolist() == [0, 0, 1, 1, 2, 2] and card["notes"] == []
    np.testing.assert_array_equal(result.images, example().images[[1, 4, 2, 5, 0, 3]])


def test_an_import_does_not_claim_what_was_measured_with_other_pixels(tmp_path):
    card = {"accuracies": {"convnet": []}, "seconds": {}, "method": "csdm"}
    run = run_folder(tmp_path / "run", card=card)
    assert "accuracies" in export_set(run, "png", tmp_path / "out")
    _, imported = read_set(tmp_path / "out", "png")
    assert imported["method"] == "csdm" and imported["imported_from"] == "png"
    assert not {"accuracies", "seconds", "format_notes", "class_folders", "sha256"} & set(imported)


def test_images_are_put_in_class_major_order(tmp_path):
    np.savez(tmp_path / "x.npz", images=example().images, labels=np.array([2, 0, 1, 2, 0, 1]))
    result, card = read_set(tmp_path / "x.npz", "npz", Facts(num_classes=3))
    assert result.labels.tolist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_array_equal(result.images, example().images[[1, 4, 2, 5, 0, 3]])
    assert card["notes"] == ["the images were put in class-major order"]


def test_classes_of_a_folder_follow_the_names_that_are_said(tmp_path):
    run = run_folder(tmp_path / "run", card={"class_names": ["a", "b", "c"]})
    export_set(run, "png", tmp_path / "out")
    (tmp_path / "out" / "card.json").unlink()
    result, _ = read_set(tmp_path / "out", "png", Facts(class_names=("c", "a", "b")))
    assert result.labels.tolist() == [0, 0, 1, 1, 2, 2]
    expected = np.round(example().images[[4, 5, 0, 1, 2, 3]] * 255) / 255
    np.testing.assert_allclose(result.images, expected, atol=1e-6)


def test_a_class_without_images_keeps_its_folder_and_number(tmp_path):
    lacking = dataclasses.replace(example(), labels=np.array([0, 0, 0, 2, 2, 2], np.int32))
    distilled.save(tmp_path / "run", lacking, {"class_names": ["a", "b", "c"]})
    export_set(tmp_path / "run", "png", tmp_path / "out")
    (tmp_path / "out" / "card.json").unlink()
    result, card = read_set(tmp_path / "out", "png")
    assert result.labels.tolist() == [0, 0, 0, 2, 2, 2]
    assert (result.num_classes, card["images_per_class"]) == (3, None)


def test_rounding_does_not_leave_the_range(tmp_path):
    """Black and white come back as 0 and 1 from any mean and std."""
    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    pixels = np.float32(np.random.default_rng(0).integers(0, 2, (6, 8, 6, 3)))
    normalised = ((pixels - np.float32(mean)) / np.float32(std)).astype(np.float32)
    back = normalised * np.float32(std) + np.float32(mean)
    assert back.min() < 0 or back.max() > 1  # without care it would
    np.savez(tmp_path / "x.npz", images=normalised, labels=np.arange(6))
    said = Facts(space="normalised", mean=mean, std=std, num_classes=6)
    result, card = read_set(tmp_path / "x.npz", "npz", said)
    assert (result.images.min(), result.images.max(), card["outside"]) == (0, 1, 0)


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (("a", "b"), ["a", "b"]),
        (("b", "a"), ["0_b", "1_a"]),
        (("..", "x/y"), ["0_..", "1_x_y"]),
        ((".a", "b"), ["0_.a", "1_b"]),
        (("a", "a"), ["0_a", "1_a"]),
        ((*"0123456789", "10"), [f"{n:02d}_{n}" for n in range(11)]),
    ],
    ids=["sorted", "unsorted", "unsafe", "hidden", "equal", "numbers"],
)
def test_class_folders_sort_in_label_order(names, folders):
    assert folder_names(names) == folders == sorted(folders)


@pytest.mark.parametrize("soft", [False, True])
def test_classes_in_another_order_are_matched_by_name(tmp_path, soft):
    run = run_folder(tmp_path / "run", soft=soft)
    stored = example(soft=soft)
    others = (NAMES[2], NAMES[0], NAMES[1])
    result, card = read_set(run, "npz", Facts(class_names=others))
    assert card["class_names"] == list(others)
    assert any("matched by name" in note for note in card["notes"])
    found = {
        image.tobytes(): label for image, label in zip(result.images, result.labels, strict=True)
    }
    for image, label in zip(stored.images, stored.labels, strict=True):
        mine = found[image.tobytes()]
        if soft:
            np.testing.assert_array_equal(mine, label[[2, 0, 1]])
        else:
            assert others[mine] == NAMES[label]
