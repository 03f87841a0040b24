"""Prompt templates: the published sentences that class names and concepts are read in.

Sources, each string as published there:

- `TEMPLATES`: CoOp (Zhou et al., IJCV 2022), github.com/KaiyangZhou/CoOp, `CUSTOM_TEMPLATES` in trainers/zsclip.py.
- `IMAGENET_80`: CLIP (Radford et al., ICML 2021), github.com/openai/CLIP,
  notebooks/Prompt_Engineering_for_ImageNet.ipynb, in the notebook's order (imagenet80.txt).
- `IMAGENET_7`: the seven of those that the same notebook picked by forward selection, in its order; the ensemble
  that CoOp's `ZeroshotCLIP2` and Tip-Adapter (Zhang et al., ECCV 2022) use on ImageNet.
"""

from collections.abc import Iterable
from importlib.resources import files

from ccli.errors import CcliError, check_choice

DEFAULT_TEMPLATE = "a photo of a {}."
CONCEPT_TEMPLATE = "The photo is {}."

TEMPLATES: dict[str, str] = {
    "ImageNet": "a photo of a {}.",
    "Caltech101": "a photo of a {}.",
    "OxfordPets": "a photo of a {}, a type of pet.",
    "StanfordCars": "a photo of a {}.",
    "OxfordFlowers": "a photo of a {}, a type of flower.",
    "Food101": "a photo of {}, a type of food.",
    "FGVCAircraft": "a photo of a {}, a type of aircraft.",
    "SUN397": "a photo of a {}.",
    "DescribableTextures": "{} texture.",
    "EuroSAT": "a centered satellite photo of {}.",
    "UCF101": "a photo of a person doing {}.",
    "ImageNetV2": "a photo of a {}.",
    "ImageNetSketch": "a photo of a {}.",
    "ImageNetA": "a photo of a {}.",
    "ImageNetR": "a photo of a {}.",
}

IMAGENET_7: tuple[str, ...] = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)

IMAGENET_80 = tuple(files(__package__).joinpath("imagenet80.txt").read_text(encoding="utf-8").splitlines())

ENSEMBLES = {"imagenet7": IMAGENET_7, "imagenet80": IMAGENET_80}


def templates_for(dataset: str, ensemble: str = "single") -> tuple[str, ...]:
    """The templates for the class names of a data set.

    Args:
        dataset: the data set's registered name; one that `TEMPLATES` does not know gets "a photo of a {}.".
        ensemble: "single" (the data set's own template), "imagenet7" or "imagenet80". The two ensembles are the same
            for every data set; the data set's own template is not added to them (CoOp's `ZeroshotCLIP2` adds it
            outside ImageNet).

    Raises:
        CcliError: no such ensemble.
    """
    check_choice("ensemble", ensemble, ("single", *ENSEMBLES))
    return ENSEMBLES.get(ensemble) or (TEMPLATES.get(dataset, DEFAULT_TEMPLATE),)


def class_prompts(classnames: Iterable[str], templates: Iterable[str]) -> list[list[str]]:
    """Every class name in every template: `prompts[p][n]` is class n in template p.

    Underscores in class names become spaces. Raises CcliError for a template without exactly one "{}".
    """
    names, prompts = [name.replace("_", " ") for name in classnames], []
    for template in templates:
        if template.count("{}") != 1:
            raise CcliError(f"Template {template!r}: write {{}} exactly once, where the class name belongs.")
        prompts.append([template.replace("{}", name) for name in names])
    return prompts
