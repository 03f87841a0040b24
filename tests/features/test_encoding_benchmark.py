"""The encoding benchmark on few pictures, and the generated bundles of the others."""

import torch

from benchmarks import encoding, generated


def test_a_row_of_the_encoding_benchmark(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "BATCH", 16)
    row, cosine = encoding.measure("demo-clip", "bf16", 16, 1, tmp_path)
    assert row[:2] == ["demo-clip", "bf16"] and 0.98 < cosine < 1.0001
    _, alone, decoding, bound, store, share, _ = map(float, row[2:])
    assert 0 < alone < bound < alone + decoding + 0.02 and abs(share - bound / store) < 0.1


def test_generated_bundles_have_the_sizes_asked_for():
    made = generated.bundle(5, 3, 2, 21, concepts=7, width=16)
    assert [len(made.train), len(made.val), len(made.test)] == [15, 10, 21]
    assert made.text_features.shape == (5, 16) and made.concept_features.shape == (7, 16)
    assert torch.equal(made.train.labels, torch.arange(5).repeat_interleave(3))
    assert torch.bincount(made.test.labels).tolist() == [5, 4, 4, 4, 4]
    for rows in (made.train.features, made.text_features, made.concept_features):
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))
    assert generated.bundle(5, 3, 0, 21, concepts=7, width=16).val is None
