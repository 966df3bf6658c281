"""Which training images each rule of `config.data` keeps."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types

import numpy as np
import pytest

from csdm_jax.data import longtail
from csdm_jax.data.dataset import Dataset

COUNTS = (30, 500, 7, 120)
NAMES = ("ant", "bee", "cat", "dog")


def dataset(counts=COUNTS, names=NAMES, own=True):
    """Images whose pixels are their position, in random order."""
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    labels = np.random.default_rng(0).permutation(labels)
    images = np.arange(len(labels), dtype=np.uint32).view(np.uint8).reshape(-1, 2, 2, 1)
    test = np.arange(len(counts), dtype=np.int32)
    return Dataset("own", images, labels, images[: len(test)], test, names, (0.5,), (0.2,), own=own)


def settings(**changes):
    fields = {"rule": "auto", "imbalance_factor": 100.0, "seed": 0, "head_first": "label"}
    return types.SimpleNamespace(**fields | {"counts": (), "indices_file": ""} | changes)


def build(data=None, **changes):
    return longtail.build(dataset() if data is None else data, settings(**changes))


@pytest.mark.parametrize("rule", ["auto", "none"])
def test_every_image_of_own_data_is_kept(rule):
    kept = build(rule=rule)
    assert kept.counts == COUNTS and sorted(kept.indices) == list(range(657))
    assert np.array_equal(dataset().train_labels[kept.indices], np.repeat(np.arange(4), COUNTS))
    described = kept.describe()
    assert (described["rule"], described["total"]) == ("none", 657)
    assert described["imbalance_factor"] == kept.own_factor == pytest.approx(500 / 7)


def test_a_benchmark_keeps_the_rule_of_ltdd():
    assert build(dataset((100, 100), ("a", "b"), own=False)).describe()["rule"] == "ltdd"


def test_a_factor_that_would_be_passed_over_is_refused():
    with pytest.raises(ValueError, match=r"imbalance_factor=10 has no say .*data.rule=seeded"):
        build(imbalance_factor=10.0)
    assert build(rule="none", imbalance_factor=10.0).counts == COUNTS


@pytest.mark.parametrize("given", [(30, 20, 7, 60), ("bee:20", "dog:60")])
def test_counts_are_given_by_position_or_name(given):
    kept = build(rule="counts", counts=given, seed=3)
    assert kept.counts == (30, 20, 7, 60) and len(set(kept.indices)) == 117
    assert np.array_equal(
        dataset().train_labels[kept.indices], np.repeat(np.arange(4), kept.counts)
    )
    assert kept.sha256 != build(rule="counts", counts=given, seed=4).sha256


def test_a_name_may_hold_the_sign_before_the_number():
    data = dataset((5, 5), ("a:b", "c"))
    assert build(data, rule="counts", counts=("a:b:2",)).counts == (2, 5)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ((30, 20, 7), "it must be 4 numbers, one a class, or 'name:number'"),
        ((30, "bee:20"), "it must be 4 numbers"),
        ((30, 20, 8, 60), "asks for 8 images of class 'cat', which has 7: .* from 1 to 7"),
        (("cow:3",), r"names \['cow'\], the classes are"),
        (("cat:3", "cat:4"), "names a class twice"),
    ],
)
def test_counts_that_do_not_fit_are_refused_by_name(counts, message):
    with pytest.raises(ValueError, match=message):
        build(rule="counts", counts=counts)


def listed(data, per_class):
    """Positions of the first images of each class, tail class first."""
    labels = data.train_labels
    return [np.flatnonzero(labels == c)[:n].tolist() for c, n in enumerate(per_class)][::-1]


@pytest.mark.parametrize("kind", ["txt", "npy", "json", "by class", "object", "named"])
def test_an_index_file_of_any_kind_is_read_and_checksummed(tmp_path, kind):
    lists = listed(dataset(), (3, 9, 2, 5))
    flat = [row for one in lists for row in one]
    path = tmp_path / f"kept.{kind if len(kind) < 5 else 'json'}"
    if kind == "txt":
        path.write_text(
            "# kept\n" + "\n".join(map(str, flat[:4])) + "\n" + ", ".join(map(str, flat[4:]))
        )
    elif kind == "npy":
        np.save(path, np.array(flat))
    else:
        json_value = {"json": flat, "by class": lists, "named": {"indices": flat}}
        json_value["object"] = dict(enumerate(lists))
        path.write_text(json.dumps(json_value[kind]))
    kept = build(rule="indices", indices_file=str(path))
    assert kept.counts == (3, 9, 2, 5) and set(kept.indices) == set(flat)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert kept.describe()["indices_file_sha256"] == digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 1 x", "cannot read positions .*it must list integers, from 0"),
        ("0 1.5", "cannot read positions"),
        ("", r"must list positions in 0..656.*got none"),
        ("0 657", r"must list positions in 0..656, .*got 0..657"),
        ("-1 5", r"must list positions in 0..656"),
        ("5 6 5", r"lists \[5\] more than once"),
        ("0", "keeps no image of class"),
    ],
)
def test_an_unfit_index_file_is_refused(tmp_path, text, message):
    (tmp_path / "kept.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        build(rule="indices", indices_file=str(tmp_path / "kept.txt"))


def test_an_index_file_of_another_kind_or_nowhere_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is no file"):
        build(rule="indices", indices_file=str(tmp_path / "kept.txt"))
    (tmp_path / "kept.csv").write_text("1")
    with pytest.raises(ValueError, match=r"must end in .txt, .npy, .json"):
        build(rule="indices", indices_file=str(tmp_path / "kept.csv"))
    np.save(tmp_path / "kept.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(ValueError, match="cannot read positions"):
        build(rule="indices", indices_file=str(tmp_path / "kept.npy"))


@pytest.mark.parametrize(
    "changes",
    [{"rule": "counts"}, {"counts": (1, 2)}, {"rule": "indices"}, {"indices_file": "kept.txt"}],
)
def test_a_setting_without_its_rule_and_a_rule_without_its_setting_are_refused(changes):
    with pytest.raises(ValueError, match=r"data.rule=\w+ goes with (no|a) data\.(counts|indices)"):
        build(**changes)


def test_one_class_alone_is_refused():
    with pytest.raises(ValueError, match="has the class 'a' alone"):
        build(dataset((5,), ("a",)))


SMALL_FIRST = dataset((9, 90, 30), ("few", "many", "some"))


@pytest.mark.parametrize("rule", ["seeded", "ltdd"])
def test_the_profile_runs_along_class_size(rule):
    kept = build(SMALL_FIRST, rule=rule, imbalance_factor=10.0, head_first="size")
    assert kept.counts == (9, 90, 28)  # floor(90 / 10^0), floor(90 / 10^0.5), floor(90 / 10)
    assert kept.describe()["head_first"] == "size"
    along_labels = build(SMALL_FIRST, rule=rule, imbalance_factor=1.0)
    assert along_labels.counts == (9, 9, 9) and "head_first" not in along_labels.describe()


def test_a_refused_factor_names_the_class_with_its_true_count():
    with pytest.raises(ValueError, match=(
        r"leaves class 'some' without images: class 'few' has 9, so the profile starts at 9: "
        "use at most 9, or data.head_first=size .*data.rule=none"
    )):  # fmt: skip
        build(SMALL_FIRST, rule="seeded", imbalance_factor=10.0)


@pytest.mark.parametrize("counts", [(48, 1, 24, 12, 4), (9, 90, 30), (2, 50, 3), (5, 5)])
def test_the_factor_that_a_refusal_recommends_is_the_largest_that_fits(counts):
    names = tuple("abcde"[: len(counts)])
    with pytest.raises(ValueError, match="use at most") as refused:
        build(dataset(counts, names), rule="seeded", imbalance_factor=1000.0)
    most = int(str(refused.value).partition("use at most ")[2].split(",")[0])
    for factor in range(1, 20):
        if factor <= most:
            build(dataset(counts, names), rule="seeded", imbalance_factor=float(factor))
        else:
            with pytest.raises(ValueError, match=f"use at most {most}"):
                build(dataset(counts, names), rule="seeded", imbalance_factor=float(factor))


def test_too_many_images_a_class_are_refused_by_name():
    with pytest.raises(ValueError, match=r"takes 8 distinct .*class 'cat' has 7"):
        longtail.check_ipc(COUNTS, 8, names=NAMES)


def test_nothing_is_left_for_tuning_where_all_is_kept():
    data = dataset()
    with pytest.raises(ValueError, match="uses all 657 training images"):
        longtail.tuning_split(data, build(data), 4)
    kept = build(data, rule="counts", counts=("bee:20",))
    tuning = longtail.tuning_split(data, kept, 50)
    assert np.bincount(tuning.test_labels, minlength=4).tolist() == [0, 50, 0, 0]


def test_the_factor_that_is_shown_is_the_data_s_own():
    assert longtail.factor_text(10.67, 10.0) == "imbalance factor 10.67 (10 asked)"
    assert longtail.factor_text(100.0, 100.0) == "imbalance factor 100"
    assert longtail.factor_text(71.43, 71.43) == "imbalance factor 71.43"


def test_existing_rules_say_what_they_said():
    """Hashes of data identities, and with them committed cards and kept networks, stay valid."""
    kept = build(
        dataclasses.replace(dataset((20, 20), ("a", "b"))), rule="ltdd", imbalance_factor=4
    )
    fields = {"rule", "imbalance_factor", "seed", "counts", "total", "sha256"}
    assert set(kept.describe()) == fields
