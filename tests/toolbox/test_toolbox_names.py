"""The toolbox has every name that plugins import from Dassl; our own trainers and data sets import no others."""

import ast
import importlib
import inspect
import re

import pytest
from dassl.data import DataManager
from dassl.data.data_manager import DatasetWrapper, build_data_loader
from dassl.data.datasets import DatasetBase, Datum
from dassl.data.samplers import build_sampler
from dassl.data.transforms import build_transform
from dassl.engine import SimpleTrainer, TrainerBase, TrainerX, TrainerXU
from dassl.metrics import compute_accuracy
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import AverageMeter, MetricMeter, Registry, listdir_nohidden, resume_from_checkpoint, save_checkpoint
from dassl_names import NAMES
from helpers import ROOT


@pytest.mark.parametrize("module", NAMES)
def test_every_name_is_there(module):
    found = importlib.import_module(module)
    assert [name for name in NAMES[module] if not hasattr(found, name)] == []


# parameters in their order, with their defaults; None where there is none
SIGNATURES = [
    (TrainerBase.register_model, "name='model' model=None optim=None sched=None"),
    (TrainerBase.save_model, "epoch directory is_best=False val_result=None model_name=''"),
    (TrainerBase.load_model, "directory epoch=None"),
    (TrainerBase.resume_model_if_exist, "directory"),
    (TrainerBase.set_model_mode, "mode='train' names=None"),
    (TrainerBase.get_model_names, "names=None"),
    (TrainerBase.update_lr, "names=None"),
    (TrainerBase.write_scalar, "tag scalar_value global_step=None"),
    (TrainerBase.train, "start_epoch max_epoch"),
    (TrainerBase.model_backward_and_update, "loss names=None"),
    (SimpleTrainer.train, ""),
    (SimpleTrainer.test, "split=None"),
    (SimpleTrainer.get_current_lr, "names=None"),
    (TrainerX.forward_backward, "batch"),
    (TrainerX.parse_batch_train, "batch"),
    (TrainerXU.parse_batch_train, "batch_x batch_u"),
    (DataManager.__init__, "cfg custom_tfm_train=None custom_tfm_test=None dataset_wrapper=None"),
    (DatasetWrapper.__init__, "cfg data_source transform=None is_train=False"),
    (Datum.__init__, "impath='' label=0 domain=0 classname=''"),
    (DatasetBase.__init__, "train_x=None train_u=None val=None test=None"),
    (DatasetBase.generate_fewshot_dataset, "data_sources num_shots=-1 repeat=False"),
    (DatasetBase.is_input_domain_valid, "input_domains"),
    (build_data_loader, "cfg sampler_type='SequentialSampler' data_source=None batch_size=64 n_domain=0 n_ins=2 "
                        "tfm=None is_train=True dataset_wrapper=None"),
    (build_sampler, "sampler_type cfg=None data_source=None batch_size=32 n_domain=0 n_ins=16"),
    (build_transform, "cfg is_train=True choices=None"),
    (build_optimizer, "model optim_cfg param_groups=None"),
    (build_lr_scheduler, "optimizer optim_cfg"),
    (compute_accuracy, "output target topk=(1,)"),
    (save_checkpoint, "state save_dir is_best=False remove_module_from_keys=True model_name=''"),
    (resume_from_checkpoint, "fdir model optimizer=None scheduler=None"),
    (AverageMeter.__init__, "ema=False"),
    (MetricMeter.__init__, "delimiter=' '"),
    (Registry.register, "obj=None force=False"),
    (listdir_nohidden, "path sort=False"),
]  # fmt: skip


@pytest.mark.parametrize("function,wanted", SIGNATURES, ids=[f.__qualname__ for f, _ in SIGNATURES])
def test_signatures(function, wanted):
    found = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    written = [p.name if p.default is p.empty else f"{p.name}={p.default!r}".replace(", ", ",") for p in found]
    assert " ".join(written) == wanted


def test_the_readme_speaks_of_every_name():
    """Its table says of each whether it is as upstream's; a name is `absent` there only where it is."""
    rows = re.findall(r"^\| (`.*?) \| (\w+) \|", (ROOT / "toolbox/README.md").read_text(), re.M)
    state = {name: word for names, word in rows for name in re.findall(r"`(\w+)`", names)}
    assert {name for names in NAMES.values() for name in names} <= set(state)
    assert set(state.values()) == {"same", "differs", "added", "absent"}
    modules = [importlib.import_module(module) for module in NAMES]
    there = {name: any(hasattr(module, name) for module in modules) for name in state}
    assert [name for name, word in state.items() if there[name] == (word == "absent")] == []


def dassl_imports(path) -> set[tuple[str, str]]:
    """(module, name) of all that a file imports from Dassl; a whole module has no name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names if alias.name.split(".")[0] == "dassl"}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module.split(".")[0] == "dassl":
            found |= {(node.module, alias.name) for alias in node.names}
    return found


def test_our_trainers_and_data_sets_import_these_names_alone():
    """So that they run in upstream's Dassl as well."""
    files = sorted(path for folder in ("trainers", "datasets") for path in (ROOT / folder).rglob("*.py"))
    scripts = sorted(ROOT.glob("*.py"))
    found = {name: path for path in files + scripts for name in dassl_imports(path)}
    assert {("dassl.engine", "TrainerX"), ("dassl.data.datasets", "Datum")} <= set(found)
    known = {(module, name) for module, names in NAMES.items() for name in names}
    assert {name: str(path) for name, path in found.items() if name not in known} == {}


def test_the_scan_sees_every_form(tmp_path):
    text = "import dassl.utils as u\ndef f():\n    from dassl.data import (DataManager as D)\nfrom .dassl import x\n"
    (tmp_path / "a.py").write_text(text)
    assert dassl_imports(tmp_path / "a.py") == {("dassl.utils", ""), ("dassl.data", "DataManager")}


@pytest.mark.parametrize("source,target", [(["a"], ["b"]), ([], []), (["b", "c"], [])])
def test_known_domains(source, target):
    class Domains(DatasetBase):
        domains = ("a", "b")

        def __init__(self):
            pass

    if "c" in source:
        with pytest.raises(ValueError, match="'c'"):
            Domains().check_input_domains(source, target)
        with pytest.raises(ValueError, match="'c'"):
            Domains().is_input_domain_valid(source)
    else:
        Domains().check_input_domains(source, target)


def test_a_moving_average():
    meter = AverageMeter(ema=True)
    for value in (10.0, 20.0):
        meter.update(value)
    assert (meter.val, meter.sum, meter.count) == (20.0, 30.0, 2)
    assert meter.avg == pytest.approx(0.9 * 1.0 + 0.1 * 20.0)
