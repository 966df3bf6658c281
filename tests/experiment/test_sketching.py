"""Sketches: their sums, files of them, and sets that are distilled from them without an image."""

import dataclasses
import re
import shlex
import subprocess
import sys

import flax.serialization
import jax
import numpy as np
import pytest

import csdm_jax
from csdm_jax import metric
from csdm_jax.data import digits
from csdm_jax.distillation import methods
from csdm_jax.distillation.methods import base
from csdm_jax.distillation.methods.matching import dm
from csdm_jax.experiment import sketching, stages
from csdm_jax.experiment.experiment import Experiment
from csdm_jax.experiment.sketch_files import SketchFile
from csdm_jax.metric.ragged import Ragged
from csdm_jax.scoring import scored
from csdm_jax.sets import distilled
from csdm_jax.sets.formats.facts import Facts
from csdm_jax.storage import files
from csdm_jax.training import extractors
from tests.commands import run_all
from tests.experiment.test_families import small
from tests.problem import tiny_dataset
from tests.test_house import PACKAGE, imported
from tests.test_readme_commands import BLOCK

VIEWS = 3
PLAIN = {
    "distill.views": VIEWS,
    "distill.loss_scale": 100.0,
    "distill.augmentation": "none",
    "network.depth": 1,
    "network.width": 4,
    "extractors.epochs": 1,
    "distill.steps": 4,
    "data.imbalance_factor": 5.0,
    "sdd.num_frequencies": 8,
    "sdd.scale": 2.0,
}


def settings(method="csdm", **fields):
    return small(method, **(PLAIN | fields))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of extractors, and of the sketches that `written` has made."""
    return tmp_path_factory.mktemp("sketches")


@pytest.fixture(scope="module")
def written(folder):
    """Writes, or finds, a file of sketches of the tiny problem."""

    def write(method="csdm", part=(1, 1), **fields):
        name = f"{method}-{part[0]}-{part[1]}-{sorted(fields.items())}.npz".replace("/", " ")
        if not (folder / name).exists():
            config = settings(method, **fields)
            sketching.write(
                config, folder / "work", folder / name, part=part, dataset=tiny_dataset()
            )
        return folder / name

    return write


def without_images(file, method="csdm", **fields):
    """A configuration under which there are sketches alone."""
    nowhere = {"data.name": "npz", "data.data_dir": "/nowhere/images.npz"}
    given = {"distill.sketches": str(file), "distill.initialisation": "noise"}
    return settings(method, **(nowhere | given | fields))


def images_of(config, workdir, dataset=None):
    stages.run(config, workdir, stage="distill", dataset=dataset)
    return distilled.load(workdir)[0].images


def unit_features(folder, key):
    """Of the tiny long-tailed set, under the network that a view's key draws; float64."""
    experiment = Experiment(settings(), folder / "work", dataset=tiny_dataset())
    params, _ = extractors.draw(experiment.supplies.pool, jax.random.split(key, 4)[0])
    host = experiment.host
    pixels = (host.take(np.arange(len(host))) / 255.0 - 0.4) / 0.25
    found = np.asarray(experiment.network.apply(params, np.float32(pixels))[1], np.float64)
    return found / np.linalg.norm(found, axis=1, keepdims=True), np.asarray(host.labels)


@pytest.mark.parametrize(
    ("method", "part"), [("csdm", (1, 1)), ("ncfm", (2, 3)), ("dm", (2, 3))], ids=str
)
def test_a_file_holds_sums_over_the_images_of_its_part(method, part, written, folder):
    file = SketchFile.read(written(method, part))
    assert file.key_data.shape == (VIEWS, 2)
    for view, data in enumerate(file.key_data):
        key = jax.random.wrap_key_data(data)
        rows, labels = unit_features(folder, key)
        kernel = metric.RBF({"csdm": 2.0, "ncfm": 1.0, "dm": 1.0}[method])
        drawn = metric.sample_frequencies(jax.random.split(key, 4)[3], kernel, 8, rows.shape[1])
        for label in range(3):
            own = rows[labels == label][part[0] - 1 :: part[1]]
            phases = own @ np.asarray(drawn, np.float64).T
            expected = {"weight": len(own), "squares": len(own), "features": own.sum(0)}
            expected |= {"cosine": np.cos(phases).sum(0), "sine": np.sin(phases).sum(0)}
            for name, array in file.sums.items():
                np.testing.assert_allclose(array[view, label], expected[name], atol=1e-4)
    assert file.counts == tuple(file.sums["weight"][0])
    names = {"features", "weight"} if method == "dm" else {"cosine", "sine", "weight", "squares"}
    assert set(file.sums) == names


