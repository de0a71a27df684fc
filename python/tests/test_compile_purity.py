"""What a traced function may not do, and what becomes of it if it does.

Each message is checked for the function's name, the line and the remedy. What MLX 0.32.4 does instead is noted where it is unsound. What becomes of
arguments is in ``test_compile_arguments.py``.
"""

import collections
import functools
import gc
import io
import subprocess
import sys
import types
import warnings
import weakref

import numpy as np
import pytest

import lazuli.core as mx
import lazuli.nn as nn
import lazuli.optimizers as optim


def traces():
    return mx.compile_stats()["traces"]


def same(x, values):
    assert x.tolist() == values


# ---- side effects and constants --------------------------------------------------------------


def test_side_effects_happen_at_the_trace_once():
    seen = []

    @mx.compile
    def here(x):
        seen.append("traced")
        return x + 1

    [here(mx.array(float(i))) for i in range(3)]
    assert seen == ["traced"]


def test_pending_constants_are_evaluated_at_the_trace():
    # MLX keeps their graph and runs it at every call.
    pending = mx.ones((1000,)) * 2
    assert "not evaluated" in mx.describe(pending)
    compiled = mx.compile(lambda x: x + pending.sum())
    out = compiled(mx.array(1.0))
    assert "evaluated" in mx.describe(pending) and "not evaluated" not in mx.describe(pending)
    assert out.item() == 2001
    mx.eval(pending)
    before = mx.compile_stats()
    assert compiled(mx.array(2.0)).item() == 2002
    assert mx.compile_stats()["plans"] == before["plans"]


def test_an_array_of_the_closure_is_a_constant():
    state = [mx.array(1.0)]
    compiled = mx.compile(lambda x: x + state[0])
    assert compiled(mx.array(1.0)).item() == 2
    state[0] = mx.array(5.0)
    assert compiled(mx.array(1.0)).item() == 2


# ---- reading values --------------------------------------------------------------------------

READS = {
    "bool": (lambda x: x if x.sum() > 0 else -x, r"with bool\(\)", r"mx\.where"),
    "while": (lambda x: [None for _ in iter(lambda: bool(x.sum()), False)], r"with bool\(\)", r"mx\.where"),
    "item": (lambda x: x.sum().item(), r"with item\(\)", "return the array"),
    "tolist": (lambda x: x.tolist(), r"with tolist\(\)", "return the array"),
    "float": (lambda x: float(x.sum()), r"with float\(\)", "keep computing"),
    "int": (lambda x: int(x.sum()), r"with int\(\)", "keep computing"),
    "complex": (lambda x: complex(x.sum()), r"with complex\(\)", "keep computing"),
    "index": (lambda x: [1, 2][x.sum().astype(mx.int32)], r"with index\(\)", r"mx\.take"),
    "in": (lambda x: 1.0 in x, "with in", r"mx\.any"),
    "print": (lambda x: print(x), "with print", r"mx\.debug\.print.*mx\.describe.*disable_compile"),
    "repr": (lambda x: repr(x), "with print", "disable_compile"),
    "format": (lambda x: f"{x.sum():.2f}", r"with format\(\)", "disable_compile"),
    "numpy": (lambda x: np.array(x), "with numpy", "outside"),
    "asarray": (lambda x: np.asarray(x), "with numpy", "outside"),
    "numpy function": (lambda x: np.exp(x), "with numpy", "outside"),
    "memoryview": (lambda x: memoryview(x), "with numpy or a buffer", "outside"),
    "eval": (lambda x: mx.eval(x + 1), r"with eval\(\)", "leave the call out"),
    "eval of a tree": (lambda x: mx.eval({"a": [x + 1]}), r"with eval\(\)", "leave the call out"),
    "async_eval": (lambda x: mx.async_eval(x + 1), r"with async_eval\(\)", "leave the call out"),
    "save": (lambda x: mx.save(io.BytesIO(), x), "", "outside"),
}


