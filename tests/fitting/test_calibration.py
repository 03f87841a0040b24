import numpy as np
import pytest
import torch
from helpers import unit_rows
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from ccli.features.task import Split
from ccli.fitting.calibration import Calibration, calibrate, calibration_error, fit_temperature


def drawn(n, classes, temperature, seed=0):
    """Logits, and labels drawn from softmax(logits / temperature)."""
    generator = torch.Generator().manual_seed(seed)
    logits = 5 * torch.randn(n, classes, generator=generator)
    return logits, (logits / temperature).softmax(1).multinomial(1, generator=generator)[:, 0]


@pytest.mark.parametrize("n, classes, temperature", [(40, 3, 2.0), (500, 10, 0.3), (2000, 5, 7.0)])
def test_the_temperature_against_scipy(n, classes, temperature):
    logits, labels = drawn(n, classes, temperature)
    share = 1 / (n + 2)
    targets = np.full((n, classes), share / classes) + (1 - share) * np.eye(classes)[labels]

    def loss(log_t):
        return -(targets * log_softmax(logits.double().numpy() / np.exp(log_t), axis=1)).sum()

    best = np.exp(minimize_scalar(loss, bounds=(np.log(0.01), np.log(100)), method="bounded").x)
    assert fit_temperature(logits, labels) == pytest.approx(best, rel=6e-3)


def test_the_temperature_that_labels_were_drawn_with_is_found():
    assert fit_temperature(*drawn(20_000, 5, 3.0)) == pytest.approx(3.0, rel=0.05)


def test_few_images_that_are_all_right_do_not_make_it_certain():
    logits = 4 * torch.eye(3)
    temperature = fit_temperature(logits, torch.arange(3))
    p = (logits / temperature).softmax(1)[0, 0]
    assert 0.8 < p < 0.9  # 1 - 1/5 + 1/15: what smoothed labels say
    assert p == pytest.approx(1 - 1 / 5 + 1 / 15, abs=3e-3)


def test_logits_that_are_wrong_or_say_nothing():
    logits = torch.eye(3).roll(1, 0)
    assert fit_temperature(logits, torch.arange(3)) == 100  # the flattest there is
    assert fit_temperature(torch.ones(4, 3), torch.zeros(4, dtype=torch.long)) == 1.0
    with pytest.raises(FloatingPointError, match="not finite"):
        fit_temperature(torch.tensor([[torch.nan, 1.0]]), torch.tensor([0]))


def test_calibrate_puts_the_images_of_all_folds_together():
    pairs = [drawn(30, 4, 2.0, seed) for seed in range(3)]
    heads = [(lambda f, logits=logits: logits, Split(unit_rows(30, 8), labels)) for logits, labels in pairs]
    found = calibrate(iter(heads), "cross-validation")
    logits, labels = (torch.cat(x) for x in zip(*pairs))
    assert found == Calibration(fit_temperature(logits, labels), "cross-validation")
    assert calibrate([], "validation") == Calibration(1.0, "none")
    p = found.probabilities(logits)
    assert torch.allclose(p.sum(1), torch.ones(90)) and torch.equal(p.argmax(1), logits.argmax(1))


def test_the_calibration_error_by_hand():
    # bins of a fifth: (0.4, 0.6] holds 0.5 and 0.55, of which one is right; (0.8, 1] holds 0.9 and 1, of which one is
    confidence, right = torch.tensor([0.5, 0.55, 0.9, 1.0]), torch.tensor([True, False, True, False])
    assert calibration_error(confidence, right, bins=5) == pytest.approx((abs(1.05 - 1) + abs(1.9 - 1)) / 4, abs=1e-6)
    assert calibration_error(torch.ones(7), torch.ones(7, dtype=torch.bool)) == 0
    assert calibration_error(torch.ones(7), torch.zeros(7, dtype=torch.bool)) == 1
