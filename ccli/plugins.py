"""Packages outside this project that add trainers, data sets and heads, named in the environment variable CCLI_PLUGINS.

    CCLI_PLUGINS=my_method,/home/me/other_method python sweep.py --trainers CCLI MyMethod ...

A name is an importable package; a path is a folder that is one. All modules at the top of a package are imported, so
that trainers and data sets register themselves. Its yaml files lie in PACKAGE/configs/TRAINER/CFG.yaml. Nothing is
imported that the variable does not name: a file that is read can never add to it.
"""

import importlib
import os
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

from ccli.errors import CcliError, first_line

VARIABLE = "CCLI_PLUGINS"


def packages() -> list[ModuleType]:
    """The packages that CCLI_PLUGINS names, imported. Raises CcliError for one that cannot be imported."""
    return [_package(name.strip()) for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]


def modules() -> list[ModuleType]:
    """Every module at the top of these packages, imported. Raises CcliError for one that cannot be imported."""
    inside = [one for package in packages() for one in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")]
    return [_import(one.name) for one in inside if not one.ispkg]


def is_plugin(module: str) -> bool:
    """Whether a module's full name lies in one of these packages; only names are compared."""
    return module.partition(".")[0] in {package.__name__ for package in packages()}


def config_folders(trainer: str = "*") -> list[Path]:
    """The folders with the yaml files of a trainer, or of all trainers, in these packages."""
    places = [Path(place) for package in packages() for place in package.__path__]
    return [folder for place in places for folder in place.glob(f"configs/{trainer}/")]  # folders alone


def trainers() -> list[str]:
    """The trainers that these packages have yaml files for, by name."""
    return sorted({folder.name for folder in config_folders()})


def _package(name: str) -> ModuleType:
    if os.sep in name:
        folder = Path(name).expanduser().absolute()
        if not folder.is_dir():
            raise CcliError(f"{VARIABLE}: there is no folder {folder}; give a package's name or its folder")
        if str(folder.parent) not in sys.path:
            sys.path.append(str(folder.parent))
        name = folder.name
    package = _import(name)
    if not hasattr(package, "__path__"):
        raise CcliError(f"{VARIABLE}: {name} is a module, not a package; give the folder that holds it")
    return package


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:  # whatever the plugin's own code raises
        raise CcliError(
            f"{VARIABLE}: {name} cannot be imported ({type(error).__name__}: {first_line(error)}); fix it, or leave it "
            "out of the variable"
        ) from error
