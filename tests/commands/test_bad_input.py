"""What a user meets who asks for something that cannot be: one line that names the thing and the remedy."""

import os
import re

import numpy as np
import pytest
import torch
from helpers import ROOT, bundle_args, bundle_file, run_apart, run_here


@pytest.fixture
def bundle(tmp_path):
    return bundle_file(tmp_path)


def refused(out, *argv) -> str:
    """The message with which train.py ends; nothing that looks like a finished run is left."""
    with pytest.raises(SystemExit) as ended:
        run_here(*argv)
    message = ended.value.code
    assert isinstance(message, str) and message.startswith("error: ") and "\n" not in message
    assert not list(out.rglob("result.json"))
    return message


def shapes_args(tmp_path, *opts, name="concept_shapes", cfg="CCLI/demo_clip", trainer="CCLI"):
    return [
        *("--root", tmp_path / "data", "--output-dir", tmp_path / "run", "--seed", 1, "--trainer", trainer),
        *("--dataset-config-file", ROOT / f"configs/datasets/{name}.yaml"),
        *("--config-file", ROOT / f"configs/trainers/{cfg}.yaml", *opts),
    ]  # fmt: skip


@pytest.fixture
def small(monkeypatch):
    from ccli.datasets.concept_shapes import ConceptShapes, ConceptShapesV2

    monkeypatch.setattr(ConceptShapes, "counts", {"train": 1, "val": 1, "test": 1})
    monkeypatch.setattr(ConceptShapesV2, "counts", {"test": 1})


