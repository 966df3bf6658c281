import io
import zipfile

import numpy as np
import pytest

from csdm_jax.storage import npz
from csdm_jax.storage.npz import read_npz


def member(path, name, content):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}.npy", content)


def header(shape, dtype="<f4"):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()


def test_arrays_come_back(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.arange(3), b=np.eye(2))
    arrays = read_npz(tmp_path / "x.npz", ("a",))
    np.testing.assert_array_equal(arrays["a"], np.arange(3))
    assert list(arrays) == ["a"]


class Bomb:
    """Would run code when unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def test_python_objects_are_refused_without_running_them(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.array([Bomb()], dtype=object))
    with pytest.raises(ValueError, match=r"a\.npy holds Python objects, which could run code"):
        read_npz(tmp_path / "x.npz", ("a",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header((10**12,)), "claims .*1000000000000.* but holds 0 bytes"),
        (header((3,)) + bytes(8), r"claims \(3,\) of float32, but holds 8 bytes"),
        (b"not an array", "magic"),
        (b"", "cannot read"),
    ],
    ids=["huge", "short", "text", "empty"],
)
def test_an_array_that_is_not_what_it_claims_is_refused(tmp_path, content, message):
    member(tmp_path / "x.npz", "a", content)
    with pytest.raises(ValueError, match=message):
        read_npz(tmp_path / "x.npz", ("a",))


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "SHARE", 2**-20)
    size = 80 * 2**20
    member(tmp_path / "x.npz", "a", header((size,), "|u1") + bytes(size))
    with pytest.raises(ValueError, match="looks like a decompression bomb"):
        read_npz(tmp_path / "x.npz", ("a",))


def test_drawings_that_fit_in_memory_are_no_bomb(tmp_path):
    size = 80 * 2**20
    member(tmp_path / "x.npz", "a", header((size,), "|u1") + bytes(size))
    assert (tmp_path / "x.npz").stat().st_size < size / 500
    assert read_npz(tmp_path / "x.npz", ("a",))["a"].shape == (size,)


def test_an_optional_array_may_be_missing(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.arange(3), c=np.eye(2))
    assert list(read_npz(tmp_path / "x.npz", ("a",), ("b", "c"))) == ["a", "c"]


@pytest.mark.parametrize("cut", [0, 10, 100])
def test_a_truncated_file_is_refused(tmp_path, cut):
    np.savez(tmp_path / "x.npz", a=np.arange(100))
    content = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x.npz").write_bytes(content[:cut])
    with pytest.raises(ValueError, match="it is not an"):
        read_npz(tmp_path / "x.npz", ("a",))


def test_a_flipped_bit_in_the_data_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.arange(1000))
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[len(content) // 2] ^= 4
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(ValueError, match="cannot read"):
        read_npz(tmp_path / "x.npz", ("a",))
