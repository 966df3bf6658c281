import json
import os
import stat

import pytest

from csdm_jax.storage import files


def test_a_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "file"
    files.write_bytes(path, b"before")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_bytes(path, b"after, which is longer")
    assert path.read_bytes() == b"before"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_sealed_json_reads_back(tmp_path):
    files.write_sealed_json(tmp_path / "x.json", {"a": (1, 2), "b": {"c": 0.1}})
    assert files.read_sealed_json(tmp_path / "x.json") == {"a": [1, 2], "b": {"c": 0.1}}


def test_sealed_json_notices_every_flipped_bit(tmp_path):
    path = tmp_path / "x.json"
    files.write_sealed_json(path, {"accuracy": 43.25, "names": ["cat"]})
    content = path.read_bytes()
    meaning = json.loads(content)
    for place in range(8 * len(content)):
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            files.read_sealed_json(path)
        except files.DamagedError:
            continue
        assert json.loads(changed) == meaning  # white space only


@pytest.mark.parametrize("content", [b"", b"[1]", b"{}", b"\xff", b"null"], ids=repr)
def test_what_is_not_sealed_json_is_damaged(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(files.DamagedError, match=r"x\.json"):
        files.read_sealed_json(tmp_path / "x.json")


def test_sealed_bytes_notice_damage_of_every_kind(tmp_path):
    path = tmp_path / "x"
    files.write_sealed_bytes(path, b"weights")
    assert files.read_sealed_bytes(path) == b"weights"
    content = path.read_bytes()
    for damaged in (b"", content[:-1], content[1:], b"W" + content[1:], content + b"x"):
        path.write_bytes(damaged)
        with pytest.raises(files.DamagedError, match="SHA-256 disagrees"):
            files.read_sealed_bytes(path)


def test_setting_aside_never_overwrites(tmp_path):
    for content in ("one", "two"):
        (tmp_path / "x").write_text(content)
        files.set_aside(tmp_path / "x", "because")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        "x.damaged-0": "one",
        "x.damaged-1": "two",
    }


def test_modes_are_the_users(tmp_path):
    files.write_bytes(tmp_path / "x", b"")
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o666 & ~umask
