"""Folders and zips as users have them: nothing is lost in silence, nothing mislabelled."""

from __future__ import annotations

import io
import logging as standard_logging
import os
import unicodedata
import zipfile

import numpy as np
import pytest
from absl import logging
from PIL import Image

from csdm_jax import data
from csdm_jax.data.images import Encoded, decode, suffixes
from csdm_jax.data.reading import Reading

HELD = Reading(holdout=0.25)


def picture(value=0, size=(6, 6), mode="RGB", kind="PNG", **options):
    """An image file of one colour, with one pixel of another so that no channel is constant."""
    image = Image.new(mode, size, value)
    if mode in ("RGB", "L"):
        image.putpixel((0, 0), 255 if mode == "L" else (255, 255, 255))
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def fill(root, members):
    for path, content in members.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


def many(counts, prefix="", size=(6, 6)):
    """Path to file: as many images of each class as `counts` says, each of its own grey."""
    return {
        f"{prefix}{name}/{i}.png": picture((10 * place + 20, i % 200, 7), size)
        for place, (name, count) in enumerate(counts.items())
        for i in range(count)
    }


def zipped(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return path


@pytest.fixture
def load(tmp_path):
    def read(path, reading=HELD, name="folder"):
        return data.load(name, data_dir=path, cache_dir=tmp_path / "cache", reading=reading)

    return read


@pytest.fixture
def said(caplog):
    logging.use_absl_handler()
    caplog.set_level(standard_logging.INFO, logger="absl")
    return lambda: caplog.text


def counts(dataset, split="train"):
    labels = getattr(dataset, f"{split}_labels")
    return np.bincount(labels, minlength=dataset.num_classes).tolist()


# ---- nothing is skipped without a word

KINDS = {
    ".bmp": "BMP", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF", ".gif": "GIF", ".jpe": "JPEG",
    ".jfif": "JPEG", ".jpeg": "JPEG", ".JPG": "JPEG", ".ppm": "PPM", ".tga": "TGA", ".jp2":
    "JPEG2000", ".ico": "ICO", ".avif": "AVIF",
}  # fmt: skip


def test_every_format_that_pillow_decodes_is_read(tmp_path, load, said):
    members = many({"cat": 4, "dog": 4})
    for number, (suffix, kind) in enumerate(KINDS.items()):
        members[f"cat/k{number}{suffix}"] = picture((200, 100, 50), (16, 16), kind=kind)
    members["cat/without"] = picture((1, 2, 3))
    members["cat/wrong.txt"] = picture((1, 2, 3), kind="JPEG")
    loaded = load(fill(tmp_path / "pets", members), Reading(holdout=0.25, image_size=6))
    assert len(loaded.train_labels) + len(loaded.test_labels) == len(members)
    assert "passed over" not in said()


def test_formats_that_start_programs_are_not_read():
    assert not {".eps", ".ps", ".wmf", ".emf"} & suffixes()
    assert {".png", ".jpe", ".jfif", ".webp"} <= suffixes()


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_images_at_any_depth_belong_to_their_class(tmp_path, load, packed):
    members = many({"cat/2020/spring": 5, "cat": 2, "dog/a/b/c": 6})
    members = {f"train/{p}": c for p, c in members.items()} | many({"cat/x": 1, "dog": 1}, "test/")
    path = zipped(tmp_path / "p.zip", members) if packed else fill(tmp_path / "p", members)
    loaded = load(path, Reading())
    assert loaded.class_names == ("cat", "dog")
    assert (counts(loaded), counts(loaded, "test")) == ([7, 6], [1, 1])


def test_what_is_passed_over_is_counted_by_reason_and_its_classes_named(tmp_path, load, said):
    members = many({"cat": 4, "dog": 4}) | {
        "cat/notes.txt": b"text", "dog/list.txt": b"", "cat/._0.png": b"mac",
        "stray.png": picture(),
        ".ipynb_checkpoints/0.png": picture(), "cat/.Trash/0.png": picture(), "readme.md": b"",
    }  # fmt: skip
    loaded = load(fill(tmp_path / "pets", members))
    assert loaded.class_names == ("cat", "dog") and len(loaded.train_labels) == 6
    for line in (
        "2 passed over: no image (.txt), of the classes cat, dog",
        "3 passed over: hidden, of the classes cat",
        "1 passed over: in no class folder",
        "1 passed over: no image, in no class folder",
    ):
        assert said().count(line) == 1, said()


def test_the_first_frame_of_an_animation_is_read_and_that_is_said_once(tmp_path, load, said):
    frames = [Image.new("RGB", (6, 6), colour) for colour in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    members = many({"cat": 2, "dog": 2}) | {f"cat/{n}.gif": buffer.getvalue() for n in "ab"}
    loaded = load(fill(tmp_path / "pets", members), HELD)
    assert said().count("2 of 6 images have several frames: the first is used") == 1
    images = np.concatenate([loaded.train_images, loaded.test_images])
    assert sum(np.array_equal(one, np.full((6, 6, 3), (255, 0, 0))) for one in images) == 2


# ---- walks


def test_links_are_followed_and_loops_are_not(tmp_path, load, said):
    elsewhere = fill(tmp_path / "elsewhere", many({"dog": 4}) | {"one.png": picture((9, 9, 9))})
    root = fill(tmp_path / "pets", many({"cat": 4}, "train/") | many({"cat": 1, "dog": 1}, "real/"))
    (root / "train/dog").symlink_to(elsewhere / "dog")
    (root / "train/cat/linked.png").symlink_to(elsewhere / "one.png")
    (root / "test").symlink_to(root / "real")
    (root / "train/cat/again").symlink_to(root / "train")
    loaded = load(root, Reading())
    assert (counts(loaded), counts(loaded, "test")) == ([5, 4], [1, 1])
    assert "passed over: a link to a folder above it, of the classes cat" in said()


def test_a_dangling_link_matters_among_the_images_only(tmp_path, load):
    root = fill(tmp_path / "pets", many({"cat": 4, "dog": 4}, "train/"))
    (root / "gone").symlink_to("nowhere")
    (root / "docs").mkdir()
    (root / "docs/gone.png").symlink_to("nowhere.png")
    assert counts(load(root)) == [3, 3]
    (root / "train/dog/gone.png").symlink_to("nowhere.png")
    with pytest.raises(ValueError, match=r"train/dog/gone.png is a link .* does not exist"):
        load(root)


@pytest.mark.parametrize("place", ["train/emu", "test", "train/dog/more"])
def test_a_dangling_class_or_split_is_not_lost_in_silence(tmp_path, load, place):
    root = fill(tmp_path / "pets", many({"cat": 4, "dog": 4}, "train/"))
    (root / place).symlink_to("nowhere")
    with pytest.raises(ValueError, match=rf"pets/{place} is a link .* does not exist"):
        load(root)


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("prefix", ["pets/", "a/b/", "pets/train/"])
def test_one_folder_around_all_is_entered(tmp_path, load, packed, prefix):
    members = many({"cat": 4, "dog": 8}, prefix) | {"__MACOSX/pets/._0.png": b"mac"}
    path = zipped(tmp_path / "p.zip", members) if packed else fill(tmp_path / "p", members)
    loaded = load(path)
    assert (loaded.class_names, counts(loaded)) == (("cat", "dog"), [3, 6])


def test_hidden_folders_are_never_a_class(tmp_path, load):
    members = many({"cat": 4, "dog": 4, ".ipynb_checkpoints": 2}, "train/")
    assert load(fill(tmp_path / "pets", members)).class_names == ("cat", "dog")


# ---- decoding


def decoded(content, **options):
    return decode(Encoded("x", content, 0), None, **options)


def saved(array_or_image, kind="PNG", **options):
    image = array_or_image
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_exif_orientation_is_applied(orientation, mode):
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    image = Image.fromarray(pixels).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = {
        1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1], 5: pixels.T,
        6: np.rot90(pixels, -1), 7: np.rot90(pixels.T, 2), 8: np.rot90(pixels),
    }[orientation]  # fmt: skip
    found = decoded(saved(image, exif=exif))
    assert np.array_equal(found[..., 0], upright)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB"])
def test_transparent_pixels_show_the_background(mode):
    options = {}
    if mode in ("RGBA", "LA"):
        opaque = np.array([[0, 255], [128, 255]], np.uint8)
        image = Image.fromarray(np.full((2, 2), 100, np.uint8)).convert(mode)
        image.putalpha(Image.fromarray(opaque))
        expected = [[255, 100], [round(100 * 128 / 255 + 255 * 127 / 255), 100]]
    else:
        image = Image.fromarray(np.array([[7, 100], [100, 100]], np.uint8))
        image = image.convert("RGB").quantize(4) if mode == "P" else image.convert(mode)
        clear = image.getpixel((0, 0))
        options["transparency"] = clear
        expected = [[255, 100], [100, 100]]
    found = decoded(saved(image, **options))
    assert np.abs(found[..., 0].astype(int) - expected).max() <= 1
    assert found.shape[-1] == (1 if mode in ("LA", "L") else 3)


def test_sixteen_bits_are_scaled_by_their_maximum_in_grey_as_in_colour(tmp_path):
    values = np.array([[0, 65535], [32768, 1000]], np.uint16)
    expected = np.round(values / 65535 * 255)
    assert np.abs(decoded(saved(values))[..., 0] - expected).max() <= 1
    assert np.abs(decoded(saved(values, "TIFF"))[..., 0] - expected).max() <= 1
    coloured = b"P6 2 2 65535\n" + np.repeat(values[..., None], 3, -1).astype(">u2").tobytes()
    grey = b"P5 2 2 65535\n" + values.astype(">u2").tobytes()
    assert np.abs(decoded(coloured) - decoded(grey).astype(int)).max() <= 1
    assert decoded(grey)[0, 1, 0] == 255


def test_twelve_bits_are_scaled_by_their_maximum():
    values = np.array([[0, 4095], [2048, 100]], np.uint16)
    expected = np.round(values / 4095 * 255)
    grey = b"P5 2 2 4095\n" + values.astype(">u2").tobytes()
    assert np.abs(decoded(grey)[..., 0] - expected).max() <= 1
    assert np.abs(decoded(twelve_bit_tiff(values))[..., 0] - expected).max() <= 1


def twelve_bit_tiff(values):
    """A little-endian TIFF with two pixels in three bytes, as microscopes write it."""
    packed = b"".join(
        bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in values.reshape(-1, 2).tolist()
    )
    height, width = values.shape
    tags = [(256, 4, width), (257, 4, height), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8),
            (277, 3, 1), (278, 4, height), (279, 4, len(packed))]  # fmt: skip
    entries = b"".join(
        tag.to_bytes(2, "little") + kind.to_bytes(2, "little") + (1).to_bytes(4, "little")
        + value.to_bytes(4, "little") for tag, kind, value in tags
    )  # fmt: skip
    header = b"II*\0" + (8 + len(packed)).to_bytes(4, "little")
    return header + packed + len(tags).to_bytes(2, "little") + entries + bytes(4)