APART = {  # in a process of its own: exit code, and what stands on stderr
    "data set": (["--dataset-config-file", "configs/datasets/shape.yaml"], r"no conf.* mean 'concept_shapes'\?"),
    "option": (["DATASET.NUM_SHOT", "4"], r"unknown option DATASET\.NUM_SHOT\. Did you mean 'DATASET\.NUM_SHOTS'\?"),
    "bundle": (["DATASET.BUNDLE", "nowhere.npz"], r"no bundle at nowhere\.npz; check the path"),
    "weights": (
        ["DATASET.NAME", "ConceptShapesR", "MODEL.BACKBONE.NAME", "RN50"],
        r"weights of RN50-quickgelu \(openai\) are not on this machine .*RN50-quickgelu@FILE",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", APART)
def test_one_line_on_stderr(tmp_path, bundle, what):
    extra, words = APART[what]
    args = bundle_args(bundle, tmp_path / "run", *([] if extra[0].startswith("--") else extra), trainer="ZeroshotCLIP")
    if extra[0].startswith("--"):
        args = extra + args[args.index("--config-file") :]
    ended = run_apart(
        "--root", tmp_path / "data", *args, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "hub"),
        XDG_CACHE_HOME=str(tmp_path / "cache"), CUDA_VISIBLE_DEVICES="",
    )  # fmt: skip
    lines = [line for line in ended.stderr.splitlines() if line and not line.startswith("Drawing ")]  # a progress bar
    assert ended.returncode == 2 and len(lines) == 1, ended.stderr
    assert lines[0].startswith("train.py: error: ") and re.search(words, lines[0])
    assert not list(tmp_path.rglob("result.json"))


OPTIONS = {
    "unknown option": (["TRAINER.CCLI.TOPK", "3"], r"unknown option TRAINER\.CCLI\.TOPK\. .*'TRAINER\.CCLI\.TOP_K'\?"),
    "a node is no option": (["TRAINER.CCLI", "3"], r"unknown option TRAINER\.CCLI\."),
    "wrong type": (["DATASET.NUM_SHOTS", "many"], r"option DATASET\.NUM_SHOTS: 'many' does not fit"),
    "half a pair": (["SEED", "1", "USE_CUDA"], r"KEY VALUE pairs, but 'USE_CUDA' stands alone"),
    "data set": (["DATASET.NAME", "FeatureBundel"], r"unknown data set 'FeatureBundel'.*mean 'FeatureBundle'\?"),
    "protocol": (["PROTOCOL", "fix"], r"PROTOCOL must be one of validation, fixed, paper, got 'fix'.*'fixed'"),
    "source": (["TRAINER.CCLI.SOURCE", "visaul"], r"TRAINER\.CCLI\.SOURCE must be .*'visaul'.*Did you mean 'visual'\?"),
    "network": (["TRAINER.CCLI.NETWORK", "linear"], r"NETWORK must be one of mlp, convex, sparse, got 'linear'"),
    "representation": (["TRAINER.CCLI.REPRESENTATION", "spase"], r"REPRESENTATION must .*'spase'.*mean 'space'\?"),
    "top k": (["TRAINER.CCLI.TOP_K", "0"], r"TRAINER\.CCLI\.TOP_K must be an integer >= 1, got 0"),
    "criterion": (["TRAINER.CCLI.CRITERION", "likelyhood"], r"CRITERION must be .*'likelyhood'.*mean 'likelihood'\?"),
    "concepts": (["TRAINER.CCLI.NUM_CONCEPTS", "-1"], r"NUM_CONCEPTS must be an integer >= 0, got -1"),
    "distinctive": (["TRAINER.CCLI.DISTINCTIVE", "-0.5"], r"DISTINCTIVE must be a number >= 0, got -0\.5"),
    "sparse none": (["TRAINER.CCLI.SOURCE", "none"], r"SOURCE of a sparse network must be one of visual, text, images"),
    "none": (
        ["TRAINER.CCLI.NETWORK", "convex", "TRAINER.CCLI.SOURCE", "none", "TRAINER.CCLI.CLASS_AXES", "False"],
        r"SOURCE none leaves class texts",
    ),
    "share": (["TRAINER.CCLI.TEXT_SHARE", "1.5"], r"TEXT_SHARE must be a number from 0 to 1, got 1\.5"),
    "no shots": (["DATASET.NUM_SHOTS", "0"], r"NUM_SHOTS 0: CCLI needs 1 or more, or -1 for all images"),
    "shots": (["DATASET.NUM_SHOTS", "-2"], r"NUM_SHOTS -2: CCLI needs 1 or more, or -1"),
    "alphas": (["TRAINER.CCLI.ALPHAS", "(0.5, 1.0)"], r"ALPHAS must be .*, 0 \(zero-shot\) among them, got \(0\.5"),
    "precision": (["FEATURES.PRECISION", "fp16"], r"FEATURES\.PRECISION must be one of fp32, bf16, got 'fp16'"),
    "crop": (["FEATURES.CROP", "(0.9, 0.5)"], r"FEATURES\.CROP must be two shares .*, got \(0\.9, 0\.5\)"),
    "classes": (["DATASET.SUBSAMPLE_CLASSES", "half"], r"SUBSAMPLE_CLASSES must be one of all, base, new, got 'half'"),
    "final model": (["TEST.FINAL_MODEL", "best_val"], r"FINAL_MODEL must be last_step, .*, got 'best_val'"),
    "vocabulary of a bundle": (["FEATURES.VOCABULARY", "words.txt"], r"FEATURES\.VOCABULARY needs a text tower"),
    "epochs": (["TRAINER.CCLI.NETWORK", "mlp", "OPTIM.MAX_EPOCH", "0"], r"needs OPTIM\.MAX_EPOCH of 1 or more"),
    "evaluator": (["TEST.EVALUATOR", "Clasification"], r"unknown TEST\.EVALUATOR 'Clasif.*mean 'Classification'\?"),
    "a zero byte": (["FEATURES.STORE", "a\0b"], r"option FEATURES\.STORE: 'a\\x00b' holds a zero byte"),
    "learning rate": (["TRAINER.CCLI.NETWORK", "mlp", "OPTIM.LR", "1e30"], r"not finite; lower OPTIM\.LR"),
}  # fmt: skip


@pytest.mark.parametrize("what", OPTIONS)
def test_options(tmp_path, bundle, what):
    opts, words = OPTIONS[what]
    assert re.search(words, refused(tmp_path, *bundle_args(bundle, tmp_path / "run", *opts)))


def test_an_unknown_trainer(tmp_path, bundle):
    args = bundle_args(bundle, tmp_path / "run")
    args[args.index("CCLI")] = "CLI"
    assert re.search(r"unknown trainer 'CLI'; there are .*Did you mean 'CCLI'\?", refused(tmp_path, *args))
    args[args.index("CLI")] = ""
    assert re.search(r"unknown trainer ''; there are .*CCLI, .*, ZeroshotCLIP", refused(tmp_path, *args))


@pytest.mark.parametrize(
    ("content", "words"),
    [("TRAINER: {CCLI: {TOPK: 3}}", r"odd\.yaml: unknown option TRAINER\.CCLI\.TOPK\. .*'TRAINER\.CCLI\.TOP_K'"),
     ("TRAINER: {CCLI: {TOP_K: many}}", r"odd\.yaml: .*TOP_K"), ("A: [", r"odd\.yaml: ")],
)  # fmt: skip
def test_a_yaml_with_a_mistake(tmp_path, bundle, content, words):
    (tmp_path / "odd.yaml").write_text(content)
    args = bundle_args(bundle, tmp_path / "run")
    args[args.index("--config-file") + 1] = tmp_path / "odd.yaml"
    assert re.search(words, refused(tmp_path, *args))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_where_there_is_none(tmp_path, bundle):
    message = refused(tmp_path, *bundle_args(bundle, tmp_path / "run", "USE_CUDA", "True"))
    assert re.search(r"USE_CUDA True: there is no CUDA device here; leave it out", message)


def damaged(folder, **changes):
    """A bundle with other arrays; None leaves one out."""
    with np.load(bundle_file(folder, "whole.npz")) as file:
        arrays = {name: file[name] for name in file.files} | changes
    np.savez(folder / "damaged.npz", **{name: a for name, a in arrays.items() if a is not None})
    return folder / "damaged.npz"


def with_nan():
    features = np.ones((120, 32), dtype=np.float16)
    features[3, 3] = np.nan
    return features


BUNDLES = {
    "lacks an array": ({"test_labels": None}, "CCLI", r"lacks the array 'test_labels'; it has"),
    "of another width": ({"text_features": np.ones((6, 31), np.float16)}, "CCLI", r"float16 of shape \(6, 31\)"),
    "label outside": ({"test_labels": np.full(120, 6)}, "CCLI", r"test_labels hold 6, outside 0\.\.5"),
    "nan": ({"test_features": with_nan()}, "CCLI", r"test_features hold values that are not finite"),
    "no texts": ({"text_features": None}, "ZeroshotCLIP", r"no text_features, and ZeroshotCLIP needs"),
    "no concepts": ({"concepts": None, "concept_features": None}, "CCLI", r"no concepts .* CCLI needs them"),
}  # fmt: skip


@pytest.mark.parametrize("what", BUNDLES)
def test_bundles(tmp_path, what):
    changes, trainer, words = BUNDLES[what]
    path = damaged(tmp_path, **changes)
    message = refused(tmp_path, *bundle_args(path, tmp_path / "run", trainer=trainer))
    assert re.search(words, message) and "damaged.npz" in message


def test_a_bundle_whose_concepts_are_all_classes(tmp_path):
    path = damaged(tmp_path, concepts=np.array([f"Class_{k % 6}" for k in range(40)]))
    assert "no text concept is left" in refused(tmp_path, *bundle_args(path, tmp_path / "run"))


def test_no_bundle_given(tmp_path):
    assert "DATASET.BUNDLE PATH" in refused(tmp_path, *bundle_args("", tmp_path / "run"))


def test_an_unknown_backbone(tmp_path, small):
    message = refused(tmp_path, *shapes_args(tmp_path, "MODEL.BACKBONE.NAME", "RN5O"))
    assert re.search(r"unknown backbone 'RN5O'\. Did you mean 'RN50'\?", message)


def test_an_unreadable_image(tmp_path, small, tiny_clip_folder):
    args = shapes_args(tmp_path, "MODEL.BACKBONE.NAME", tiny_clip_folder)
    run_here(*args, "FEATURES.VIEWS", 0, "DATASET.NUM_SHOTS", 1)
    (tmp_path / "run" / "result.json").unlink()
    image = sorted((tmp_path / "data/concept_shapes/images/test").rglob("*.png"))[7]
    image.write_bytes(b"no picture")
    message = refused(tmp_path, *args)
    assert str(image) in message and re.search(r"is unreadable .*; replace or remove it", message)
    image.unlink()
    assert f"1 of 24 images of concept_shapes are missing, first {image}; remove " in refused(tmp_path, *args)


def test_training_on_a_shifted_version(tmp_path, small, tiny_clip_folder):
    args = shapes_args(tmp_path, "MODEL.BACKBONE.NAME", tiny_clip_folder, name="concept_shapes_a")
    message = refused(tmp_path, *args)
    assert re.search(r"ConceptShapesA is for evaluation only: train on its source, then --eval-only", message)


def test_a_folder_of_data_that_cannot_be_written(tmp_path, small):
    (tmp_path / "data").write_text("a file where a folder belongs")
    message = refused(tmp_path, *shapes_args(tmp_path))
    assert re.search(r"cannot write .*concept_shapes .*choose another --root", message)


def test_an_output_folder_that_cannot_be_written(tmp_path, bundle):
    (tmp_path / "run").write_text("a file where a folder belongs")
    message = refused(tmp_path, *bundle_args(bundle, tmp_path / "run" / "seed1"))
    assert re.search(r"cannot write to .*seed1 .*choose another --output-dir", message)


def test_a_run_whose_name_is_not_utf_8(tmp_path, bundle):
    flags = ("--eval-only", "--model-dir", "/tmp/run\udcff")
    assert "'/tmp/run\\udcff' is not UTF-8" in refused(tmp_path, *flags, *bundle_args(bundle, tmp_path / "run"))


def test_nothing_to_evaluate(tmp_path, bundle):
    args = ("--eval-only", *bundle_args(bundle, tmp_path / "eval"))
    assert "CCLI has nothing to evaluate: give --model-dir RUN" in refused(tmp_path, *args)
    message = refused(tmp_path, "--model-dir", tmp_path / "nowhere", *args)
    assert re.search(r"no checkpoint .*nowhere.*--model-dir wants the output folder", message)


def test_a_run_of_another_width_or_other_classes(tmp_path, bundle):
    run_here(*bundle_args(bundle, tmp_path / "run"))
    os.remove(tmp_path / "run" / "result.json")
    common = ("--eval-only", "--model-dir", tmp_path / "run")
    for sizes, words in (
        ({"width": 16}, "was trained on other features; evaluate"),
        ({"classes": 8}, "knows 6 classes, but not"),
    ):
        other = bundle_file(tmp_path, "other.npz", **sizes)
        assert words in refused(tmp_path, *common, *bundle_args(other, tmp_path / "eval"))


def test_a_run_of_other_weights(tmp_path, small, save_tiny_clip):
    first, second = (save_tiny_clip(tmp_path / name, seed) for seed, name in enumerate(("first", "second")))
    (tmp_path / "words.txt").write_text("red\nblue\nround\n")
    opts = ("FEATURES.VIEWS", 0, "DATASET.NUM_SHOTS", 1, "FEATURES.VOCABULARY", tmp_path / "words.txt")
    run_here(*shapes_args(tmp_path, "MODEL.BACKBONE.NAME", first, *opts))
    os.remove(tmp_path / "run" / "result.json")
    common = ("--eval-only", "--model-dir", tmp_path / "run")
    message = refused(tmp_path, *common, *shapes_args(tmp_path, "MODEL.BACKBONE.NAME", second, *opts))
    assert "was trained on other features; evaluate it with its own backbone" in message
    first.rename(tmp_path / "moved")  # the same weights elsewhere will do
    out = run_here(*common, *shapes_args(tmp_path, "MODEL.BACKBONE.NAME", tmp_path / "moved", *opts))
    assert "* total: 24" in out


def test_nothing_to_resume(tmp_path, bundle):
    args = ("--resume", tmp_path / "nowhere", *bundle_args(bundle, tmp_path / "run"))
    assert re.search(r"--resume .*nowhere: no checkpoint there", refused(tmp_path, *args))
