"""Tree functions, by expressions and what they give."""

from collections import OrderedDict, namedtuple

import pytest

from lazuli.utils import (
    tree_flatten,
    tree_map,
    tree_map_with_path,
    tree_merge,
    tree_reduce,
    tree_unflatten,
)

Pair = namedtuple("Pair", "a b")


class Special(list):
    pass


def add(*values):
    return sum(values)


def pair_of_leaves(*values):
    return values


def is_int_list(node):
    return isinstance(node, list) and all(isinstance(item, int) for item in node)


def check(fn, args, expected, kwargs=None):
    """``fn(*args, **kwargs)`` gives ``expected``, equal in type all the way down, or raises it."""
    kwargs = kwargs or {}
    if isinstance(expected, type) and issubclass(expected, Exception):
        with pytest.raises(expected):
            fn(*args, **kwargs)
        return
    result = fn(*args, **kwargs)
    assert result == expected
    assert _types(result) == _types(expected)


def _types(tree):
    if isinstance(tree, dict):
        return type(tree), {key: _types(child) for key, child in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree), [_types(child) for child in tree]
    return type(tree)


MAP = [
    ((add, 3), 3),
    ((add, {}), {}),
    ((add, [[], ()]), [[], ()]),
    ((add, {"a": 1}, {"a": 2, "b": 3}), {"a": 3}),
    ((add, [1, 2], (10, 20, 30)), [11, 22]),
    ((add, (1, (2,)), (1, [2])), (2, (4,))),
    ((add, Pair(1, (2, 3))), Pair(1, (2, 3))),
    ((add, Special([1, 2])), Special([1, 2])),
    ((add, OrderedDict(a=1)), {"a": 1}),
    ((pair_of_leaves, {"a": None}), {"a": (None,)}),
    ((add, {"a": 1, "b": 2}, {"a": 2}), KeyError),
    ((add, [1, 2], [1]), IndexError),
]

MAP_IS_LEAF = [
    ((sum, [[1, 2], [3]]), [3, 3]),
    ((sum, {"a": [1, 2], "b": {"c": [4]}}), {"a": 3, "b": {"c": 4}}),
]

MAP_WITH_PATH = [
    ((pair_of_leaves, {"a": [1, {"b": 2}]}), {}, {"a": [("a.0", 1), {"b": ("a.1.b", 2)}]}),
    ((pair_of_leaves, Pair(1, 2), (3, 4)), {}, Pair(("0", 1, 3), ("1", 2, 4))),
    ((pair_of_leaves, {0: "x"}), {}, {0: ("0", "x")}),
    ((pair_of_leaves, [1]), {"path": "root"}, [("root.0", 1)]),
    ((pair_of_leaves, 3), {}, (None, 3)),
    ((pair_of_leaves, [[1]]), {"is_leaf": is_int_list}, [("0", [1])]),
]

FLATTEN = [
    ((3,), {}, [("", 3)]),
    (([[[0]]],), {}, [("0.0.0", 0)]),
    (([[[0]]],), {"prefix": ".hello"}, [("hello.0.0.0", 0)]),
    (
        ({"a": None, "b": [None, 1], "c": {}, "d": ()},),
        {},
        [("a", None), ("b.0", None), ("b.1", 1)],
    ),
    ((Pair(1, (2, 3)),), {}, [("0", 1), ("1.0", 2), ("1.1", 3)]),
    (({0: 1, "a": {2: 3}},), {}, [("0", 1), ("a.2", 3)]),
    (([[1, 2], [[3]]],), {"is_leaf": is_int_list}, [("0", [1, 2]), ("1.0", [3])]),
    (({"a": {"b": 1}},), {"destination": {}}, {"a.b": 1}),
    (({"a": 1},), {"destination": [("z", 0)]}, [("z", 0), ("a", 1)]),
]

UNFLATTEN = [
    ([], []),
    ({}, []),
    ([("", 3)], 3),
    ([("hello.world", 42)], {"hello": {"world": 42}}),
    ({"hello.world": 42, "hello.0": 1}, {"hello": {"world": 42, "0": 1}}),
    ([("1", 1), ("0", 2)], [2, 1]),
    ([(str(i), i) for i in range(12)], list(range(12))),
    ([("a.0", 1), ("a.3.b", 2)], {"a": [1, {}, {}, {"b": 2}]}),
    ([("b", 2), ("0", 1)], {"b": 2, "0": 1}),
]

REDUCE = [
    ((add, {"a": [1, 2], "b": (3,)}), {}, 6),
    ((add, [], 5), {}, 5),
    ((add, {}), {}, None),
    ((lambda n, _: n + 1, [None, None], 0), {}, 2),
    ((lambda n, leaf: n + len(leaf), [[1, 2], [3]], 0), {"is_leaf": is_int_list}, 3),
]

MERGE = [
    (({"a": 1}, {"b": 2}), {"a": 1, "b": 2}),
    (({"a": {"x": 1}}, {"a": {"y": 2}}), {"a": {"x": 1, "y": 2}}),
    (({"a": 1}, {"a": 2}), ValueError),
    (({"a": 1}, {"a": 2}, add), {"a": 3}),
    (({"a": None}, {"a": 2}), {"a": 2}),
    (({"a": {}}, {"a": 3}), {"a": 3}),
    (({"a": []}, {"a": {"b": 1}}), {"a": {"b": 1}}),
    (({"a": [1]}, {"a": {"b": 1}}), ValueError),
    (([{"a": 1}], [{"b": 1}, {"c": 2}]), [{"a": 1, "b": 1}, {"c": 2}]),
    (([{"a": 1}, {"c": 2}], [{"b": 1}]), [{"a": 1, "b": 1}, {"c": 2}]),
    ((({"a": 1},), [{"b": 1}]), ({"a": 1, "b": 1},)),
    ((Pair({"a": 1}, {}), Pair({"b": 1}, 3)), Pair({"a": 1, "b": 1}, 3)),
    (([None, 2], [1, None]), [1, 2]),
]


@pytest.mark.parametrize("args, expected", MAP)
def test_map(args, expected):
    check(tree_map, args, expected)


@pytest.mark.parametrize("args, expected", MAP_IS_LEAF)
def test_map_with_is_leaf(args, expected):
    check(tree_map, args, expected, {"is_leaf": is_int_list})


@pytest.mark.parametrize("args, kwargs, expected", MAP_WITH_PATH)
def test_map_with_path(args, kwargs, expected):
    check(tree_map_with_path, args, expected, kwargs)


@pytest.mark.parametrize("args, kwargs, expected", FLATTEN)
def test_flatten(args, kwargs, expected):
    check(tree_flatten, args, expected, kwargs)


@pytest.mark.parametrize("flat, expected", UNFLATTEN)
def test_unflatten(flat, expected):
    check(tree_unflatten, (flat,), expected)


@pytest.mark.parametrize("args, kwargs, expected", REDUCE)
def test_reduce(args, kwargs, expected):
    check(tree_reduce, args, expected, kwargs)


@pytest.mark.parametrize("args, expected", MERGE)
def test_merge(args, expected):
    check(tree_merge, args, expected)


@pytest.mark.parametrize(
    "tree", [{"a": [1, {"b": 2}], "c": {"d": [[3]]}}, [1, [2, 3]], {"x": {"y": {"z": 0}}}]
)
def test_unflatten_inverts_flatten(tree):
    check(tree_unflatten, (tree_flatten(tree),), tree)
    check(tree_unflatten, (tree_flatten(tree, destination={}),), tree)
