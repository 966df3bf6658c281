import hashlib

import pytest

from csdm_jax.storage import files
from csdm_jax.storage.journal import Journal


@pytest.fixture
def paths(tmp_path):
    return tmp_path / "metrics.jsonl", tmp_path / "saved" / "metrics.jsonl"


@pytest.fixture
def written(paths):
    """Two rows, a mark, a third row."""
    journal = Journal(*paths)
    journal.begin()
    journal.append("one\ntwo\n")
    mark = journal.mark()
    journal.append("three\n")
    return mark


def test_a_mark_is_length_and_hash_of_all_before_it(written):
    assert written == {"bytes": 8, "sha256": hashlib.sha256(b"one\ntwo\n").hexdigest()}


def test_a_mark_does_not_read_what_was_written(paths, written):
    journal = Journal(*paths)
    journal.rewind(written)
    for path in paths:
        path.write_bytes(b"other bytes")
    assert journal.mark() == written


def test_rewinding_cuts_off_exactly_what_came_after(paths, written):
    journal = Journal(*paths)
    journal.rewind(written)
    assert [path.read_bytes() for path in paths] == [b"one\ntwo\n"] * 2
    assert journal.mark() == written
    journal.append("3\n")
    assert journal.mark()["sha256"] == hashlib.sha256(b"one\ntwo\n3\n").hexdigest()


@pytest.mark.parametrize("content", [None, b"", b"one\n", b"One\ntwo\nthree\n"])
@pytest.mark.parametrize("number", [0, 1])
def test_what_is_damaged_in_one_place_comes_back_from_the_other(paths, written, number, content):
    paths[number].unlink() if content is None else paths[number].write_bytes(content)
    Journal(*paths).rewind(written)
    assert [path.read_bytes() for path in paths] == [b"one\ntwo\n"] * 2


def test_damage_in_both_places_is_noticed(paths, written):
    paths[0].write_bytes(b"one\ntwO\nthree\n")
    paths[1].write_bytes(b"one\n")
    with pytest.raises(files.DamagedError, match=r"metrics\.jsonl and its copy do not hold the 8"):
        Journal(*paths).rewind(written)
