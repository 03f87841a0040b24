"""train.py end to end: records, repeats, kills, evaluation of finished runs."""

import json
import re
import time

import pytest
import torch
from helpers import ROOT, SHARED, build, bundle_args, bundle_file, run_apart, run_here
from torch.nn import functional as F

from ccli.errors import CcliError
from ccli.features.bundles import read_bundle
from ccli.features.task import Split
from ccli.results.records import read_record, same_record
from ccli.results.schema import FIELDS
from ccli.trainers.common.evaluation import class_subset
from ccli.trainers.common.feature_source import BundleSource

RUNS = [("CCLI", "rn50"), ("CCLI", "rn50_dense"), ("CCLI", "rn50_plain"), ("ZeroshotCLIP", "rn50")]
PLAIN = ("TRAINER.CCLI.HIDDEN", 32, "OPTIM.MAX_EPOCH", 6, "DATALOADER.TRAIN_X.BATCH_SIZE", 10)


def totals(text: str) -> tuple[int, int]:
    """correct and total as Dassl logs them."""
    correct, total = re.search(r"\* correct: ([\d,]+)", text), re.search(r"\* total: ([\d,]+)", text)
    return int(correct[1].replace(",", "")), int(total[1].replace(",", ""))


@pytest.mark.parametrize(("trainer", "cfg"), RUNS)
def test_a_run_leaves_a_complete_record(tmp_path, trainer, cfg):
    bundle = bundle_file(tmp_path)
    opts = PLAIN if cfg == "rn50_plain" else ()
    out = run_here(*bundle_args(bundle, tmp_path / "run", *opts, trainer=trainer, cfg=cfg))
    record = read_record(tmp_path / "run")
    assert set(FIELDS) <= set(record)
    expected = {
        "dataset": "tiny", "trainer": trainer, "cfg": cfg, "backbone": "bundle", "shots": 4, "seed": 1,
        "protocol": "validation", "selected_by": "validation" if trainer == "CCLI" else "none", "total": 120,
    }  # fmt: skip
    assert {key: record[key] for key in expected} == expected
    labels = read_bundle(bundle).test.labels.tolist()
    right = [a == b for a, b in zip(record["predictions"], labels)]
    assert record["correct"] == sum(right) and record["accuracy"] == 100 * sum(right) / 120
    for k, share in enumerate(record["per_class"]):
        hits = sum(r for r, label in zip(right, labels) if label == k)
        assert share == {"name": f"class {k}", "correct": hits, "total": 20}
    assert record["config"]["DATASET"]["NUM_SHOTS"] == 4 and record["config"]["OUTPUT_DIR"] == ""
    assert str(tmp_path) not in json.dumps(record)  # no place of this machine
    log = (tmp_path / "run" / "log.txt").read_text()
    assert log in out
    assert "=> result\n* total: 120\n" in log and totals(log) == (record["correct"], 120)
    assert f"* accuracy: {record['accuracy']:.1f}%" in log


@pytest.mark.parametrize("cfg", ["rn50", "rn50_dense"])
def test_predictions_recomputed_from_the_checkpoint(tmp_path, cfg):
    """By hand from the state: tau s f W^T + alpha z(f) B^T, z(f) two unit parts over sqrt 2; sparse: z(f) C^T B^T."""
    bundle = bundle_file(tmp_path)
    run_here(*bundle_args(bundle, tmp_path / "run", cfg=cfg))
    record = read_record(tmp_path / "run")
    state = torch.load(tmp_path / "run/head/model.pth.tar-1", weights_only=True)["state_dict"]
    f, text = read_bundle(bundle).test.features, read_bundle(bundle).text_features
    z = (f - state["representation.mean"]) @ state["representation.projection"]
    first = len(text) - 1  # the rank of the class texts
    z = torch.cat([F.normalize(z[:, :first], dim=1), F.normalize(z[:, first:], dim=1)], dim=1) / 2**0.5
    z = z if cfg == "rn50_dense" else z @ state["network.concepts"].T
    logits = 0.5 * 20 * f @ text.T + record["hyper_parameters"]["alpha"] * z @ state["network.weight"].T
    assert logits.argmax(1).tolist() == record["predictions"]


def test_zero_shot_predictions_by_hand(tmp_path):
    bundle = bundle_file(tmp_path)
    run_here(*bundle_args(bundle, tmp_path / "run", trainer="ZeroshotCLIP"))
    data = read_bundle(bundle)
    expected = (data.test.features @ data.text_features.T).argmax(1)
    assert read_record(tmp_path / "run")["predictions"] == expected.tolist()