@pytest.mark.parametrize("name", READS)
def test_reading_a_value_names_the_function_the_line_and_the_remedy(name):
    read, how, remedy = READS[name]

    def offender(x):
        return read(x)

    with pytest.raises(mx.TracerError) as found:
        mx.compile(offender)(mx.array([1.0, 2.0]))
    text = str(found.value)
    assert isinstance(found.value, ValueError)
    assert "'offender'" in text and f"{__file__}:" in text
    with pytest.raises(mx.TracerError, match=f"{how}.*{remedy}"):
        raise found.value


def test_shapes_and_dtypes_are_there():
    @mx.compile
    def here(x):
        assert x.shape == (2,) and x.ndim == 1 and x.size == 2 and x.dtype == mx.float32 and len(x) == 2
        return x if x.shape[0] > 1 else -x

    same(here(mx.array([1.0, 2.0])), [1, 2])


def test_values_that_do_not_depend_on_the_arguments_can_be_read():
    @mx.compile
    def here(x):
        scale = mx.arange(3).sum().item()
        return x * scale

    same(here(mx.array([1.0])), [3])


def test_a_vmapped_function_has_no_values_either():
    with pytest.raises(mx.TracerError, match="'offender'.*vmap"):

        def offender(x):
            return x if x > 0 else -x

        mx.vmap(offender)(mx.array([1.0]))


LEAK = """
import lazuli.core as mx
kept = []
mx.vmap(lambda x: kept.append(x * 2) or x)(mx.array([1.0]))
try:
    print(kept)
except mx.LeakedTracerError as e:
    print(e)
"""


def test_what_leaks_of_a_vmapped_function_was_made_at_a_place_of_the_users():
    # In a process that has compiled nothing.
    said = subprocess.run([sys.executable, "-c", LEAK], capture_output=True, text=True, check=True).stdout
    assert "made at <string>:4" in said and "crates/" not in said


def test_a_placeholder_that_got_out_names_who_let_it_out_and_where_it_was_made():
    kept = []

    @mx.compile
    def culprit(x):
        kept.append(x * 2)
        kept.append(x)
        return x

    culprit(mx.array(1.0))
    for use in (lambda: kept[0].item(), lambda: print(kept[0] + 1), lambda: mx.eval(kept), lambda: kept[1].item()):
        with pytest.raises(mx.LeakedTracerError, match="'culprit'.*outputs=") as found:
            use()
        assert isinstance(found.value, ValueError) and isinstance(found.value, RuntimeError)
    with pytest.raises(mx.LeakedTracerError, match=rf"made at {__file__}:\d+"):
        kept[0].item()
    with pytest.raises(mx.LeakedTracerError, match="'culprit'"):
        mx.compile(lambda x: x + kept[0])(mx.array(1.0))
    with pytest.raises(mx.LeakedTracerError, match="'culprit'"):
        mx.eval(mx.compile(lambda x: x + 1)(kept[0]))


def test_describe_is_always_safe():
    told = []

    @mx.compile
    def here(x):
        y = x * 2
        told.extend([mx.describe(x), mx.describe(y)])
        told.append(y)
        return y

    here(mx.ones((2, 3)))
    assert told[0] == "array of shape (2, 3), float32, a placeholder without a value in the trace of 'here' by compile"
    assert "multiply is to be run at" in told[1] and __file__ in told[1]
    assert "traced" in mx.describe(told[2])
    assert mx.describe(3) == "no array: int"


# ---- uncaptured inputs -------------------------------------------------------------------------


def test_an_argument_that_is_also_in_the_closure_is_refused():
    x = mx.array([1.0, 2.0])

    def culprit(d):
        return d["w"] + x

    with pytest.raises(ValueError, match=r"args\[0\]\['w'\] of 'culprit'.*uncaptured input"):
        mx.compile(culprit)({"w": x})
    same(mx.compile(culprit)({"w": mx.array([1.0, 1.0])}), [2, 3])


def test_an_argument_that_a_pending_array_of_the_closure_needs_is_refused():
    x = mx.array([1.0, 2.0])
    y = mx.exp(x * 2)
    with pytest.raises(ValueError, match="uncaptured input"):
        mx.compile(lambda x: x + y)(x)
    mx.eval(y)
    assert mx.array_equal(mx.compile(lambda x: x + y)(x), x + y)


