import numpy as np

from csdm_jax.sets import snapshots
from csdm_jax.sets.distilled import DistilledSet
from csdm_jax.sets.snapshots import PIXELS, Snapshots, taken


def a_set(classes, per_class, side):
    """Images that are their own number, in 1/255."""
    numbers = np.arange(classes * per_class, dtype=np.float32)[:, None, None, None]
    images = np.broadcast_to(numbers / 255, (len(numbers), side, side, 3))
    labels = np.repeat(np.arange(classes, dtype=np.int32), per_class)
    return DistilledSet(images, labels, "pixels", 1, classes)


def test_looks_are_at_zero_and_the_powers_of_two():
    kept = Snapshots(None, (1,), every=50)
    due = [step for step in range(1000) if kept.due(step)]
    assert due == [0, 50, 100, 200, 400, 800]
    assert sum(Snapshots(None, (1,), every=1).due(step) for step in range(10_000)) == 15


def test_images_are_those_of_their_class_from_head_to_tail():
    found = taken(5, a_set(3, 4, 8), (7, 500, 30))
    assert found.step == 5 and found.images.dtype == np.uint8
    np.testing.assert_array_equal(found.labels, np.repeat([1, 2, 0], 4))
    numbers = [*range(4, 8), *range(8, 12), *range(4)]
    np.testing.assert_array_equal(found.images[:, 0, 0, 0], numbers)


def test_their_size_is_bounded_for_any_set():
    for classes, per_class, side in ((100, 2, 8), (3, 50, 32), (12, 2, 128), (2, 2, 512)):
        found = taken(0, a_set(classes, per_class, side), tuple(range(classes, 0, -1)))
        height, width = found.images.shape[1:3]
        assert len(found.images) * height * width <= max(PIXELS, side * side)
        assert len(set(found.labels.tolist())) <= snapshots.CLASSES


def test_later_ones_are_removed_and_damaged_ones_set_aside(tmp_path):
    kept = Snapshots(tmp_path / snapshots.FOLDER, (2, 1), every=1)
    for step in (0, 1, 2, 4):
        kept.write(step, a_set(2, 1, 8))
    kept.rewind(2)
    (tmp_path / snapshots.FOLDER / "00000001.npz").write_bytes(b"PK")
    (tmp_path / snapshots.FOLDER / "00000000 (copy).npz").write_bytes(b"PK")
    assert [one.step for one in snapshots.read(tmp_path, 3)] == [0, 2]
    assert [one.step for one in snapshots.read(tmp_path, 2)] == [0]
    names = sorted(path.name for path in (tmp_path / snapshots.FOLDER).iterdir())
    assert names == [
        "00000000 (copy).npz",
        "00000000.npz",
        "00000001.npz.damaged-0",
        "00000002.npz",
    ]
    assert snapshots.read(tmp_path / "older", 9) == []