def test_the_same_command_gives_the_same_record(tmp_path):
    bundle = bundle_file(tmp_path)
    for trainer, cfg in RUNS:
        opts = PLAIN if cfg == "rn50_plain" else ()
        records = []
        for folder in ("a", "b"):
            out = tmp_path / folder / trainer / cfg
            run_here(*bundle_args(bundle, out, *opts, trainer=trainer, cfg=cfg))
            records.append(read_record(out))
        assert same_record(*records) == []
    other = tmp_path / "other"
    run_here(*bundle_args(bundle, other, *PLAIN, cfg="rn50_plain", seed=2))
    plain = read_record(tmp_path / "a/CCLI/rn50_plain")
    assert "predictions" in same_record(plain, read_record(other))


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path):
    bundle, epochs = bundle_file(tmp_path), 80
    opts = (*PLAIN, "OPTIM.MAX_EPOCH", epochs, "TRAIN.CHECKPOINT_FREQ", 1, "OPTIM.LR", 0.01)
    whole, broken = (bundle_args(bundle, tmp_path / name, *opts, cfg="rn50_plain") for name in ("whole", "broken"))

    def kill(process):
        mark, deadline = tmp_path / "broken/head/model.pth.tar-3", time.monotonic() + 120
        while not mark.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        process.kill()

    assert run_apart(*broken, kill=kill).returncode == -9
    assert not (tmp_path / "broken/result.json").exists()
    reached = (tmp_path / "broken/head/checkpoint").read_text().split()[0]
    assert 2 <= int(reached.rpartition("-")[2]) < epochs

    resumed, undisturbed = run_apart(*broken), run_here(*whole)
    assert resumed.returncode == 0, resumed.stderr
    assert "will resume training" in resumed.stdout and "will resume training" not in undisturbed
    assert same_record(read_record(tmp_path / "broken"), read_record(tmp_path / "whole")) == []
    states = [
        torch.load(tmp_path / name / f"head/model.pth.tar-{epochs}", weights_only=True)["state_dict"]
        for name in ("broken", "whole")
    ]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[1])


def test_checkpoints_of_other_options_are_not_taken_up(tmp_path):
    bundle = bundle_file(tmp_path)
    run_here(*bundle_args(bundle, tmp_path / "run"))
    before = read_record(tmp_path / "run")
    with pytest.raises(SystemExit, match=r"^error: .*TRAINER\.CCLI\.PENALTY 0\.3, not 5\.0; choose another --output"):
        run_here(*bundle_args(bundle, tmp_path / "run", "TRAINER.CCLI.PENALTY", 5.0))
    assert read_record(tmp_path / "run") == before
    run_here(*bundle_args(bundle, tmp_path / "run", "TRAIN.PRINT_FREQ", 7))  # changes no result
    assert "config" in same_record(read_record(tmp_path / "run"), before)


@pytest.mark.parametrize(("trainer", "cfg"), RUNS)
def test_evaluating_a_finished_run(tmp_path, trainer, cfg):
    bundle = bundle_file(tmp_path)
    opts = (*PLAIN, "TRAINER.CCLI.REPRESENTATION", "affinity") if cfg == "rn50_plain" else ()
    run_here(*bundle_args(bundle, tmp_path / "run", *opts, trainer=trainer, cfg=cfg))
    record = read_record(tmp_path / "run")
    again = bundle_args(bundle, tmp_path / "again", trainer=trainer, cfg=cfg)  # without the run's own options
    out = run_here("--eval-only", "--model-dir", tmp_path / "run", *again)
    assert totals(out) == (record["correct"], record["total"])
    assert "epoch [" not in out


def test_evaluating_a_certain_epoch(tmp_path):
    bundle = bundle_file(tmp_path)
    opts = (*PLAIN, "TRAIN.CHECKPOINT_FREQ", 1, "OPTIM.LR", 0.05)
    run_here(*bundle_args(bundle, tmp_path / "run", *opts, cfg="rn50_plain"))
    common = ("--eval-only", "--model-dir", tmp_path / "run")
    evaluated = [
        totals(run_here(*common, "--load-epoch", k, *bundle_args(bundle, tmp_path / "e", cfg="rn50_plain")))
        for k in (1, 6)
    ]
    assert evaluated[1] == (read_record(tmp_path / "run")["correct"], 120) and evaluated[0] != evaluated[1]


def test_evaluating_zero_shot_needs_no_run(tmp_path):
    bundle = bundle_file(tmp_path)
    run_here(*bundle_args(bundle, tmp_path / "run", trainer="ZeroshotCLIP"))
    out = run_here("--eval-only", *bundle_args(bundle, tmp_path / "eval", trainer="ZeroshotCLIP"))
    assert totals(out) == (read_record(tmp_path / "run")["correct"], 120)


