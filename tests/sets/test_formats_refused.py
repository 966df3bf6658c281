"""Files that are not what they are said to be, that are broken, or that mean harm."""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
import struct
import sys
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from csdm_jax import import_set
from csdm_jax.sets.exporting import export_set
from csdm_jax.sets.formats import base, tfds
from csdm_jax.sets.formats.facts import Facts
from csdm_jax.sets.importing import facts_like, read_set, write_set
from tests.sets.formats_examples import CARD, MEAN, NAMES, STD, example, run_folder

SAID = Facts(mean=tuple(MEAN), std=tuple(STD), num_classes=3)
LABELS = np.repeat(np.arange(3), 2)


def _npz(path, images=None, labels=LABELS):
    np.savez(path / "x.npz", images=example().images if images is None else images, labels=labels)
    return path / "x.npz"


def _ddranking(path, images, labels=LABELS):
    torch = pytest.importorskip("torch")
    torch.save(torch.tensor(images), path / "images.pt")
    torch.save(torch.tensor(labels), path / "labels.pt")
    return path


NCHW = example().images.transpose(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("images", "said", "message"),
    [
        (NCHW, {}, r"\[n, H, W, ch\] with ch 1 or 3, got shape \(6, 3, 8, 6\)"),
        (NCHW[0], {}, r"got shape \(3, 8, 6\)"),
        (example().images[:0], {}, r"got shape \(0, 8, 6, 3\)"),
        (example().images > 0.5, {}, "floats or uint8, got bool"),
        (example().images * 255, {}, r"lie in \[0, 1\], got 0..255: divide .* by .*255 for bytes"),
        (example().images * 1.5, {}, r"got 0..1.5: divide them by their white"),
        (example().images * 1.5 - 0.2, {}, r"got -0.2..1.3: clip=True \(--clip\) cuts off"),
        (example().images * 4 - 2, {}, r"lie in \[0, 1\], got -2..2: they look normalised"),
        (np.uint8(example().images * 255), {}, "'unit' must be floats, got uint8"),
        (example().images, {"space": "uint8"}, "'uint8' must be uint8, got float32"),
        (example().images + np.float32(np.nan), {}, "finite, 864 of their values are not"),
        (example().images, {"image_shape": (8, 8, 3)}, r"must be \(8, 8, 3\).*got \(8, 6, 3\)"),
        (example().images, {"space": "zca"}, "without the whitening matrix"),
    ],
    ids=[
        "nchw", "one-image", "none", "bool", "bytes", "bright", "beyond", "normalised", "uint8",
        "not-uint8", "nan",
        "size", "zca",
    ],
)  # fmt: skip
def test_images_that_break_a_rule(tmp_path, images, said, message):
    with pytest.raises(ValueError, match=message):
        read_set(_npz(tmp_path, images), "npz", Facts(num_classes=3, **said))


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        (LABELS[:5], 3, r"6 images need as many labels, .* got shape \(5,\)"),
        (LABELS, None, r"not known \(labels reach 2.*--num_classes"),
        (LABELS, 2, r"lie in 0..1 for 2 classes, got 0..2"),
        (LABELS - 1, 3, "got -1..1"),
        (LABELS.astype(float), 3, r"integers \[n\] or floats \[n, K\], got float64 \(6,\)"),
        (np.eye(3)[LABELS].astype(int), 3, r"got int64 \(6, 3\)"),
        (np.eye(4)[LABELS], 3, r"column for each of the 3 classes, got \(6, 4\)"),
        (np.eye(3)[LABELS] + np.nan, 3, "soft labels must be finite"),
        (np.eye(3)[LABELS] * 9 - 4, 3, "probabilities, got values -4..5 .* apply softmax"),
    ],
    ids=["count", "classes", "large", "negative", "float", "one-hot", "columns", "nan", "logits"],
)
def test_labels_that_break_a_rule(tmp_path, labels, classes, message):
    with pytest.raises(ValueError, match=message):
        read_set(_npz(tmp_path, labels=labels), "npz", Facts(num_classes=classes))


