"""The evaluator's numbers and log lines, by hand; compute_accuracy."""

import pytest
import torch
from dassl.config import get_cfg_default
from dassl.evaluation import build_evaluator
from dassl.metrics import compute_accuracy

NAMES = {0: "cat", 1: "dog", 2: "emu"}
# true and predicted labels: cat 3 of 4, dog 1 of 2, no emu in the test set
TRUE = [0, 0, 0, 0, 1, 1]
PRED = [0, 0, 0, 1, 1, 2]


def evaluator(tmp_path, **keys):
    cfg = get_cfg_default()
    cfg.OUTPUT_DIR = str(tmp_path)
    for key, value in keys.items():
        cfg.TEST[key] = value
    return build_evaluator(cfg, lab2cname=NAMES)


def feed(evaluator, true=TRUE, pred=PRED, batch=4):
    logits = torch.nn.functional.one_hot(torch.tensor(pred), 3).float()
    for start in range(0, len(true), batch):
        evaluator.process(logits[start : start + batch], torch.tensor(true[start : start + batch]))


def test_numbers(tmp_path):
    ev = evaluator(tmp_path)
    feed(ev)
    results = ev.evaluate()
    assert list(results) == ["accuracy", "error_rate", "macro_f1"]
    assert results["accuracy"] == pytest.approx(100 * 4 / 6)
    assert results["error_rate"] == pytest.approx(100 * 2 / 6)
    # cat: precision 3/3, recall 3/4; dog: precision 1/2, recall 1/2; emu does not occur and does not count
    cat, dog = 2 * 1 * 0.75 / 1.75, 0.5
    assert results["macro_f1"] == pytest.approx(100 * (cat + dog) / 2)


def test_macro_f1_is_scikit_learns(tmp_path):
    from sklearn.metrics import f1_score

    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        true, pred = torch.randint(3, (2, 1 + 5 * seed), generator=generator).tolist()
        ev = evaluator(tmp_path)
        feed(ev, true, pred)
        theirs = f1_score(true, pred, average="macro", labels=sorted(set(true)), zero_division=0)
        assert ev.evaluate()["macro_f1"] == 100 * theirs


def test_log_lines(tmp_path, capsys):
    ev = evaluator(tmp_path)
    capsys.readouterr()
    true, pred = [0] * 1234, [0] * 1000 + [1] * 234
    feed(ev, true, pred, batch=100)
    ev.evaluate()
    assert capsys.readouterr().out == (
        "=> result\n* total: 1,234\n* correct: 1,000\n* accuracy: 81.0%\n* error: 19.0%\n* macro_f1: 89.5%\n"
    )


def test_per_class_lines(tmp_path, capsys):
    ev = evaluator(tmp_path, PER_CLASS_RESULT=True)
    feed(ev)
    capsys.readouterr()
    results = ev.evaluate()
    assert capsys.readouterr().out.splitlines()[6:] == [
        "=> per-class result",
        "* class: 0 (cat)\ttotal: 4\tcorrect: 3\tacc: 75.0%",
        "* class: 1 (dog)\ttotal: 2\tcorrect: 1\tacc: 50.0%",
        "* average: 62.5%",
    ]
    assert results["perclass_accuracy"] == pytest.approx(62.5)
    assert next(iter(results)) == "accuracy"


def test_confusion_matrix(tmp_path):
    ev = evaluator(tmp_path, COMPUTE_CMAT=True)
    feed(ev)
    ev.evaluate()
    matrix = torch.load(tmp_path / "cmat.pt", weights_only=True)
    assert matrix.tolist() == [[0.75, 0.25, 0], [0, 0.5, 0.5], [0, 0, 0]]


def test_reset_forgets(tmp_path):
    ev = evaluator(tmp_path, PER_CLASS_RESULT=True)
    feed(ev, [2], [0])
    ev.reset()
    feed(ev, [0, 1], [0, 1])
    assert ev.evaluate()["perclass_accuracy"] == 100.0


def test_wrong_input_is_refused(tmp_path):
    ev = evaluator(tmp_path)
    with pytest.raises(ValueError, match="Nothing to evaluate"):
        ev.evaluate()
    with pytest.raises(ValueError, match="outside the 3 classes"):
        ev.process(torch.zeros(1, 3), torch.tensor([3]))
    with pytest.raises(ValueError, match="do not fit"):
        ev.process(torch.zeros(2, 3), torch.tensor([1]))
    with pytest.raises(FloatingPointError, match="NaN"):
        ev.process(torch.tensor([[0.0, float("nan"), 0.0]]), torch.tensor([1]))


def test_minus_infinity_is_a_legal_logit(tmp_path):
    ev = evaluator(tmp_path)
    ev.process(torch.tensor([[-torch.inf, 0.0, 1.0]]), torch.tensor([2]))
    assert ev.evaluate()["accuracy"] == 100.0


def test_per_class_needs_names():
    cfg = get_cfg_default()
    cfg.TEST.PER_CLASS_RESULT = True
    with pytest.raises(ValueError, match="lab2cname"):
        build_evaluator(cfg)


def test_compute_accuracy():
    output = torch.tensor([[0.1, 0.5, 0.4], [0.7, 0.2, 0.1], [0.2, 0.3, 0.5], [0.5, 0.4, 0.1]])
    target = torch.tensor([2, 0, 2, 2])
    top1, top2 = compute_accuracy(output, target, topk=(1, 2))
    assert (top1.shape, top1.item(), top2.item()) == ((1,), 50.0, 75.0)
    assert compute_accuracy((output, None), target)[0].item() == 50.0