def test_cmyk_becomes_rgb():
    found = decoded(saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"))
    assert np.array_equal(found[0, 0], (255, 0, 0))


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_a_depth_without_a_maximum_is_refused_by_name(kind):
    with pytest.raises(ValueError, match=r"cannot decode x: .*32-bit numbers without a largest"):
        decoded(saved(np.ones((4, 4), kind), "TIFF"))


# ---- sizes


def test_mixed_sizes_want_a_size_and_get_it(tmp_path, load):
    members = many({"cat": 4}) | many({"dog": 4}, size=(9, 12))
    root = fill(tmp_path / "pets", members)
    with pytest.raises(ValueError, match=r"is 6x6, .* is 9x12: give --config.data.image_size=N"):
        load(root)
    assert load(root, Reading(8, holdout=0.25)).image_shape == (8, 8, 3)


def test_an_image_is_cropped_or_stretched_and_the_cache_knows_which(tmp_path, load):
    """A wide image, dark to the left and right of a bright centre square."""
    pixels = np.zeros((8, 24, 3), np.uint8)
    pixels[:, 8:16] = 240
    pixels[0, 8] = 0
    members = {f"{name}/{i}.png": saved(pixels) for name in ("a", "b") for i in range(2)}
    root = fill(tmp_path / "wide", members)
    cropped, stretched = (
        load(root, Reading(8, how, 0.5)).train_images.mean() for how in ("crop", "stretch")
    )
    assert cropped > 230 and stretched == pytest.approx(80, abs=12)
    assert load(root, Reading(4, "crop", 0.5)).image_shape == (4, 4, 3)


def test_sizes_are_for_own_data(load):
    with pytest.raises(ValueError, match=r"digits has its size and test set.*data.name=folder"):
        data.load("digits", reading=Reading(image_size=8))


# ---- names and splits


def test_numeric_names_sort_as_numbers_with_a_notice(tmp_path, load, said):
    names = [str(n) for n in range(12)]
    loaded = load(fill(tmp_path / "n", many(dict.fromkeys(names, 4))))
    assert loaded.class_names == tuple(names)
    assert "class names are numbers and are sorted as such" in said()
    images = {int(one[1, 1, 0]): int(label) for one, label in
              zip(loaded.train_images, loaded.train_labels, strict=True)}  # fmt: skip
    assert images == {10 * n + 20: n for n in range(12)}


@pytest.mark.parametrize("test", ["test", "val", "validation", "Test"])
def test_the_test_set_has_several_names(tmp_path, load, test):
    members = many({"cat": 4, "dog": 4}, "train/") | many({"cat": 1, "dog": 2}, f"{test}/")
    loaded = load(fill(tmp_path / "pets", members), Reading())
    assert (counts(loaded), counts(loaded, "test")) == ([4, 4], [1, 2])


def test_images_for_validation_beside_a_test_set_are_passed_over_and_counted(tmp_path, load, said):
    members = many({"cat": 4, "dog": 4}, "train/") | many({"cat": 1, "dog": 1}, "test/")
    root = fill(tmp_path / "pets", members | many({"cat": 3}, "val/"))
    assert counts(load(root, Reading()), "test") == [1, 1]
    assert "3 passed over: in val/, which is neither the training nor the test set" in said()


def test_held_out_images_are_stratified_seeded_and_in_the_facts(tmp_path, load, said):
    root = fill(tmp_path / "pets", many({"cat": 40, "dog": 11, "emu": 2, "fox": 1}))
    loaded = load(root, Reading(holdout=0.2))
    assert (counts(loaded), counts(loaded, "test")) == ([32, 9, 1, 1], [8, 2, 1, 0])
    assert loaded.facts == {"holdout": 0.2, "holdout_seed": 0}
    assert "no test image of class(es) fox" in said()
    again, other = (load(root, Reading(holdout=0.2, seed=seed)) for seed in (0, 1))
    assert np.array_equal(again.test_images, loaded.test_images)
    assert not np.array_equal(other.test_images, loaded.test_images)
    both = np.concatenate([loaded.train_images, loaded.test_images])
    assert len({one.tobytes() for one in both}) == 54


def test_a_holdout_beside_a_test_set_or_no_test_image_at_all_is_refused(tmp_path, load):
    root = fill(tmp_path / "pets", many({"cat": 4, "dog": 4}, "train/"))
    with pytest.raises(ValueError, match=r"has no test images: .*--config.data.holdout=0.2"):
        load(root, Reading())
    fill(root, many({"cat": 1}, "test/"))
    assert counts(load(root, Reading()), "test") == [1, 0]
    with pytest.raises(ValueError, match=r"has test images of its own, data.holdout=0.25"):
        load(root)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (many({"cat": 1, "dog": 1}, "test/"), r"has test/ but no train/"),
        (many({"cat/train": 1, "dog/train": 1}), r"has splits within its classes \(cat/train/\)"),
        ({"readme.md": b""}, r"no class folder <class>/ or train/<class>/"),
    ],
)
def test_other_layouts_are_refused_by_name(tmp_path, load, members, message):
    with pytest.raises(ValueError, match=message):
        load(fill(tmp_path / "pets", members))


