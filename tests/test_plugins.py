"""Packages that CCLI_PLUGINS names."""

import pytest

from ccli import plugins
from ccli.errors import CcliError


def package(folder, **modules):
    """A package in `folder` with one yaml for the trainer Mine."""
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "configs/Mine").mkdir(parents=True)
    (folder / "configs/Mine/demo_clip.yaml").write_text("")
    return folder


def test_nothing_is_named(monkeypatch):
    monkeypatch.delenv("CCLI_PLUGINS", raising=False)
    assert plugins.packages() == plugins.modules() == plugins.trainers() == []
    assert not plugins.is_plugin("ccli.methods.gda")


def test_a_folder_and_a_name(tmp_path, monkeypatch):
    one = package(tmp_path / "here/plugin_one", a="x = 1\n", b="y = 2\n")
    package(tmp_path / "there/plugin_two", c="z = 3\n")
    monkeypatch.syspath_prepend(tmp_path / "there")
    monkeypatch.setenv("CCLI_PLUGINS", f"{one}, plugin_two")
    assert [module.__name__ for module in plugins.modules()] == ["plugin_one.a", "plugin_one.b", "plugin_two.c"]
    assert plugins.is_plugin("plugin_one.a") and not plugins.is_plugin("os")
    assert plugins.trainers() == ["Mine"] and plugins.config_folders("Mine")[0] == one / "configs/Mine"
    assert plugins.config_folders("Other") == []


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("no_such_package_here", "no_such_package_here cannot be imported"),
        ("/no/such/folder", "there is no folder /no/such/folder"),
        ("json.decoder", "json.decoder is a module, not a package"),
    ],
)
def test_what_cannot_be_used_is_named(monkeypatch, value, words):
    monkeypatch.setenv("CCLI_PLUGINS", value)
    with pytest.raises(CcliError, match=f"^CCLI_PLUGINS: {words}"):
        plugins.packages()


def test_a_module_that_fails_is_named(tmp_path, monkeypatch):
    broken = package(tmp_path / "plugin_broken", a="raise RuntimeError('not today')\n")
    monkeypatch.setenv("CCLI_PLUGINS", str(broken))
    with pytest.raises(CcliError, match=r"plugin_broken\.a cannot be imported \(RuntimeError: not today\)"):
        plugins.modules()
