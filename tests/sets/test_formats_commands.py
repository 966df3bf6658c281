"""The commands that export and import, and the documented loaders of what they write."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from csdm_jax import export, import_set
from csdm_jax.sets import distilled
from csdm_jax.sets.formats import FORMATS
from tests.sets.formats_examples import CARD, NAMES, example, run_folder

PAGE = (Path(__file__).parent.parent.parent / "docs" / "how-to" / "exports.md").read_text()
LOADERS = {
    ("pytorch" if "torch" in code else "jax"): code
    for code in re.findall(r"```python notest\n(.*?)```", PAGE, flags=re.S)
    if "safetensors" in code
}


def test_export_and_import_by_command(tmp_path, capsys):
    run = run_folder(tmp_path / "run", mosaic=True)
    export.main([str(run), "--format=safetensors", f"--out={tmp_path / 'out'}"])
    said = capsys.readouterr().out
    assert said == f"{tmp_path / 'out'}: safetensors, NHWC, class-major, unit, decoded\n"
    import_set.main([str(tmp_path / "out"), "--format=safetensors", f"--out={tmp_path / 'in'}"])
    assert capsys.readouterr().out == f"{tmp_path / 'in'}: 24 images, 3 classes\n"
    images, labels = distilled.load(tmp_path / "in")[0].training_data()
    expected, expected_labels = example(mosaic=True).training_data()
    np.testing.assert_allclose(images, expected, atol=1e-6)
    np.testing.assert_array_equal(labels, expected_labels)


def test_import_by_command_of_what_has_no_card(tmp_path, capsys):
    generator = np.random.default_rng(1)
    images = generator.uniform(0, 255, (3, 8, 6, 3)).astype(np.uint8)
    np.savez(tmp_path / "theirs.npz", images=images, labels=np.array([2, 1, 0]))
    flags = [f"--like={run_folder(tmp_path / 'run')}", "--space=uint8", f"--out={tmp_path / 'in'}"]
    import_set.main([str(tmp_path / "theirs.npz"), "--format=npz", *flags])
    assert "note: the images were put in class-major order\n" in capsys.readouterr().out
    result, card = distilled.load(tmp_path / "in")
    np.testing.assert_allclose(result.images, images[::-1] / 255, atol=1e-6)
    assert (card["class_names"], card["mean"]) == (NAMES, CARD["mean"])


@pytest.mark.parametrize("option", ["--mean=0.1,0.1,0.1 --std=1,1,1", "--num_classes=4"])
def test_flags_that_contradict_the_run(tmp_path, option):
    run = run_folder(tmp_path / "run")
    flags = [str(run), "--format=npz", f"--like={run}", f"--out={tmp_path / 'in'}"]
    with pytest.raises(SystemExit, match=r"error: the run .* says (mean|num_classes) .*, you say"):
        import_set.main([*flags, *option.split()])


def test_errors_end_the_commands_with_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit, match="error: no distilled set in"):
        export.main([str(tmp_path), "--format=npz", f"--out={tmp_path / 'out'}"])
    with pytest.raises(SystemExit, match=r"error: .*absent does not exist"):
        import_set.main([str(tmp_path / "absent"), "--format=npz", f"--out={tmp_path / 'out'}"])
    with pytest.raises(SystemExit):
        export.main([str(tmp_path), "--format=hdf5", f"--out={tmp_path / 'out'}"])
    assert "invalid choice: 'hdf5'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("framework", ["jax", "pytorch"])
def test_the_documented_loader_runs(tmp_path, framework):
    if framework == "pytorch":
        pytest.importorskip("torch")
    images = np.random.default_rng(0).uniform(size=(20, 8, 8, 1)).astype(np.float32)
    labels = np.repeat(np.arange(10, dtype=np.int32), 2)
    card = {"mean": [0.3], "std": [0.4]}
    stored = distilled.DistilledSet(images, labels, "pixels", 1, 10)
    distilled.save(tmp_path / "run", stored, card)
    export.export_set(tmp_path / "run", "safetensors", tmp_path / "shared")
    code = LOADERS[framework]
    assert len([line for line in code.splitlines() if line]) <= 10
    axis = 1 if framework == "pytorch" else 3
    check = f"import numpy; print(float(images.mean()), images.shape[{axis}], labels.shape)"
    program = [sys.executable, "-W", "error", "-c", f"{code}\n{check}"]
    run = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0 and not run.stderr, run.stderr
    mean, channels = run.stdout.splitlines()[-1].split()[:2]
    assert float(mean) == pytest.approx((images.mean() - 0.3) / 0.4, abs=1e-5)
    assert channels == "1"


def test_the_page_names_every_format():
    for name, form in FORMATS.items():
        (row,) = re.findall(rf"^\| `{name}` \|.*$", PAGE, flags=re.M)
        assert ("NCHW" in row) == (form.layout == "NCHW")
        assert ("normalised" in row) == (form.space in ("normalised", None))
        assert ("uint8" in row) == (form.space == "uint8")
        assert ("logits" in row, "probabilities" in row) == (
            form.soft == "logits",
            form.soft == "probabilities",
        )
        assert ("mosaics as stored" in row) == (form.mosaics or form.ours)