def test_merged_parts_give_the_set_of_views_of_whole_classes(written, folder, tmp_path):
    both = sketching.merge([written(part=(k, 2)) for k in (2, 1)], tmp_path / "both.npz")
    whole = SketchFile.read(written())
    assert both.counts == whole.counts and sum(both.counts) == 65
    for name, array in both.sums.items():
        np.testing.assert_allclose(array, whole.sums[name], rtol=1e-5, atol=1e-5)
    steps = {"distill.steps": 7}
    made = images_of(without_images(tmp_path / "both.npz", **steps), tmp_path / "made")
    here = {"distill.initialisation": "noise", "distill.view_uses": 1000, "distill.batch": 1000}
    here |= {"extractors.pool_dir": str(folder / "work" / "extractors")}
    config = settings(**(here | steps))
    expected = images_of(config, tmp_path / "expected", tiny_dataset())
    np.testing.assert_allclose(made, expected, atol=1e-5)
    assert made.min() >= 0 and made.max() <= 1


def test_a_view_for_dm_has_the_means_of_the_sums(written):
    file = SketchFile.read(written("dm", (2, 3)))
    real, _ = file.sketches().view(4)
    expected = file.sums["features"][1] / file.sums["weight"][1][:, None]
    np.testing.assert_allclose(real.sample.means(), expected, rtol=1e-6)
    loss, parts = dm.linear_mmd(real.sample, Ragged(2 * expected, (1,) * 3), jax.random.key(0))
    norms = np.sum(expected.astype(np.float64) ** 2, axis=1)
    np.testing.assert_allclose(parts["distance"], norms, rtol=1e-5)
    assert float(loss) == pytest.approx(norms.sum(), rel=1e-5)


def test_a_loss_scale_is_settled_on_the_views_of_the_file(written, tmp_path):
    method = Experiment(without_images(written()), tmp_path).loop("csdm").method._method
    file, key = SketchFile.read(written()), jax.random.key(0)
    for number in range(4):
        real, own = method._real_of(number, key, method._draw)
        np.testing.assert_array_equal(real.sample.cosine, file.sums["cosine"][number % VIEWS])
        np.testing.assert_array_equal(jax.random.key_data(own), file.key_data[number % VIEWS])


def test_what_the_method_settles_by_the_images_is_in_the_file(
    written, folder, tmp_path, monkeypatch
):
    kind = methods.kind("csdm")
    settled = dataclasses.replace(kind, settle=lambda *given: {"sdd.scale": 2.0})
    with monkeypatch.context() as patched:
        patched.setitem(methods.METHODS, "csdm", settled)
        config = settings(**{"sdd.scale": 0.0})
        sketching.write(config, folder / "work", tmp_path / "f.npz", dataset=tiny_dataset())
    for name, array in SketchFile.read(written()).sums.items():
        np.testing.assert_array_equal(array, SketchFile.read(tmp_path / "f.npz").sums[name])
    there = Experiment(without_images(tmp_path / "f.npz", **{"sdd.scale": 0.0}), tmp_path)
    assert there.settled("csdm") == {"sdd.scale": 2.0}


def test_other_images_serve_for_the_start_alone(written, tmp_path):
    other = dataclasses.replace(tiny_dataset(), mean=(0.1,) * 3, name="other")
    other = dataclasses.replace(other, train_images=255 - other.train_images)
    config = settings(**{"distill.sketches": str(written())})
    experiment = Experiment(config, tmp_path, dataset=other)
    context = experiment.context
    assert context.counts == SketchFile.read(written()).counts == (40, 17, 8)
    assert experiment.normaliser.mean == (0.4,) * 3 and len(experiment.host) == 0
    first = base.initial_images(context, 2, jax.random.key(0))["images"] * 255
    chosen = np.rint(first).astype(np.uint8)
    for label in range(3):
        own = other.train_images[other.train_labels == label]
        for image in chosen[2 * label : 2 * label + 2]:
            assert (own == image).all((1, 2, 3)).any()
    before = Experiment(config, tmp_path, dataset=tiny_dataset())
    assert before.identity("csdm", 0) != experiment.identity("csdm", 0)
    wrong = dataclasses.replace(other, class_names=("a", "b", "c"))
    with pytest.raises(ValueError, match=r"images of other for the start \('a', 'b', 'c'\): give"):
        Experiment(config, tmp_path, dataset=wrong)