# ---- class names in any bytes or script


def test_names_in_any_bytes_and_script_are_printable_classes(tmp_path, load):
    root = fill(tmp_path / "n", many({"日本": 4, "two\nlines": 4, "a$b_": 4}, "train/"))
    os.mkdir(os.fsencode(root / "train") + b"/caf\xe9")
    for number in range(4):
        path = os.fsencode(root / "train") + b"/caf\xe9/%d.png" % number
        with open(path, "wb") as file:
            file.write(picture((number, 3, 4)))
    loaded = load(root)
    assert set(loaded.class_names) == {"日本", r"two\nlines", "a$b_", r"caf\xe9"}
    assert all(name.isprintable() and name.encode() for name in loaded.class_names)
    assert counts(loaded) == [3, 3, 3, 3]


def test_composed_and_decomposed_names_are_one_class(tmp_path, load):
    one, other = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    root = fill(
        tmp_path / "n", many({one: 3, "x": 3}, "train/") | many({other: 1, "x": 1}, "test/")
    )
    loaded = load(root, Reading())
    assert loaded.class_names == ("x", one)
    assert (counts(loaded), counts(loaded, "test")) == ([3, 3], [1, 1])


# ---- arrays


def arrays(**changes):
    rng = np.random.default_rng(0)
    found = {
        "x_train": rng.integers(0, 256, (8, 5, 4, 3), np.uint8),
        "y_train": np.array([0, 1] * 4),
        "x_test": rng.integers(0, 256, (2, 5, 4, 3), np.uint8),
        "y_test": np.arange(2),
    } | changes
    return {name: value for name, value in found.items() if value is not None}


