"""What is known of each method is in one table, and trainers agree with it."""

import importlib
import pkgutil

import pytest
from dassl.engine import TRAINER_REGISTRY

from ccli import trainers
from ccli.results.methods import METHODS, Method, method_of, method_order
from ccli.sweeps.plan import FOLDERS, TRAINERS
from ccli.trainers.common.base import FeatureTrainer
from ccli.trainers.common.gradient import GradientTrainer

FACTS = {  # trains on, authors chose on, needs a text tower
    "ZeroshotCLIP": ("nothing", "test", False),
    "LinearProbe": ("features", "validation", False),
    "CLIPAdapter": ("views", "nothing", False),
    "TipAdapter": ("views", "test", False),
    "TipAdapterF": ("views", "test", False),
    "TaskRes": ("views", "nothing", False),
    "LPPlusPlus": ("views", "validation", False),
    "GDA": ("views", "validation", False),
    "CoOp": ("views", "nothing", True),
    "CCLI": ("views", "test", False),
}


def facts(method: Method):
    return method.trains_on, method.authors_chose_on, method.needs_text_tower


def test_the_built_in_methods_have_these_facts_and_this_order():
    assert [(name, facts(method)) for name, method in METHODS.items()] == list(FACTS.items())
    assert tuple(FACTS) == TRAINERS and sorted(TRAINERS) == FOLDERS


@pytest.mark.parametrize("name", FACTS)
def test_a_trainer_has_its_method(name):
    for module in pkgutil.iter_modules(trainers.__path__):
        importlib.import_module(f"ccli.trainers.{module.name}")
    assert TRAINER_REGISTRY.get(name).method is METHODS[name]


def test_a_trainer_from_elsewhere_has_the_facts_of_its_base_or_its_own():
    assert facts(FeatureTrainer.method) == ("features", "test", False)
    assert facts(GradientTrainer.method) == ("views", "nothing", False)

    class Theirs(FeatureTrainer):
        method = Method("Theirs", trains_on="nothing")

    assert not Theirs.method.uses_shots and not Theirs.method.uses_views


def test_unknown_methods_come_by_name_before_ccli():
    assert sorted(["CCLI", "Zebra", "GDA", "Ant", "CoOp"], key=method_order) == ["GDA", "CoOp", "Ant", "Zebra", "CCLI"]
    assert method_of("Zebra") == Method("Zebra") and not method_of("Zebra").colour