@pytest.mark.parametrize(
    ("images", "said", "message"),
    [
        (NCHW, SAID, r"below 0 \(dark pixels\), got 0..1: they look as if in \[0, 1\]"),
        (NCHW * 4 - 2, Facts(num_classes=3), "need the mean and std they were normalised with"),
        (NCHW * 4 - 2, Facts(mean=(0.5,), std=(0.25,), num_classes=3), r"each of the 3 channel"),
        (NCHW * 510 - 255, SAID, r"would be .*, far from \[0, 1\]: give the mean and std"),
        (example().images, SAID, r"\[n, ch, H, W\] .* got shape \(6, 8, 6, 3\)"),
    ],
    ids=["unit", "no-constants", "channels", "bytes", "nhwc"],
)
def test_normalised_images_that_are_not(tmp_path, images, said, message):
    with pytest.raises(ValueError, match=message):
        read_set(_ddranking(tmp_path, images), "ddranking", said)


def test_mtt_files_do_not_say_whether_they_are_whitened(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(torch.tensor(NCHW * 4 - 2), tmp_path / "images_best.pt")
    torch.save(torch.tensor(LABELS), tmp_path / "labels_best.pt")
    with pytest.raises(ValueError, match="space=normalised or space=zca"):
        read_set(tmp_path, "mtt", SAID)
    torch.save(torch.tensor([1.0, 2.0]), tmp_path / "lr_best.pt")
    with pytest.raises(ValueError, match=r"one learning rate, got shape \(2,\)"):
        read_set(tmp_path, "mtt", SAID)


def test_what_interpolation_leaves_outside_is_kept_and_told(tmp_path):
    images = example().images * np.float32(1.002)
    result, card = read_set(_npz(tmp_path, images), "npz", Facts(num_classes=3))
    np.testing.assert_array_equal(result.images, images)
    assert card["value_range"] == [0, pytest.approx(1.002)] and 0 < card["outside"] < 0.1
    for space, message in (("uint8", "divide bytes by 255"), ("normalised", "give space=unit")):
        with pytest.raises(ValueError, match=message):
            read_set(tmp_path / "x.npz", "npz", dataclasses.replace(SAID, space=space))


def test_clip_clips_images_of_every_space(tmp_path):
    path = _npz(tmp_path, example().images * 1.5 - np.float32(0.2))
    out = tmp_path / "out"
    import_set.main([str(path), "--format=npz", f"--out={out}", "--num_classes=3", "--clip"])
    clipped, card = read_set(out, "npz")
    np.testing.assert_allclose(
        clipped.images, np.clip(example().images * 1.5 - 0.2, 0, 1), atol=1e-6
    )
    assert "were clipped" in card["notes"][0]
    with pytest.raises(ValueError, match="they look normalised"):
        read_set(_npz(tmp_path, example().images * 4 - 2), "npz", Facts(num_classes=3), clip=True)


@pytest.mark.parametrize("rate", [np.nan, np.inf, -0.1, 0.0])
def test_a_learning_rate_that_is_none_is_refused(tmp_path, rate):
    torch = pytest.importorskip("torch")
    torch.save(torch.tensor(rate), _ddranking(tmp_path, NCHW * 4 - 2) / "lr.pt")
    with pytest.raises(ValueError, match=r"has the learning rate .*positive finite number"):
        read_set(tmp_path, "ddranking", SAID)


def _authors_files(path, numbers):
    torch = pytest.importorskip("torch")
    for number in numbers:
        torch.save(torch.tensor(NCHW * 4 - 2), path / f"images_{number}.pt")
        torch.save(torch.tensor(LABELS), path / f"labels_{number}.pt")
        torch.save(torch.tensor(number / 1e6), path / f"lr_{number}.pt")
        torch.save([torch.tensor(NCHW), torch.tensor(LABELS)], path / f"data_{number}.pt")
        data = {"data": [[torch.tensor(NCHW * 4 - 2), torch.tensor(LABELS)]]}
        torch.save(data, path / f"res_DM_CIFAR10_ConvNet_{number}ipc.pt")
    return path


NAMED = (("mtt", "images_5000.pt"), ("ncfm", "data_5000.pt"),
         ("dcbench", "res_DM_CIFAR10_ConvNet_5000ipc.pt"))  # fmt: skip


@pytest.mark.parametrize(("name", "file"), NAMED)
def test_files_under_their_authors_names_are_found(tmp_path, name, file):
    said = dataclasses.replace(SAID, space=None if name != "mtt" else "normalised", factor=1)
    _authors_files(tmp_path, [5000])
    result, card = read_set(tmp_path, name, said)
    assert result.images.shape == (6, 8, 6, 3) and card["lr"] in (None, pytest.approx(0.005))
    _authors_files(tmp_path, [1000])
    with pytest.raises(FileNotFoundError, match=file.replace("5000", "1000") + f".*{file}"):
        read_set(tmp_path, name, said)
    same, card = read_set(tmp_path / file, name, said)
    np.testing.assert_array_equal(same.images, result.images)
    assert (card["lr"] is None) == (name != "mtt")


def test_a_folder_without_the_files_lists_what_is_there(tmp_path):
    pytest.importorskip("torch")
    for part in (1, 2):
        (tmp_path / f"syn_part{part}.pt").touch()
    with pytest.raises(
        FileNotFoundError, match=r"the folder holds syn_part1.pt, syn_part2.pt: give"
    ):
        read_set(tmp_path, "ncfm", SAID)


def test_pixels_outside_the_range_are_kept_and_clipped_only_when_told(tmp_path):
    path = _ddranking(tmp_path, (NCHW - 0.5) * 6)  # -3..3 with mean 0.5 and std 0.25: -0.25..1.25
    result, card = read_set(path, "ddranking", SAID)
    mean, std = np.float32(MEAN), np.float32(STD)
    expected = (example().images - 0.5) * 6 * std + mean
    np.testing.assert_allclose(result.images, expected, atol=1e-6)
    outside = np.mean((expected < 0) | (expected > 1))
    assert card["outside"] == pytest.approx(outside) and 0.1 < outside < 0.6
    assert card["value_range"] == pytest.approx([expected.min(), expected.max()])
    with pytest.raises(ValueError, match=r"% of this set's values lie outside .*--clip"):
        write_set(tmp_path / "out", result, card)
    assert not (tmp_path / "out").exists()
    write_set(tmp_path / "out", result, card, clip=True)
    clipped, clipped_card = read_set(tmp_path / "out", "npz")
    np.testing.assert_allclose(clipped.images, np.clip(expected, 0, 1), atol=1e-6)
    assert clipped_card["outside"] == 0 and "were clipped" in clipped_card["notes"][0]


# What is said and what is written must agree.


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"mean": (0.1, 0.4, 0.3), "std": tuple(STD)}, r"says mean \(0.5, .* you say \(0.1"),
        ({"class_names": ("red", "a/b", "pink")}, "says class_names"),
        ({"num_classes": 4}, "says num_classes 3, you say 4"),
        ({"factor": 2}, "says factor 1, you say 2"),
    ],
    ids=["mean", "names", "classes", "factor"],
)
def test_contradicting_the_card(tmp_path, said, message):
    export_set(run_folder(tmp_path / "run"), "safetensors", tmp_path / "out")
    with pytest.raises(ValueError, match=message):
        read_set(tmp_path / "out", "safetensors", Facts(**said))


