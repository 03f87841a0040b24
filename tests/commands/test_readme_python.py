"""README's Python example runs as it stands, on a folder of pictures."""

import re

import numpy as np
import pytest
from helpers import ROOT
from real_pictures import write_tiles


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    section = (ROOT / "README.md").read_text().split("## Your own pictures")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    pytest.importorskip("skimage")
    write_tiles(tmp_path, train=4, test=1)
    (tmp_path / "train").rename(tmp_path / "pictures")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CCLI_STORE", str(tmp_path / "store"))
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    said = capsys.readouterr().out
    assert "Reason(concept=" in said and (tmp_path / "model/classifier.json").exists()
    p = names["load_run"]("model").predict_proba([str(path) for path in names["paths"]])
    assert np.allclose(p, names["model"].predict_proba(names["paths"]), atol=1e-3)
    assert len(code.strip().splitlines()) <= 12