def test_other_images_are_sketched_alike_and_merged(written, tmp_path):
    """A second site has images of its own, the first site's file, and trains nothing."""
    other = dataclasses.replace(tiny_dataset(), mean=(0.1,) * 3)
    other = dataclasses.replace(other, train_images=255 - other.train_images)
    there = {"like": written(), "dataset": other}
    file = sketching.write(settings(), tmp_path / "work", tmp_path / "b.npz", **there)
    assert not (tmp_path / "work" / "extractors").exists()
    both = sketching.merge([written(), tmp_path / "b.npz"], tmp_path / "both.npz")
    assert both.counts == (80, 34, 16) and file.facts["mean"] == [0.4] * 3
    for name, array in both.sums.items():
        np.testing.assert_array_equal(
            array, SketchFile.read(written()).sums[name] + file.sums[name]
        )
    with pytest.raises(ValueError, match=r"made with sdd\.scale = 2\.0, the configuration has"):
        changed = settings(**{"sdd.scale": 3.0})
        sketching.write(changed, tmp_path / "work", tmp_path / "c.npz", **there)


@pytest.mark.parametrize(
    ("method", "fields", "said"),
    [
        ("csdm", {"sdd.estimator": "exact"}, "features of single images, which is no sketch"),
        ("mmd", {}, "features of single images, which is no sketch"),
        ("random", {}, "the method 'random' reads images: choose csdm, dm or ncfm"),
    ],
)
def test_what_keeps_more_than_sums_is_refused_before_anything_is_trained(
    method, fields, said, tmp_path
):
    config = settings(method, **fields)
    with pytest.raises(ValueError, match=said):
        sketching.write(config, tmp_path / "w", tmp_path / "f.npz", dataset=tiny_dataset())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def changed_file(written, folder, **fields):
    """The second half of the data, with other content."""
    file = dataclasses.replace(SketchFile.read(written(part=(2, 2))), **fields)
    file.write(folder / "changed.npz")
    return folder / "changed.npz"


def test_files_that_do_not_belong_together_are_not_merged(written, tmp_path):
    first, out = written(part=(1, 2)), tmp_path / "out.npz"
    second = SketchFile.read(written(part=(2, 2)))
    pool = flax.serialization.msgpack_restore(second.weights)
    others = flax.serialization.msgpack_serialize(pool | {"initial": pool["trained"]})
    for said, path in (
        ("they have other extractors: make the second with --like=", {"weights": others}),
        ("their views were drawn by other keys: give", {"key_data": second.key_data + 1}),
        ("their mean differ", {"facts": second.facts | {"mean": [0.5] * 3}}),
        (
            r"their fields differ \(sdd.scale = 2.0; sdd.scale = 3.0\)",
            {"facts": second.facts | {"fields": second.facts["fields"] | {"sdd.scale": 3.0}}},
        ),
    ):
        with pytest.raises(ValueError, match=said):
            sketching.merge([first, changed_file(written, tmp_path, **path)], out)
    for path in (first, written()):
        with pytest.raises(ValueError, match="they have images in common: merge disjoint parts"):
            sketching.merge([first, path], out)
    with pytest.raises(ValueError, match="method differ"):
        sketching.merge([first, written("dm", (2, 3))], out)
    with pytest.raises(ValueError, match="takes two files or more, got 1"):
        sketching.merge([first], out)
    assert not out.exists()
    out.touch()
    with pytest.raises(FileExistsError, match="exists: give another --out"):
        sketching.merge([first, written(part=(2, 2))], out)


def test_a_file_that_was_changed_is_refused(written, tmp_path):
    content = bytearray(written().read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "f.npz").write_bytes(content)
    with pytest.raises(files.DamagedError, match=r"f\.npz was changed after it was written"):
        Experiment(without_images(tmp_path / "f.npz"), tmp_path)
    assert np.load(written())["weight"].shape == (VIEWS, 3)  # any reader of .npz reads it