def test_another_format_than_the_card_s(tmp_path):
    export_set(run_folder(tmp_path / "run"), "safetensors", tmp_path / "out")
    with pytest.raises(ValueError, match="describes a set in format 'safetensors', not 'png'"):
        read_set(tmp_path / "out", "png")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"space": "rgb"}, "space must be one of .*got 'rgb'"),
        ({"mean": (0.5,)}, "mean and std belong together"),
        ({"mean": (0.5,), "std": (0.0,)}, r"std positive, got \(0.5,\) and \(0.0,\)"),
        ({"factor": 0}, "factor must be at least 1, got 0"),
        ({"class_names": ("a", "b"), "num_classes": 3}, "2 class names for 3 classes"),
    ],
    ids=["space", "mean", "std", "factor", "names"],
)
def test_facts_that_cannot_be(facts, message):
    with pytest.raises(ValueError, match=message):
        Facts(**facts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "it must be JSON"),
        ("[" * 100_000, "it must be JSON"),
        ("[]", "must hold a JSON object, got list"),
        ('{"notes": 1}', "notes must be a list, got 1"),
        ('{"mean": "dark", "std": [1]}', "the card is damaged"),
        (" " * (2**24 + 1), "a card has a few thousand"),
    ],
    ids=["cut", "deep", "list", "notes", "mean", "huge"],
)
def test_a_card_that_is_none(tmp_path, text, message):
    file = _npz(tmp_path)
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_set(file, "npz", SAID)


