"""Everything public is documented, and the examples in the documentation run as written, those of the binding included."""

import doctest
import importlib
import inspect
import pkgutil
import sys
import types

import pytest

import lazuli.core as mx
import lazuli.nn as nn
import lazuli.optimizers as optim
import lazuli.utils

PACKAGES = [mx, mx.debug, mx.random, mx.linalg, mx.fast, nn, nn.init, nn.losses, optim, lazuli.utils]
NAMES = {"mx": mx, "nn": nn, "optim": optim, **vars(lazuli.utils)}

# Switches and waits: there is nothing that an example could show.
WITHOUT_EXAMPLE = {
    f"lazuli.core.{name}"
    for name in (
        "async_eval", "compile_disabled", "compile_mode", "compile_stats", "disable_compile", "enable_compile", "eval",
        "get_compile_mode", "jvp", "set_compile_mode", "synchronize", "vjp",
    )
}  # fmt: skip


def is_ours(value):
    return (getattr(value, "__module__", None) or "").startswith("lazuli")


def public():
    """Each public function and class once, with the name it is documented under, and the public methods of classes."""
    seen = {}
    for package in PACKAGES:
        for name, value in vars(package).items():
            if name.startswith("_") or isinstance(value, types.ModuleType) or not callable(value) or not is_ours(value):
                continue
            if id(value) in seen:
                continue
            seen[id(value)] = value
            path = f"{package.__name__}.{name}"
            yield path, value
            if inspect.isclass(value) and not issubclass(value, Exception):
                for member, method in vars(value).items():
                    plain = inspect.unwrap(method.__func__ if isinstance(method, (staticmethod, classmethod)) else method)
                    if not member.startswith("_") and (callable(plain) or isinstance(plain, (property, types.GetSetDescriptorType))):
                        yield f"{path}.{member}", plain


EVERYTHING = dict(public())
MODULES = sorted(
    found.name
    for package in (nn, optim)
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
) + ["lazuli.nn", "lazuli.optimizers", "lazuli.utils", "lazuli.core"]


def run_examples(name, doc):
    test = doctest.DocTestParser().get_doctest(doc, dict(NAMES), name, None, 0)
    result = doctest.DocTestRunner(verbose=False, optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=sys.stdout.write)
    assert result.failed == 0, name
    return result.attempted


@pytest.mark.parametrize("name", EVERYTHING)
def test_is_documented(name):
    doc = inspect.getdoc(EVERYTHING[name])
    assert doc, name
    run_examples(name, doc)


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_documented(name):
    doc = importlib.import_module(name).__doc__
    assert doc, name
    run_examples(name, doc)


def test_functions_have_examples():
    def lacks(name, value):
        return inspect.isroutine(value) and name.count(".") == 2 and ">>>" not in (inspect.getdoc(value) or "")

    core = {name: value for name, value in EVERYTHING.items() if name.startswith("lazuli.core.")}
    assert {name for name, value in core.items() if lacks(name, value)} <= WITHOUT_EXAMPLE


def test_functions_show_their_signatures():
    for name, value in EVERYTHING.items():
        if callable(value) and not inspect.isclass(value):
            signature = inspect.signature(value)
            assert not any(p.default is ... for p in signature.parameters.values()), name
            assert "unknown" not in signature.parameters, name
