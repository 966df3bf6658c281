"""The format of a set, from its card, the names of its files, or what is in them."""

import numpy as np
import pytest

from csdm_jax.sets import distilled
from csdm_jax.sets.exporting import export_set
from csdm_jax.sets.formats import FORMATS
from csdm_jax.sets.formats.guess import guess
from tests.sets.formats_examples import run_folder


def exported(tmp_path, name):
    if name in ("ddranking", "ncfm", "dcbench", "mtt"):
        pytest.importorskip("torch")
    export_set(run_folder(tmp_path / "run"), name, tmp_path / "out")
    return tmp_path / "out"


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_told_by_its_card_and_by_its_files(tmp_path, name):
    out = exported(tmp_path, name)
    assert guess(out) == name
    (out / "card.json").unlink()
    assert guess(out) == name


@pytest.mark.parametrize("name", ["npz", "safetensors", "ddranking", "mtt"])
def test_a_file_is_told_by_its_name(tmp_path, name):
    out = exported(tmp_path, name)
    (out / "card.json").unlink()
    for file in out.iterdir():
        assert guess(file) == name


@pytest.mark.parametrize("name", ["npz", "safetensors", "ncfm", "dcbench"])
def test_a_file_of_any_name_is_told_by_its_kind_or_content(tmp_path, name):
    (file,) = (path for path in exported(tmp_path, name).iterdir() if path.name != "card.json")
    assert guess(file.rename(tmp_path / f"theirs{file.suffix}")) == name


def test_a_run_is_ours(tmp_path):
    assert guess(run_folder(tmp_path / "run")) == "npz"


def test_files_of_two_formats_need_a_card_or_the_name_of_one(tmp_path):
    out = exported(tmp_path, "safetensors")
    np.savez(out / distilled.ARRAYS, images=0)
    assert guess(out) == "safetensors"
    (out / "card.json").unlink()
    with pytest.raises(
        ValueError, match=r"may be npz, safetensors by its files, .*: give .*--format"
    ):
        guess(out)


def test_other_files_need_a_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        guess(tmp_path / "absent")
    (tmp_path / "notes.txt").write_text("nothing")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(ValueError, match="is none of npz, safetensors, png, tfds"):
            guess(path)


def test_a_pt_file_of_neither_kind_says_why(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(torch.zeros(3), tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"not ncfm: .*the list.*; not dcbench: .*a dict"):
        guess(tmp_path / "x.pt")
