"""The examples in the documentation of ``nn``, ``optimizers`` and ``utils`` run as written."""

import doctest
import importlib
import pkgutil

import pytest

import lazuli.core as mx
import lazuli.nn as nn
import lazuli.optimizers as optim
import lazuli.utils

PACKAGES = [nn, optim, lazuli.utils]
MODULES = sorted(
    name
    for package in PACKAGES
    for name in [
        package.__name__,
        *(
            found.name
            for found in pkgutil.walk_packages(
                getattr(package, "__path__", ()), package.__name__ + "."
            )
        ),
    ]
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    names = {"mx": mx, "nn": nn, "optim": optim, **vars(lazuli.utils)}
    result = doctest.testmod(module, extraglobs=names)
    assert result.failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    tests = [t for name in MODULES for t in finder.find(importlib.import_module(name))]
    assert sum(bool(t.examples) for t in tests) > 25


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_everything_public_is_documented(package):
    public = [value for name, value in vars(package).items() if not name.startswith("_")]
    for value in public:
        if callable(value) and getattr(value, "__module__", "").startswith("lazuli."):
            assert value.__doc__, value
            methods = vars(value).items() if isinstance(value, type) else ()
            for name, method in methods:
                if callable(method) and not name.startswith("_"):
                    inherited = any(hasattr(base, name) for base in value.__mro__[1:])
                    assert inherited or method.__doc__, f"{value.__name__}.{name}"