# ---- state into which points of a batch are put ----------------------------------------------------


def test_state_that_is_updated_with_points_of_a_batch_is_put_back_and_named():
    model, count, total = Net(), mx.array(0), mx.zeros((2,))
    before = weights(model)

    def replaces(x):
        model.l1.weight = model.l1.weight * x
        return x

    def updates(x):
        total[0] = x
        return x

    xs = mx.array([1.0, 2.0])
    for f, text in [(replaces, r"model\.l1\.weight is updated in 'replaces'"), (updates, r"total \(in place, at .*\) is updated in 'updates'")]:
        for g in (mx.vmap(f), mx.compile(mx.vmap(f)), lambda xs: mx.grad(lambda xs: mx.vmap(f)(xs).sum())(xs)):
            with pytest.raises(ValueError, match=rf"\[vmap\] {text} with what depends on a point of the batch.*put back"):
                g(xs)
            assert weights(model) == before
            same(total, [0, 0])

    def counts(x):
        count[...] = count + 1
        model.counts["steps"] = mx.array(7)
        inner = mx.zeros((1,))
        inner[0] = x
        return inner * mx.random.uniform()

    mx.random.seed(0)
    key = mx.random.state[0].tolist()
    same(mx.vmap(counts)(xs), mx.vmap(lambda x: mx.array([x]) * mx.random.uniform(key=mx.random.split(mx.array(key, mx.uint32))[1]))(xs).tolist())
    # What does not depend on the batch is a side effect like any.
    assert (count.item(), model.counts["steps"].item()) == (1, 7) and mx.random.state[0].tolist() != key

    def fails(x):
        total[1] = x
        raise KeyError("here")

    with pytest.raises(KeyError, match="here"):
        mx.vmap(fails)(xs)
    same(total, [0, 0])


# ---- state that is changed without being captured ------------------------------------------------


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.l1 = nn.Linear(2, 2)
        self.layers = [nn.Linear(2, 2)]
        self.counts = {"steps": mx.array(0)}


def snapshot(model):
    return [(id(v), v.tolist()) for _, v in nn.utils.tree_flatten(model.state)] if hasattr(nn.utils, "tree_flatten") else None


def weights(model):
    from lazuli.utils import tree_flatten

    return [(path, id(v), v.tolist()) for path, v in tree_flatten(model.state)]


def test_a_module_that_is_updated_without_being_captured_is_put_back_and_named():
    # MLX leaves placeholders in the model.
    model = Net()
    before = weights(model)

    def step(x):
        model.l1.weight = model.l1.weight * x.sum()
        return x

    with pytest.raises(ValueError, match=r"model\.l1\.weight is updated in 'step'.*add model\.state to outputs="):
        mx.compile(step)(mx.ones((1, 2)))
    assert weights(model) == before
    mx.compile(step, inputs=model.state, outputs=model.state)(mx.ones((1, 2)))
    assert weights(model) != before


UPDATES = {
    "a list of modules": (lambda m, x: setattr(m.layers[0], "bias", x), r"model\.layers\[0\]\.bias"),
    "a dict": (lambda m, x: m.counts.update(steps=x), r"model\.counts\['steps'\]"),
    "a new array": (lambda m, x: setattr(m, "cache", x), r"model\.cache"),
    "in place": (lambda m, x: m.l1.weight.__setitem__(0, x), r"model\.l1\.weight"),
    "by an operator": (lambda m, x: m.l1.bias.__iadd__(x), r"model\.l1\.bias"),
    "by update": (lambda m, x: m.update({"l1": {"bias": x}}), r"model\.l1\.bias"),
}


@pytest.mark.parametrize("what", UPDATES)
def test_every_way_to_update_a_module_is_noticed(what):
    update, name = UPDATES[what]
    model = Net()
    before = weights(model)

    def step(x):
        update(model, x)
        return x

    with pytest.raises(ValueError, match=f"{name}.*is updated in 'step'.*model.state"):
        mx.compile(step)(mx.ones((2,)))
    assert weights(model) == before
    assert "cache" not in model