@pytest.mark.parametrize("name", ["png", "tfds"])
def test_a_folder_of_other_classes(tmp_path, name):
    export_set(run_folder(tmp_path / "run"), name, tmp_path / "out")
    (tmp_path / "out" / "card.json").unlink()
    with pytest.raises(
        ValueError, match=r"have 3 classes .* expected 2 .*distilled from this data"
    ):
        read_set(tmp_path / "out", name, Facts(class_names=("red", "green")))
    with pytest.raises(ValueError, match=r"have 3 classes.* expected 4"):
        read_set(tmp_path / "out", name, Facts(num_classes=4))


def test_facts_like_a_run(tmp_path):
    run = run_folder(tmp_path / "run", mosaic=True)
    expected = Facts(None, tuple(MEAN), tuple(STD), tuple(NAMES), 3, (8, 6, 3), None)
    assert facts_like(run) == expected
    (run / "card.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"give a card\.json or the folder with one"):
        facts_like(run)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("npz", "distilled.npz does not exist"),
        ("safetensors", "distilled.safetensors does not exist"),
        ("png", "has no train/<class>/"),
        ("tfds", "has no .*array_record"),
        ("ddranking", "images.pt does not exist"),
        ("ncfm", "data.pt does not exist"),
        ("dcbench", "res.pt does not exist"),
        ("mtt", "images_best.pt does not exist"),
    ],
)
def test_an_empty_folder(tmp_path, name, message):
    with pytest.raises(FileNotFoundError, match=message):
        read_set(tmp_path, name, SAID)
    with pytest.raises(FileNotFoundError, match="give a file or folder of"):
        read_set(tmp_path / "absent", name, SAID)