def npz(tmp_path, **changes):
    np.savez(tmp_path / "own.npz", **arrays(**changes))
    return tmp_path / "own.npz"


@pytest.mark.parametrize("kind", ["float32", "float64", "NCHW", "int64", "bool"])
def test_arrays_of_other_kinds_are_converted_and_that_is_said(tmp_path, load, said, kind):
    pixels = arrays()["x_train"]
    given, expected, words = {
        "float32": (np.float32(np.maximum(pixels - 0.4, 0) / 255), pixels, "[0, 1] are rounded"),
        "float64": (pixels / 255, pixels, "in [0, 1] are rounded"),
        "NCHW": (pixels.transpose(0, 3, 1, 2), pixels, "are taken as [n, ch, H, W]"),
        "int64": (pixels.astype(np.int64), pixels, "of int64 are taken as 0..255"),
        "bool": (pixels > 99, (pixels > 99) * 255, "False is black, True white"),
    }[kind]
    loaded = load(npz(tmp_path, x_train=given), Reading(), "npz")
    assert np.array_equal(loaded.train_images, expected) and loaded.train_images.dtype == np.uint8
    assert words in said()


def test_text_labels_and_class_names_are_understood(tmp_path, load, said):
    texts = {"y_train": np.array(["dog", "cat"] * 4), "y_test": np.array([b"cat", b"dog"])}
    loaded = load(npz(tmp_path, **texts), Reading(), "npz")
    assert loaded.class_names == ("cat", "dog") and loaded.train_labels.tolist() == [1, 0] * 4
    assert loaded.test_labels.tolist() == [0, 1]
    assert "text labels are numbered 0, 1, ... in the order ('cat', 'dog')" in said()
    named = load(npz(tmp_path, **texts, class_names=np.array(["dog", "cat"])), Reading(), "npz")
    assert named.class_names == ("dog", "cat") and named.train_labels.tolist() == [0, 1] * 4
    numbered = load(npz(tmp_path, class_names=np.array(["b", "a"])), Reading(), "npz")
    assert numbered.class_names == ("b", "a") and numbered.own