class Holder:
    model = nn.Linear(2, 2)
    __slots__ = ("other",)

    def helper(self, x):
        SHARED.weight = SHARED.weight * x.sum()
        return x

    def step(self, x):
        return self.helper(x)

    @staticmethod
    def static(x):
        SHARED.weight = SHARED.weight * x.sum()
        return x

    @property
    def shared(self):
        return SHARED


SHARED = nn.Linear(2, 2)
HOLDER = Holder()
HOLDER.other = nn.Linear(2, 2)
QUEUE = collections.deque([SHARED])
MODULE = types.ModuleType("settings")
MODULE.model = SHARED


def scale(module, x):
    module.weight = module.weight * x.sum()
    return x


def scale_shared(x):
    return scale(SHARED, x)


def scale_own(x):
    return scale(scale_own.model, x)


scale_own.model = SHARED


class Peer:
    """One of many that know one another: there are more ways from one to another than can be gone."""

    everyone = [object() for _ in range(100)]

    def __init__(self):
        self.peers = Peer.everyone


Peer.everyone[:] = [Peer() for _ in Peer.everyone]
CROWD = {"rows": [(i, [i]) for i in range(100_000)], "peers": Peer.everyone, "model": SHARED}
HELPERS = [scale_shared]
CACHED = functools.lru_cache(scale_shared)

REACHED = {
    "by a method of the object": (HOLDER.step, SHARED),
    "by a property": (lambda x: scale(HOLDER.shared, x), SHARED),
    "as an attribute of a class": (lambda x: scale(Holder.model, x), Holder.model),
    "by a static method": (lambda x: Holder.static(x), SHARED),
    "in a slot": (lambda x: scale(HOLDER.other, x), HOLDER.other),
    "by a function in a list": (lambda x: HELPERS[0](x), SHARED),
    "by a function behind a cache": (lambda x: CACHED(x), SHARED),
    "as an attribute of the function": (scale_own, SHARED),
    "in a queue": (lambda x: scale(QUEUE[0], x), SHARED),
    "beside a hundred thousand other objects": (lambda x: scale(CROWD["model"], x), SHARED),
    "as an attribute of a module": (lambda x: scale(MODULE.model, x), SHARED),
}


@pytest.mark.parametrize("how", REACHED)
def test_a_module_is_put_back_however_it_is_reached(how):
    step, module = REACHED[how]
    before = weights(module)
    with pytest.raises(ValueError, match="weight is updated in .*add .*state to outputs="):
        mx.compile(step)(mx.ones((2,)))
    assert weights(module) == before


def test_an_optimizer_that_is_not_captured_is_noticed():
    model, optimizer = nn.Linear(2, 1), optim.Adam(0.1)

    def step(x):
        loss, grads = nn.value_and_grad(model, lambda x: model(x).sum())(x)
        optimizer.update(model, grads)
        return loss

    before = weights(model)
    with pytest.raises(ValueError, match=r"optimizer\.state\[.*and \d+ more.*add optimizer\.state to outputs="):
        mx.compile(step, inputs=model.state, outputs=model.state)(mx.ones((1, 2)))
    assert weights(model) == before
    assert optimizer.state["step"].item() == 0


def test_the_model_of_a_trainer_is_named_by_its_attribute():
    class Trainer:
        def __init__(self):
            self.model = nn.BatchNorm(2)

        def step(self, x):
            return self.model(x)

    trainer = Trainer()
    with pytest.raises(ValueError, match=r"self\.model\.running_mean.*add self\.model\.state to outputs="):
        mx.compile(trainer.step)(mx.ones((4, 2)))
    same(trainer.model.running_mean, [0, 0])
    mx.compile(trainer.step, inputs=trainer.model.state, outputs=trainer.model.state)(mx.ones((4, 2)))
    assert trainer.model.running_mean.tolist() != [0, 0]


COUNTER = mx.array([1.0])


