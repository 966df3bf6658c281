"""The code of docs/python-api.md, one block after the other, at small settings."""

import re
from pathlib import Path

from tests.api.test_api import SMALL

PAGE = (Path(__file__).parent.parent.parent / "docs" / "python-api.md").read_text()


def test_the_blocks_of_the_page_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len(blocks) == 3
    for code in blocks:
        assert code.count('preset="cpu"') == 1
        small = code.replace("fields={", "fields={**SMALL, ")
        if small == code:
            small = code.replace('preset="cpu"', 'preset="cpu", fields=SMALL')
        exec(small, {"SMALL": SMALL})
    said = capsys.readouterr().out
    assert "(20, 8, 8, 1) (20,) csdm" in said
    assert "| convnet | 2 |" in said and "csdm - random, in points" in said
    assert (tmp_path / "digits.html").exists() and (tmp_path / "shared" / "train").is_dir()