@pytest.mark.parametrize(
    ("method", "fields", "said"),
    [
        ("dm", {}, "holds sketches for the method 'csdm', not for 'dm': give --config.method"),
        ("csdm", {"baselines": ("random",)}, "not for 'random'"),
        ("csdm", {"sdd.scale": 3.0}, "made with sdd.scale = 2.0, the configuration has sdd.sc"),
        ("csdm", {"network.width": 8}, "made with network.width = 4, the configuration has"),
        ("csdm", {"distill.augmentation": "crop"}, "made with distill.augmentation = 'none'"),
        ("csdm", {"distill.classes_per_step": 2}, "sketches serve all classes in a step, give 0"),
        ("csdm", {"distill.initialisation": "noises"}, "initialisation = 'noises': it must be one"),
        ("csdm", {"distill.parameterisation": "fred"}, "'fred' is fitted to real images, and a"),
    ],
)
def test_a_configuration_that_does_not_fit_the_file_is_refused(
    method, fields, said, written, tmp_path
):
    with pytest.raises(ValueError, match=said):
        Experiment(without_images(written(), method, **fields), tmp_path)


def test_a_part_may_lack_a_class_but_no_set_comes_from_it(written, tmp_path):
    part = written("dm", (9, 10))
    file = SketchFile.read(part)
    assert file.counts == (4, 1, 0) and not file.sums["features"][:, 2].any()
    with pytest.raises(ValueError, match="no image of class 'blue': merge a part that has some"):
        Experiment(without_images(part, "dm"), tmp_path)


@pytest.mark.parametrize("stage", ["all", "evaluate", "report"])
def test_what_needs_images_says_how_the_set_is_scored(stage, written, tmp_path):
    said = "has no images to .*give --stage=distill here, and where images are: python -m csdm_jax"
    with pytest.raises(ValueError, match=said):
        stages.run(without_images(written()), tmp_path, stage=stage)


def test_a_file_whose_keys_draw_something_else_here_is_refused(written, tmp_path):
    facts = SketchFile.read(written(part=(2, 2))).facts
    part = changed_file(written, tmp_path, facts=facts | {"drawn": [0.5] * 4})
    with pytest.raises(ValueError, match=r"other random numbers \(JAX .*\): take that version, or"):
        Experiment(without_images(part), tmp_path)


SMALL = (
    "--config.network.width=4",
    "--config.network.depth=1",
    "--config.extractors.count=1",
    "--config.extractors.epochs=1",
    "--config.distill.seeds=(0,)",
    "--config.distill.steps=2",
    "--config.distill.loss_scale=1",
    "--config.distill.augmentation=none",
    "--config.extractors.augmentation=none",
    "--config.method=dm",
)
PAGE = PACKAGE.parent / "docs" / "how-to" / "sketches.md"


def test_the_commands_of_the_page_run_one_after_the_other(tmp_path):
    """As on the page, but for folders, and for sizes that are given behind them."""
    lines = "\n".join(BLOCK.findall(PAGE.read_text())).replace("\\\n", "").splitlines()
    commands = []
    for line in filter(None, lines):
        python, option, module, *rest = shlex.split(line.replace("views=100", "views=2"))
        assert (python, option) == ("python", "-m")
        rest = [re.sub(r"\b(\w+\.npz|runs/)", rf"{tmp_path}/\1", one) for one in rest]
        if "--merge" not in rest:
            rest += [*SMALL, f"--workdir={tmp_path}/{'work' if 'sketch' in module else 'set'}"]
        commands.append((module, *rest))
    done = run_all(tmp_path, commands)
    assert len(done) == 4
    for one in done:
        assert one.returncode == 0, one.stderr
    assert "2 views of 519 images in 10 classes (12 to 128), for dm" in done[2].stdout
    found = scored.read(tmp_path / "set", digits.load(None, None), Facts())  # what `score` reads
    assert found.images.shape == (20, 8, 8, 1)


PROGRAM = """
import csdm_jax
from csdm_jax import cli
try:
    cli.main(["sketch", "--out=out.npz", "--merge", "none.npz"])
except SystemExit as end:
    print(end.code)
assert csdm_jax.sketch is csdm_jax.metric.sketch
"""


def test_the_command_leaves_the_function_of_its_name_alone():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.stdout == "error: --merge takes two files or more, got 1: name them\n", done.stderr
    assert done.returncode == 0, done.stderr
    assert csdm_jax.sketch is metric.sketch
    for path in PACKAGE.rglob("*.py"):
        assert "csdm_jax.sketch" not in imported(path), path