def test_an_array_that_is_updated_in_place_outside_the_arguments_is_put_back_and_named():
    # MLX leaves a placeholder in the user's array.
    def step(x):
        global COUNTER
        COUNTER += x
        return x

    with pytest.raises(ValueError, match=rf"COUNTER \(in place, at {__file__}:\d+\) is updated in 'step'"):
        mx.compile(step)(mx.array([2.0]))
    same(COUNTER, [1])
    hidden = {"deep": [(mx.array([1.0]),)]}

    def write(x):
        hidden["deep"][0][0][0] = x

    with pytest.raises(ValueError, match=r"hidden\['deep'\]\[0\]\[0\] .*in place.* is updated in 'write'"):
        mx.compile(write)(mx.array(2.0))
    same(hidden["deep"][0][0], [1])


def test_an_update_that_does_not_depend_on_the_arguments_is_refused_too():
    count = mx.array([0])

    @mx.compile
    def here(x):
        count[0] = 7
        return x + 1

    with pytest.raises(ValueError, match="count .in place.* is updated in 'here'"):
        here(mx.array(1.0))
    same(count, [0])


def test_a_step_without_arguments_is_refused_as_others_are():
    model = nn.Linear(2, 1)
    optimizer = optim.SGD(learning_rate=0.1)
    before = mx.array(model.weight)

    @mx.compile
    def step():
        loss, grads = nn.value_and_grad(model, lambda m: mx.sum(m(mx.ones((1, 2)))))(model)
        optimizer.update(model, grads)
        return loss

    with pytest.raises(ValueError, match=r"add .*state to outputs="):
        step()
    assert mx.array_equal(model.weight, before).item()


def test_arrays_of_its_own_can_be_updated_in_place():
    @mx.compile
    def here(x):
        out = mx.zeros((3,))
        out[1] = x
        out += 1
        return out

    for n in (1.0, 2.0):
        same(here(mx.array(n)), [1, n + 1, 1])


def test_state_of_a_compiled_function_that_is_called_is_put_back_and_named():
    state, hidden = {"w": [mx.array(1.0)]}, []

    @functools.partial(mx.compile, inputs=state, outputs=state)
    def step(x):
        state["w"][0] = state["w"][0] + x
        return state["w"][0]

    @functools.partial(mx.compile, outputs=hidden)
    def push(x):
        hidden.append(x)

    def outer(x):
        return step(x) + step(x)

    with pytest.raises(ValueError, match=r"step\.outputs\['w'\]\[0\] is updated in 'outer'.*add what 'step' captures to outputs="):
        mx.compile(outer)(mx.array(2.0))
    same(state["w"][0], 1)
    with pytest.raises(ValueError, match=r"push\.outputs\[0\] is updated in '<lambda>'"):
        mx.compile(lambda x: push(x))(mx.array(2.0))
    assert not hidden
    captured = mx.compile(outer, inputs=state, outputs=state)
    assert [captured(mx.array(2.0)).item() for _ in range(3)] == [8, 16, 24]
    assert step(mx.array(1.0)).item() == 14


def test_containers_in_inputs_alone_are_put_back():
    state = {"w": mx.array(1.0)}

    def step(x):
        state["w"] = state["w"] + x
        return x

    with pytest.raises(ValueError, match=r"inputs\['w'\] is updated in 'step'.*the same tree to outputs="):
        mx.compile(step, inputs=state)(mx.array(1.0))
    assert state["w"].item() == 1


# ---- warnings ----------------------------------------------------------------------------------


def test_an_output_capture_that_is_read_but_no_input_warns_at_the_trace():
    state = {"n": [mx.array(1.0)]}

    def step(x):
        state["n"][0] = state["n"][0] + x
        return state["n"][0]

    compiled = mx.compile(step, outputs=state)
    with pytest.warns(mx.CaptureWarning, match=r"'step' reads outputs\['n'\]\[0\].*inputs=") as found:
        assert compiled(mx.array(1.0)).item() == 2
    assert found[0].filename == __file__
    # Each call starts from the traced value, as from any constant.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compiled(mx.array(1.0)).item() == 2


