"""A NumPy archive with the arrays x_train and y_train, x_test and y_test, class_names."""

from __future__ import annotations

from pathlib import Path

from csdm_jax.data.arrays import from_arrays
from csdm_jax.data.dataset import Dataset
from csdm_jax.data.reading import AS_IT_IS, Reading
from csdm_jax.runtime.text import printable
from csdm_jax.storage.npz import read_npz

ARRAYS = ("x_train", "y_train")
OPTIONAL = ("x_test", "y_test", "class_names")


def load(data_dir: Path | None, cache_dir: Path | None, reading: Reading = AS_IT_IS) -> Dataset:
    """Reads the archive; nothing in it is unpickled, and nothing is cached.

    Args:
      data_dir: the .npz file, its arrays as `from_arrays` takes them. `x_test` and `y_test` may be
        missing where images are held out, `class_names` always.
      cache_dir: unused, the arrays need no decoding.
      reading: what is held out where there is no test set.

    Raises:
      ValueError: for a missing or damaged file, a missing array, pickled objects, or as
        `from_arrays`.
    """
    if data_dir is None or not data_dir.is_file():
        raise ValueError(
            f"data set 'npz' needs data_dir to be an .npz file, got {data_dir}: write one with "
            f"np.savez(path, {', '.join(f'{a}=...' for a in (*ARRAYS, *OPTIONAL))})"
        )
    found = read_npz(data_dir, ARRAYS, OPTIONAL)
    names = found.get("class_names")
    return from_arrays(
        found["x_train"],
        found["y_train"],
        found.get("x_test"),
        found.get("y_test"),
        class_names=None if names is None else names.tolist(),
        name=printable(data_dir.stem),
        reading=reading,
    )
