import hashlib

import pytest

from ccli.clip.prompts import (
    CONCEPT_TEMPLATE,
    DEFAULT_TEMPLATE,
    IMAGENET_7,
    IMAGENET_80,
    TEMPLATES,
    class_prompts,
    templates_for,
)
from ccli.errors import CcliError


def test_counts():
    assert len(TEMPLATES) == 15
    assert len(IMAGENET_7) == len(set(IMAGENET_7)) == 7
    assert len(IMAGENET_80) == len(set(IMAGENET_80)) == 80
    assert set(IMAGENET_7) < set(IMAGENET_80)


@pytest.mark.parametrize("template", [*TEMPLATES.values(), *IMAGENET_80, CONCEPT_TEMPLATE, DEFAULT_TEMPLATE])
def test_each_template_has_one_slot(template):
    assert template.count("{}") == 1
    assert template.count("{") == template.count("}") == 1


def test_published_strings():
    assert TEMPLATES["OxfordPets"] == "a photo of a {}, a type of pet."
    assert TEMPLATES["Food101"] == "a photo of {}, a type of food."
    assert TEMPLATES["DescribableTextures"] == "{} texture."
    assert TEMPLATES["EuroSAT"] == "a centered satellite photo of {}."
    assert TEMPLATES["UCF101"] == "a photo of a person doing {}."
    assert IMAGENET_7[0] == "itap of a {}." and IMAGENET_7[-1] == "a photo of the small {}."
    assert IMAGENET_80[0] == "a bad photo of a {}." and IMAGENET_80[-1] == "a tattoo of the {}."
    digest = hashlib.sha256("\n".join(IMAGENET_80).encode()).hexdigest()
    assert digest == "4f976686fb651bb5803d4689dcd849f75efe0ef19a3c801355bc9a6f03c8a5af"


def test_templates_for():
    assert templates_for("OxfordFlowers") == ("a photo of a {}, a type of flower.",)
    assert templates_for("MyOwnPictures") == (DEFAULT_TEMPLATE,)
    assert templates_for("ImageNet", "imagenet7") == IMAGENET_7
    assert templates_for("EuroSAT", "imagenet80") == IMAGENET_80


def test_unknown_ensemble():
    with pytest.raises(CcliError, match=r"single, imagenet7, imagenet80, got 'imagnet7'.*Did you mean 'imagenet7'"):
        templates_for("ImageNet", "imagnet7")


def test_class_prompts_order_and_underscores():
    assert class_prompts(["maine_coon", "pug"], ["a {}.", "the {}!"]) == [
        ["a maine coon.", "a pug."],
        ["the maine coon!", "the pug!"],
    ]
    assert class_prompts(["{odd}"], ["a {}."]) == [["a {odd}."]]
    assert class_prompts([], IMAGENET_7) == [[]] * 7


@pytest.mark.parametrize("template", ["a photo.", "{} and {}", "a {name}."])
def test_class_prompts_bad_template(template):
    with pytest.raises(CcliError, match="exactly once"):
        class_prompts(["pug"], [template])