@pytest.mark.parametrize("name", ["npz", "safetensors", "ncfm", "dcbench"])
@pytest.mark.parametrize("kind", ["text", "cut"])
def test_a_damaged_file(tmp_path, name, kind):
    if name in ("ncfm", "dcbench"):
        pytest.importorskip("torch")
    export_set(run_folder(tmp_path / "run"), name, tmp_path / "out")
    (file,) = (p for p in (tmp_path / "out").iterdir() if p.name != "card.json")
    whole = file.read_bytes()
    file.write_bytes(b"no archive" if kind == "text" else whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cannot read|is not a whole file of torch\.save"):
        read_set(file, name)


def test_a_safetensors_file_with_other_arrays(tmp_path):
    save_file({"x": example().images}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=r"must hold the arrays 'images' and 'labels'"):
        read_set(tmp_path / "x.safetensors", "safetensors", SAID)
    halves = example().images.astype(jnp.bfloat16)
    save_file({"images": halves, "labels": LABELS}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="floats or uint8, got bfloat16: convert them"):
        read_set(tmp_path / "x.safetensors", "safetensors", SAID)


def test_damaged_folders(tmp_path):
    export_set(run_folder(tmp_path / "run"), "png", tmp_path / "png")
    first = next((tmp_path / "png" / "train").rglob("*.png"))
    first.write_bytes(first.read_bytes()[:40])
    with pytest.raises(ValueError, match=f"cannot decode .*{first.name}"):
        read_set(tmp_path / "png", "png")
    export_set(run_folder(tmp_path / "run"), "tfds", tmp_path / "tfds")
    shard = next((tmp_path / "tfds").glob("*array_record*"))
    shard.write_bytes(shard.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"cannot read .*array_record.* no record"):
        read_set(tmp_path / "tfds", "tfds")


@pytest.mark.parametrize("label", [-1, 2**40])
def test_a_tfds_label_that_is_no_class(tmp_path, label):
    export_set(run_folder(tmp_path / "run"), "tfds", tmp_path / "tfds")
    record = tfds._record(np.zeros((8, 6, 3), np.uint8), label)
    tfds._write_shard(tmp_path / "tfds" / tfds.SHARD, [record])
    with pytest.raises(ValueError, match=f"label {label} is no class number"):
        read_set(tmp_path / "tfds", "tfds")


def test_a_tfds_folder_that_lacks_examples(tmp_path):
    export_set(run_folder(tmp_path / "run"), "tfds", tmp_path / "tfds")
    info = tmp_path / "tfds" / "dataset_info.json"
    whole = info.read_text()
    info.write_text(whole.replace('"6"', '"7"'))
    with pytest.raises(ValueError, match=r"hold 6 examples, its dataset_info.json says 7"):
        read_set(tmp_path / "tfds", "tfds")
    info.write_text(whole.replace("train", "test"))
    with pytest.raises(ValueError, match=r"must describe a split 'train'"):
        read_set(tmp_path / "tfds", "tfds")


@pytest.mark.parametrize("name", ["ncfm", "dcbench", "ddranking"])
@pytest.mark.parametrize("value", [3, [1], {"data": []}, {"data": [1]}, [1, 2]], ids=repr)
def test_a_pt_file_with_something_else(tmp_path, name, value):
    torch = pytest.importorskip("torch")
    torch.save(value, tmp_path / "images.pt")
    with pytest.raises(ValueError, match=r"must hold (the list|a dict|its images)"):
        read_set(tmp_path / "images.pt", name, SAID)


@pytest.mark.parametrize("kind", ["sparse", "without values"])
def test_a_tensor_without_plain_values(tmp_path, kind):
    torch = pytest.importorskip("torch")
    dense = torch.tensor(NCHW)
    value = {
        "sparse": lambda: dense.to_sparse(),
        "without values": lambda: dense.to("meta"),
    }[kind]()
    torch.save([value, torch.tensor(LABELS)], tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"its images as a plain dense tensor|is refused"):
        read_set(tmp_path / "x.pt", "ncfm", SAID)


# Files that mean harm.


class Harm:
    """A pickle of it writes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("name", ["ddranking", "ncfm", "dcbench", "mtt"])
def test_a_malicious_pickle_is_refused_and_does_not_run(tmp_path, name):
    torch = pytest.importorskip("torch")
    mark = tmp_path / "harm"
    pickle.loads(pickle.dumps(Harm(mark))).close()
    assert mark.exists()  # the pickle is harmful
    mark.unlink()
    for file in ("images.pt", "images_best.pt", "data.pt", "res.pt"):
        torch.save({"data": [[Harm(mark), Harm(mark)]]}, tmp_path / file)
    with pytest.raises(ValueError, match=r"is refused: .*GLOBAL io.open was not .* ask for a file"):
        read_set(tmp_path, name, SAID)
    for file in ("images.pt", "images_best.pt", "data.pt", "res.pt"):
        (tmp_path / file).write_bytes(pickle.dumps(Harm(mark)))
    with pytest.raises(ValueError, match=r"is not a whole file of torch\.save"):
        read_set(tmp_path, name, SAID)
    assert not mark.exists()


def test_a_torch_that_can_be_made_to_run_code_is_not_used(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    path = _ddranking(tmp_path, NCHW * 4 - 2)
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(ImportError, match=r"needs PyTorch 2\.6 or newer, got 2\.5\.1"):
        read_set(path, "ddranking", SAID)
    monkeypatch.setattr(torch, "__version__", "2.10.0a0+git123")
    assert len(read_set(path, "ddranking", SAID)[0].images) == 6


def test_a_pickled_module_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.Linear(1, 1), tmp_path / "images_best.pt")
    with pytest.raises(ValueError, match=r"GLOBAL torch.nn.*Linear.* was not an allowed global"):
        read_set(tmp_path, "mtt", SAID)


def test_python_objects_in_npz_are_refused(tmp_path):
    mark = tmp_path / "harm"
    np.savez(tmp_path / "x.npz", images=np.array([Harm(mark)] * 6, object), labels=LABELS)
    with pytest.raises(
        ValueError, match=r"holds Python objects, which could run code.*plain arrays"
    ):
        read_set(tmp_path / "x.npz", "npz", SAID)
    assert not mark.exists()


def test_tfds_features_that_name_a_module_do_not_import_it(tmp_path, monkeypatch):
    out = tmp_path / "out"
    export_set(run_folder(tmp_path / "run"), "tfds", out)
    features = json.loads((out / "features.json").read_text())
    features["pythonClassName"] = "harmful_features.Feature"
    (out / "features.json").write_text(json.dumps(features))
    (tmp_path / "harmful_features.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert len(read_set(out, "tfds")[0].images) == 6
    assert "harmful_features" not in sys.modules


HUGE = (2**20, 2**10, 2**10, 3)


def test_an_npz_that_claims_too_much_is_refused_before_it_is_unpacked(tmp_path):
    header = io.BytesIO()
    descr = {"descr": "<f4", "fortran_order": False, "shape": HUGE}
    np.lib.format.write_array_header_1_0(header, descr)
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", header.getvalue() + bytes(2**20))
        archive.writestr("labels.npy", header.getvalue())
    with pytest.raises(ValueError, match=r"claims \(1048576, 1024, .* but holds 1048576 bytes"):
        read_set(tmp_path / "x.npz", "npz", SAID)


def test_a_safetensors_file_that_claims_too_much(tmp_path, monkeypatch):
    export_set(run_folder(tmp_path / "run"), "safetensors", tmp_path / "out")
    monkeypatch.setattr(base, "MAX_VALUES", 863)
    with pytest.raises(ValueError, match=r"claims an array of shape \(6, 8, 6, 3\), more than 863"):
        read_set(tmp_path / "out", "safetensors")
    tensor = {"dtype": "F32", "shape": HUGE, "data_offsets": [0, 4 * int(np.prod(HUGE))]}
    head = json.dumps({"images": tensor}).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(head)) + head)
    with pytest.raises(ValueError, match=r"cannot read .*x.safetensors"):
        read_set(tmp_path / "x.safetensors", "safetensors", SAID)


def test_a_tensor_that_repeats_one_number_without_end(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(
        [torch.zeros(1, 1, 1, 1).expand(2**30, 3, 32, 32), torch.zeros(1)], tmp_path / "x.pt"
    )
    with pytest.raises(ValueError, match=r"claims an array of shape \(1073741824, 3, 32, 32\)"):
        read_set(tmp_path / "x.pt", "ncfm", SAID)


def test_a_pt_archive_that_unpacks_to_too_much(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    with zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data/0", bytes(2**20))
    monkeypatch.setattr("csdm_jax.sets.formats.torch_files.MAX_VALUES", 2**10)
    with pytest.raises(ValueError, match="would unpack to 1048576 bytes"):
        read_set(tmp_path / "x.pt", "ncfm", SAID)


@pytest.mark.parametrize("name", ["png", "tfds"])
def test_folders_of_too_many_pixels(tmp_path, name, monkeypatch):
    export_set(run_folder(tmp_path / "run"), name, tmp_path / "out")
    monkeypatch.setattr(base, "MAX_VALUES", 863)
    with pytest.raises(ValueError, match=r"claims an array of shape \(6, 6, 8, 3\)"):
        read_set(tmp_path / "out", name)


def test_a_png_of_too_many_pixels(tmp_path, monkeypatch):
    from PIL import Image

    export_set(run_folder(tmp_path / "run"), "png", tmp_path / "out")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(ValueError, match="decompression bomb"):
        read_set(tmp_path / "out", "png")


# Exports that cannot be.


def test_export_needs_mean_and_std_to_normalise(tmp_path):
    card = {name: value for name, value in CARD.items() if name not in ("mean", "std")}
    with pytest.raises(ValueError, match="need the mean and std"):
        export_set(run_folder(tmp_path / "run", card=card), "ddranking", tmp_path / "out")


def test_export_refuses_names_that_tfds_cannot_keep(tmp_path):
    card = CARD | {"class_names": ["a", "b\nc", "d"]}
    with pytest.raises(ValueError, match="one class name a line"):
        export_set(run_folder(tmp_path / "run", card=card), "tfds", tmp_path / "out")


def test_export_does_not_write_over_anything(tmp_path):
    run = run_folder(tmp_path / "run")
    before = {p.name: p.read_bytes() for p in run.iterdir()}
    with pytest.raises(FileExistsError, match="choose a new or an empty folder"):
        export_set(run, "npz", run)
    assert {p.name: p.read_bytes() for p in run.iterdir()} == before
    (tmp_path / "empty").mkdir()
    export_set(run, "npz", tmp_path / "empty")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "run"]


def test_unknown_formats_are_listed(tmp_path):
    with pytest.raises(ValueError, match=r"unknown format 'ddrank'.*did you mean 'ddranking'"):
        export_set(tmp_path, "ddrank", tmp_path / "out")
    with pytest.raises(ValueError, match=r"unknown format 'hdf5': choose one of \['dcbench'"):
        read_set(tmp_path, "hdf5")


@pytest.mark.parametrize("name", ["ddranking", "ncfm", "dcbench", "mtt"])
def test_without_torch_the_remedy_is_named(tmp_path, name, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"csdm_jax\[torch\]\", or choose npz, safetensors"):
        export_set(run_folder(tmp_path / "run"), name, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    for file in ("images.pt", "images_best.pt", "data.pt", "res.pt"):
        (tmp_path / file).touch()
    with pytest.raises(ImportError, match=r"csdm_jax\[torch\]"):
        read_set(tmp_path, name, SAID)