def test_a_text_label_that_is_no_class_is_refused(tmp_path, load):
    texts = {"y_train": np.array(["dog", "cat"] * 4), "y_test": np.array(["cow", "dog"])}
    with pytest.raises(ValueError, match=r"labels \['cow'\] are none of the classes"):
        load(npz(tmp_path, **texts), Reading(), "npz")


def test_arrays_without_a_test_set_hold_some_out(tmp_path, load):
    path = npz(tmp_path, x_test=None, y_test=None)
    with pytest.raises(ValueError, match=r"has no test images.*data.holdout=0.2"):
        load(path, Reading(), "npz")
    loaded = load(path, HELD, "npz")
    assert (counts(loaded), counts(loaded, "test")) == ([3, 3], [1, 1])
    with pytest.raises(ValueError, match="belong together"):
        load(npz(tmp_path, y_test=None), Reading(), "npz")


def test_sparse_drawings_are_no_bomb(tmp_path, load):
    drawings = np.zeros((1200, 250, 250), np.uint8)
    drawings[::2, 5, 5] = 255
    labels = np.arange(1200) % 3
    np.savez_compressed(tmp_path / "own.npz", x_train=drawings, y_train=labels)
    assert drawings.nbytes > 100 * (tmp_path / "own.npz").stat().st_size
    assert load(tmp_path / "own.npz", HELD, "npz").num_classes == 3


def test_labels_of_a_table_s_column_are_text(said):
    given = arrays()
    made = data.from_arrays(
        given["x_train"], np.array(["b", "a"] * 4, object), class_names=None, reading=HELD
    )
    assert made.class_names == ("a", "b")


def test_pixels_of_0_and_1_in_bytes_are_pointed_out(said):
    given = arrays()
    data.from_arrays(given["x_train"] % 2, given["y_train"], reading=HELD)
    assert "no pixel is above 1 of 255" in said()


def test_arrays_in_memory_pass_the_same_checks():
    given = arrays()
    made = data.from_arrays(
        given["x_train"] / 255, given["y_train"].tolist(), class_names=["a", "b"], reading=HELD
    )
    assert made.own and made.class_names == ("a", "b") and counts(made, "test") == [1, 1]
    with pytest.raises(ValueError, match="7 labels for 8 images"):
        data.from_arrays(given["x_train"], given["y_train"][:7], reading=HELD)


def test_all_broken_images_are_named_at_once(tmp_path):
    members = many({"a": 4, "b": 4}) | {"a/1.png": b"\x89PNG", "b/2.png": b"x", "b/3.png": b""}
    fill(tmp_path, members)
    with pytest.raises(ValueError, match="cannot decode") as refused:
        data.load("folder", data_dir=tmp_path, cache_dir=None, reading=HELD)
    said = str(refused.value)
    assert "2 more: " in said and all(f"{name}.png" in said for name in ("a/1", "b/2", "b/3"))
    assert "BytesIO" not in said and "not an image" in said