def draw(x):
    return x + mx.random.uniform()


def test_random_numbers_without_a_captured_key_warn_and_repeat():
    compiled = mx.compile(draw)
    with pytest.warns(mx.CaptureWarning, match=r"'draw' draws random numbers.*mx\.random\.state"):
        first = compiled(mx.array(0.0)).item()
    assert compiled(mx.array(0.0)).item() == first
    # The key itself moved on, at the trace, and holds no placeholder.
    assert mx.random.uniform().item() != first
    with pytest.warns(mx.CaptureWarning):
        mx.compile(lambda x: draw(x), inputs=mx.random.state)(mx.array(0.0))


def test_random_numbers_with_a_captured_or_explicit_key_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled = mx.compile(lambda x: draw(x), inputs=mx.random.state, outputs=mx.random.state)
        mx.random.seed(3)
        got = [compiled(mx.array(0.0)).item() for _ in range(3)]
        mx.random.seed(3)
        assert got == [draw(mx.array(0.0)).item() for _ in range(3)]
        key = mx.random.key(1)
        mx.compile(lambda k: mx.random.uniform(key=k))(key)


def test_a_compiled_function_that_draws_within_one_that_captures_the_key():
    @mx.compile
    def inner(x):
        return x + mx.random.uniform()

    outer = mx.compile(lambda x: inner(x) + inner(x), inputs=mx.random.state, outputs=mx.random.state)

    def plain(x):
        return draw(x) + draw(x)

    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            mx.random.seed(3)
            got = [outer(mx.array(0.0)).item() for _ in range(3)]
        mx.random.seed(3)
        assert got == [plain(mx.array(0.0)).item() for _ in range(3)]


# ---- errors --------------------------------------------------------------------------------------


def test_a_function_that_raises_leaves_captured_state_and_cache_alone():
    model = Net()
    state = {"n": [mx.array(1.0)], "model": model.state, "flag": 1}
    raises = [True]

    def step(x):
        state["n"].append(x)
        state["n"][0] += x
        state["flag"] = 2
        state["new"] = x
        model.l1.weight = x
        model.eval()
        if raises[0]:
            raise KeyError("mine")
        return state["n"][0]

    compiled = mx.compile(step, inputs=state, outputs=state)
    before = weights(model)
    for _ in range(2):
        with pytest.raises(KeyError, match="mine"):
            compiled(mx.array(2.0))
        assert [a.item() for a in state["n"]] == [1]
        assert weights(model) == before and model.training and list(state) == ["n", "model", "flag"]
        assert state["flag"] == 1
    raises[0] = False
    assert compiled(mx.array(2.0)).item() == 3
    assert [a.item() for a in state["n"]] == [3, 2] and state["flag"] == 2


# ---- what is kept -------------------------------------------------------------------------------


def test_what_a_trace_held_is_freed():
    class Big:
        pass

    kept = []

    @mx.compile
    def here(x):
        big = Big()
        kept.append(weakref.ref(big))
        return x + 1

    here(mx.array(1.0))
    gc.collect()
    assert kept[0]() is None


def test_state_that_follows_from_no_point_of_a_batch_is_updated():
    def draw(r):
        return r + mx.random.uniform(shape=(3,))

    x, captures = mx.ones((4, 3)), {"inputs": mx.random.state, "outputs": mx.random.state}
    compiled = mx.vmap(mx.compile(draw, **captures))
    drawn = []
    for f in (mx.vmap(draw), compiled, mx.compile(compiled, **captures)):
        mx.random.seed(7)
        drawn.append([f(x).tolist() for _ in range(3)])
    assert drawn[0] == drawn[1] == drawn[2] and drawn[0][0] != drawn[0][1]
    counted = {"n": mx.array(0.0)}

    def count(r):
        counted["n"] = counted["n"] + 1
        return r.sum()

    assert mx.vmap(mx.compile(count, inputs=counted, outputs=counted))(x).tolist() == [3] * 4
    assert counted["n"].item() == 1