@pytest.mark.parametrize("views", [False, True])
def test_folds_are_trained_as_dassl_trains(tmp_path, monkeypatch, views):
    if views:
        clean = BundleSource.train

        def with_views(self, wanted):
            split = clean(self, wanted)
            noise = torch.randn(3, *split.features.shape, generator=torch.Generator().manual_seed(0))
            return Split(split.features, split.labels, F.normalize(split.features + 0.1 * noise, dim=-1))

        monkeypatch.setattr(BundleSource, "train", with_views)
    trainer = build(*bundle_args(bundle_file(tmp_path), tmp_path / "run", *PLAIN, cfg="rn50_plain"))
    trainer.train()
    assert (trainer.task.train.views is not None) == views and len(trainer.train_loader_x) == 3
    start = trainer.make_head(trainer.task)
    refitted = trainer.fit(trainer.task)
    for key, value in trainer.head.network.state_dict().items():
        assert torch.equal(value, refitted.network.state_dict()[key])
        assert not torch.equal(value, start.network.state_dict()[key])


def test_class_subset_by_hand():
    assert class_subset(["ant", "bee", "cow", "dog"], ["dog", "bee"]).tolist() == [3, 1]
    with pytest.raises(CcliError, match="knows 2 classes, but not 'cow' and 1 more"):
        class_subset(["ant", "bee"], ["ant", "cow", "dog"])
    assert class_subset(["ant", "bee", "bee", "cow"], ["cow", "ant"]).tolist() == [3, 0]
    for known, wanted in ((["ant", "bee", "ant"], ["bee", "ant"]), (["ant", "bee"], ["bee", "ant", "ant"])):
        with pytest.raises(CcliError, match="two classes are called 'ant'"):
            class_subset(known, wanted)


ZERO_SHOT = {"pets24": (2210, 2383), "caltech55": (1267, 1333), "imagenet300": (706, 899)}


@pytest.mark.parametrize("name", ZERO_SHOT)
def test_zero_shot_on_real_features(tmp_path, name):
    bundle = SHARED / "features" / f"{name}.npz"
    if not bundle.is_file():
        pytest.skip(f"no {name}.npz beside this checkout")
    args = bundle_args(bundle, tmp_path / "run", trainer="ZeroshotCLIP", cfg="vit_b32", shots=1)
    run_here(*args)
    record = read_record(tmp_path / "run")
    assert (record["correct"], record["total"]) == ZERO_SHOT[name] and record["dataset"] == name


def shapes_args(name, backbone, root, out, *opts):
    return [
        *("--root", root, "--seed", 1, "--trainer", "CCLI", "--backbone", backbone, "--output-dir", out),
        *("--dataset-config-file", ROOT / f"configs/datasets/{name}.yaml"),
        *("--config-file", ROOT / "configs/trainers/CCLI/demo_clip.yaml"),
        *("DATASET.NUM_SHOTS", 2, "FEATURES.VIEWS", 2, *opts),
    ]  # fmt: skip


def test_a_run_on_all_classes_is_tested_on_some(tmp_path, tiny_clip_folder, monkeypatch):
    from ccli.datasets.concept_shapes import ConceptShapes, ConceptShapesV2

    monkeypatch.setattr(ConceptShapes, "counts", {"train": 2, "val": 1, "test": 2})
    monkeypatch.setattr(ConceptShapesV2, "counts", {"test": 5})
    words = tmp_path / "words.txt"
    words.write_text("\n".join(["red", "blue", "striped", "dotted", "round", "on grass", "dark", "tiny", "huge"]))
    opts = ("FEATURES.VOCABULARY", words)
    run_here(*shapes_args("concept_shapes", tiny_clip_folder, tmp_path / "data", tmp_path / "run", *opts))
    record = read_record(tmp_path / "run")
    assert record["total"] == 48 and record["backbone"] == str(tiny_clip_folder)

    args = shapes_args("concept_shapes_a", tiny_clip_folder, tmp_path / "data", tmp_path / "a", *opts)
    out = run_here("--eval-only", "--model-dir", tmp_path / "run", *args)
    split = build(*args).source.test()
    state = torch.load(tmp_path / "run/head/model.pth.tar-1", weights_only=True)["state_dict"]
    z = F.normalize((split.features - state["representation.mean"]) @ state["representation.projection"], dim=1)
    zero_shot = state["zero_shot_scale"] * split.features @ state["text_features"].T
    r = z @ state["network.concepts"].T
    logits = zero_shot + state["alpha"] * r @ state["network.weight"].T  # [60, 24]
    correct = int((logits[:, ::2].argmax(1) == split.labels).sum())  # _a has every other class
    assert totals(out) == (correct, 60)
    assert logits.argmax(1).remainder(2).any()  # unrestricted, some guesses would be other classes
