"""Functions on trees: nested lists, tuples and dictionaries of values.

A *leaf* is whatever is not a list, a tuple, a dictionary or an object of a class registered with
``lazuli.core.register_tree_node``, whose children are numbered (``None`` is a leaf); an empty container
is a tree without leaves. A path names a leaf by its keys and indices joined with dots
(``"layers.0.weight"``), which is also the name of a parameter in a weight file.

Results keep the types of lists and tuples, named tuples and other subclasses included.
Dictionaries, a :class:`lazuli.nn.Module` among them, become plain ``dict``.

Nothing here looks into a leaf, so these functions work on trees of anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import zip_longest
from typing import Any

from lazuli import _lazuli, _spelling

__all__ = [
    "tree_flatten",
    "tree_map",
    "tree_map_with_path",
    "tree_merge",
    "tree_reduce",
    "tree_unflatten",
]

IsLeaf = Callable[[Any], bool]


def _rebuild(like: list | tuple, items: Iterable[Any]) -> Any:
    """A sequence of the type of ``like``: named tuples take their items as arguments."""
    make = getattr(type(like), "_make", type(like))
    return make(items)


def tree_map(fn: Callable[..., Any], tree: Any, *rest: Any, is_leaf: IsLeaf | None = None) -> Any:
    """Apply ``fn`` to every leaf of ``tree`` and return the tree of the results.

    Args:
        fn: called as ``fn(leaf, *leaves_of_rest)``.
        tree: the tree whose structure the result has.
        *rest: further trees, each with at least the keys and indices of ``tree``.
        is_leaf: says of a container that it is to be handed to ``fn`` whole.

    Example:
        >>> tree_map(lambda x, y: x + y, {"a": 1, "b": [2]}, {"a": 10, "b": [20], "c": 30})
        {'a': 11, 'b': [22]}
    """
    if is_leaf is not None and is_leaf(tree):
        return fn(tree, *rest)
    if isinstance(tree, (list, tuple)):
        return _rebuild(
            tree,
            (
                tree_map(fn, child, *(r[i] for r in rest), is_leaf=is_leaf)
                for i, child in enumerate(tree)
            ),
        )
    if isinstance(tree, dict):
        return {
            key: tree_map(fn, child, *(r[key] for r in rest), is_leaf=is_leaf)
            for key, child in tree.items()
        }
    if (parts := _lazuli._tree_node_parts(tree)) is not None:
        others = [_lazuli._tree_node_parts(r)[0] for r in rest]
        mapped = (tree_map(fn, *children, is_leaf=is_leaf) for children in zip(parts[0], *others))
        return _lazuli._tree_node_build(tree, parts[1], tuple(mapped))
    return fn(tree, *rest)


def tree_map_with_path(
    fn: Callable[..., Any],
    tree: Any,
    *rest: Any,
    is_leaf: IsLeaf | None = None,
    path: str | None = None,
) -> Any:
    """As :func:`tree_map`, with the leaf's path as the first argument of ``fn``.

    Args:
        fn: called as ``fn(path, leaf, *leaves_of_rest)``.
        tree: the tree whose structure the result has.
        *rest: further trees, each with at least the keys and indices of ``tree``.
        is_leaf: says of a container that it is to be handed to ``fn`` whole.
        path: a prefix for all paths. A leaf handed in by itself has this path (``None``).

    Example:
        >>> tree_map_with_path(lambda path, _: path, {"model": [{"w": 0}, {"w": 1}]})
        {'model': [{'w': 'model.0.w'}, {'w': 'model.1.w'}]}
    """

    def below(key: Any) -> str:
        return str(key) if path is None else f"{path}.{key}"

    if is_leaf is not None and is_leaf(tree):
        return fn(path, tree, *rest)
    if isinstance(tree, (list, tuple)):
        return _rebuild(
            tree,
            (
                tree_map_with_path(fn, child, *(r[i] for r in rest), is_leaf=is_leaf, path=below(i))
                for i, child in enumerate(tree)
            ),
        )
    if isinstance(tree, dict):
        return {
            key: tree_map_with_path(
                fn, child, *(r[key] for r in rest), is_leaf=is_leaf, path=below(key)
            )
            for key, child in tree.items()
        }
    if (parts := _lazuli._tree_node_parts(tree)) is not None:
        others = [_lazuli._tree_node_parts(r)[0] for r in rest]
        mapped = (
            tree_map_with_path(fn, *children, is_leaf=is_leaf, path=below(i))
            for i, children in enumerate(zip(parts[0], *others))
        )
        return _lazuli._tree_node_build(tree, parts[1], tuple(mapped))
    return fn(path, tree, *rest)


def tree_flatten(
    tree: Any,
    prefix: str = "",
    is_leaf: IsLeaf | None = None,
    destination: list[tuple[str, Any]] | dict[str, Any] | None = None,
) -> Any:
    """The leaves of ``tree`` with their paths.

    Args:
        tree: the tree.
        prefix: put before every path; its first character is dropped, as a separator would be.
        is_leaf: says of a container that it is to be listed whole.
        destination: the list of pairs or the dictionary to add to. Default: a new list.

    Returns:
        ``destination``: a list of ``(path, leaf)``, or a dictionary from path to leaf.

    Example:
        >>> tree_flatten({"a": [1, {"b": 2}]})
        [('a.0', 1), ('a.1.b', 2)]
        >>> tree_flatten({"a": {"b": 1}}, destination={})
        {'a.b': 1}
    """
    if destination is None:
        destination = []
    if not (is_leaf is not None and is_leaf(tree)):
        children: Iterable[tuple[Any, Any]] | None = None
        if isinstance(tree, (list, tuple)):
            children = enumerate(tree)
        elif isinstance(tree, dict):
            children = tree.items()
        elif (parts := _lazuli._tree_node_parts(tree)) is not None:
            children = enumerate(parts[0])
        if children is not None:
            for key, child in children:
                tree_flatten(child, f"{prefix}.{key}", is_leaf, destination)
            return destination
    if isinstance(destination, dict):
        destination[prefix[1:]] = tree
    else:
        destination.append((prefix[1:], tree))
    return destination


def tree_unflatten(tree: list[tuple[str, Any]] | dict[str, Any]) -> Any:
    """The tree with the given leaves at the given paths: the inverse of :func:`tree_flatten`.

    A level whose keys are all numbers becomes a list, with ``{}`` where a number is missing;
    any other level becomes a dictionary. Empty containers and tuples are not recovered.

    Args:
        tree: pairs of path and leaf, or a dictionary from path to leaf.

    Example:
        >>> tree_unflatten([("a.0", 1), ("a.2.b", 2)])
        {'a': [1, {}, {'b': 2}]}
    """
    pairs = list(tree.items() if isinstance(tree, dict) else tree)
    if len(pairs) == 1 and pairs[0][0] == "":
        return pairs[0][1]

    levels: dict[str, list[tuple[str, Any]]] = {}
    for path, leaf in pairs:
        key, _, rest = path.partition(".")
        levels.setdefault(key, []).append((rest, leaf))
    if not all(key.isdecimal() for key in levels):
        return {key: tree_unflatten(below) for key, below in levels.items()}

    items: list[Any] = []
    for index, below in sorted((int(key), below) for key, below in levels.items()):
        items.extend({} for _ in range(index - len(items)))
        items.append(tree_unflatten(below))
    return items


def tree_reduce(
    fn: Callable[[Any, Any], Any],
    tree: Any,
    initializer: Any = None,
    is_leaf: IsLeaf | None = None,
) -> Any:
    """Fold the leaves of ``tree``, in order, with ``fn(accumulated, leaf)``.

    Args:
        fn: combines what was accumulated with the next leaf.
        tree: the tree.
        initializer: what to start from. Default: the first leaf (``None`` if there is none).
        is_leaf: says of a container that it is to be taken whole.

    Example:
        >>> tree_reduce(lambda total, x: total + x, {"a": [1, 2, 3], "b": [4, 5]}, 0)
        15
    """
    accumulated = initializer
    for _, leaf in tree_flatten(tree, is_leaf=is_leaf):
        accumulated = leaf if accumulated is None else fn(accumulated, leaf)
    return accumulated


def tree_merge(tree_a: Any, tree_b: Any, merge_fn: Callable[[Any, Any], Any] | None = None) -> Any:
    """One tree with the leaves of both: ``dict.update``, but deep.

    ``None`` and empty containers hold no leaves, and give way to what the other tree has.

    Args:
        tree_a: the first tree.
        tree_b: the second tree.
        merge_fn: called as ``merge_fn(a, b)`` for two leaves at the same place.

    Raises:
        ValueError: both trees have a leaf at the same place and there is no ``merge_fn``, or
            one has a container where the other has a leaf or another kind of container.

    Example:
        >>> tree_merge({"a": {"x": 1}}, {"a": {"y": 2}, "b": 3})
        {'a': {'x': 1, 'y': 2}, 'b': 3}
    """
    if _is_vacant(tree_a):
        return tree_b
    if _is_vacant(tree_b):
        return tree_a
    if isinstance(tree_a, dict) and isinstance(tree_b, dict):
        shared = {
            key: tree_merge(child, tree_b[key], merge_fn) if key in tree_b else child
            for key, child in tree_a.items()
        }
        return shared | {key: child for key, child in tree_b.items() if key not in tree_a}
    if isinstance(tree_a, (list, tuple)) and isinstance(tree_b, (list, tuple)):
        return _rebuild(
            tree_a, (tree_merge(a, b, merge_fn) for a, b in zip_longest(tree_a, tree_b))
        )
    if merge_fn is None:
        raise ValueError(
            "[tree_merge] both trees have a leaf at the same place "
            f"({type(tree_a).__name__} and {type(tree_b).__name__}); pass merge_fn to combine them"
        )
    return merge_fn(tree_a, tree_b)


def _is_vacant(tree: Any) -> bool:
    return tree is None or (isinstance(tree, (dict, list, tuple)) and not tree)

_spelling.answer(__name__, "lazuli.utils", lambda: __all__)
