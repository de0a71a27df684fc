"""What `explain` says of compiled functions, as text, data and a page."""

import json
import re
import shutil
import subprocess
import sys

import pytest

import lazuli.core as mx
import lazuli.nn as nn
import lazuli.optimizers as optim
from lazuli.utils import tree_flatten


def gelu(x):
    return x * (1 + mx.erf(x / 2**0.5)) / 2


def page_data(page):
    return json.loads(re.search(r"const data = (.*);\n", page).group(1))


def training_step():
    """A step of about 300 operations, and its arguments."""
    mx.random.seed(0)
    model = nn.Sequential(*[nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.GELU()) for _ in range(4)], nn.Linear(8, 2))
    optimizer = optim.Adam(1e-3)
    optimizer.init(model.trainable_parameters())
    state = [model.state, optimizer.state]

    def step(x, y):
        loss_fn = lambda model: mx.mean(nn.losses.cross_entropy(model(x), y))
        loss, grads = nn.value_and_grad(model, loss_fn)(model)
        optimizer.update(model, grads)
        return loss

    return mx.compile(step, inputs=state, outputs=state), (mx.ones((4, 8)), mx.array([0, 1, 1, 0])), state


def test_nothing_is_computed_and_the_trace_is_kept():
    f = mx.compile(lambda x: gelu(x))
    before = mx.compile_stats()
    e = f.explain(mx.ones((1000,)))
    assert (e.summary, e.cause) == ("1 kernel, 5 ops fused, 1 trace, 0 constants", "for the first call")
    f(mx.ones((1000,)))
    after = mx.compile_stats()
    assert after["traces"] == before["traces"] + 1


def test_the_cause_names_what_changed():
    f = mx.compile(lambda x, y: x + y)
    f(mx.ones((3,)), 1.0)
    assert "args[1]" in f.explain(mx.ones((3,)), 2.0).cause
    assert "args[0].shape[0]" in f.explain(mx.ones((4,)), 2.0).cause


def test_constants_and_places_are_named():
    table = mx.arange(5, dtype=mx.float32)

    def f(x):
        return mx.sin(x) + table  # the line that is named

    e = mx.compile(f).explain(mx.ones((5,)))
    assert e.constants == [("table", "f32[5]", 20)]
    line = f.__code__.co_firstlineno + 1
    assert f"test_explain.py:{line}" in str(e)


def test_constants_have_the_names_that_the_function_has_for_them():
    model, tables = nn.Linear(3, 2), {"cos": [mx.ones((2,))]}

    @mx.compile
    def f(x):
        return (model.weight @ x + model.bias) * tables["cos"][0] + mx.arange(2)

    e = f.explain(mx.ones((3,)))
    assert {name for name, _, _ in e.constants} >= {"model.weight", "model.bias", "tables['cos'][0]"}
    assert "model.weight: f32[2,3], 24 B" in str(e)


@pytest.mark.parametrize("file", ["/projects/lazuli/train.py", "/projects/my_functools.py", "lazuli/nn/train.py"])
def test_places_in_files_of_the_user_are_named_whatever_their_names(file):
    scope = {}
    exec(compile("def f(x):\n    return abs(x).exp()\n", file, "exec"), scope)
    assert f"{file}:2" in str(mx.compile(scope["f"]).explain(mx.ones((5,))))


def test_state_stays_as_it_is():
    step, arguments, state = training_step()
    before = [mx.array(a) for _, a in tree_flatten(state) if isinstance(a, mx.array)]
    step.explain(*arguments)
    after = [a for _, a in tree_flatten(state) if isinstance(a, mx.array)]
    assert len(before) == len(after) and all(mx.array_equal(a, b).item() for a, b in zip(before, after))


def test_lowered_functions_are_text():
    low = mx.compile(gelu).lower(mx.ones((8,)))
    assert low.graph.startswith("graph v1 (a: f32[8])") and "erf" in low.graph
    assert "launch" in low.plan and "kernel rank" in low.plan
    assert any("ret" in function for functions in low.code for function in functions)
    assert all(part in str(low) for part in (low.graph, low.plan))


def test_the_page_is_whole():
    step, arguments, _ = training_step()
    e = step.explain(*arguments)
    data = page_data(e.to_html())
    traced, simplified, compiled = data["views"]
    assert len(traced["nodes"]) >= 250
    assert len(compiled["nodes"]) == len(e.kernels) < len(simplified["nodes"])
    for view in data["views"]:
        assert len(view["details"]) == len(view["nodes"])
        for a, b, _, route in view["edges"]:
            assert 0 <= a < len(view["nodes"]) and 0 <= b < len(view["nodes"]) and len(route) >= 4
    names = {note for node in traced["nodes"] for note in node["notes"]}
    assert any("inputs[0]['layers']" in name for name in names), names
    assert e._repr_html_().startswith("<iframe srcdoc=")


def test_the_page_is_written(tmp_path):
    file = tmp_path / "page.html"
    e = mx.compile(gelu).explain(mx.ones((8,)))
    assert e.to_html(file) == file.read_text()
    with pytest.raises(OSError, match="explain"):
        e.to_html(tmp_path / "absent" / "page.html")


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium")
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_browser_draws_every_box(stage, tmp_path):
    step, arguments, _ = training_step()
    file = tmp_path / "page.html"
    data = page_data(step.explain(*arguments).to_html(file))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    done = subprocess.run(
        [CHROMIUM, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=3000", "--dump-dom", f"{file.as_uri()}#{stage}/7"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    view, drawn = data["views"][stage - 1], done.stdout.split("<body>")[1].split("<script>")[0]
    assert drawn.count("<rect ") == len(view["nodes"])
    assert drawn.count("<path ") == len(view["edges"])
    assert drawn.count("chosen") == 1 and "undefined" not in drawn


def test_events_are_logged(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import lazuli.core as mx\n"
        "f = mx.compile(lambda x: mx.exp(-x))\n"
        "for n in (2, 2, 3):\n"
        "    mx.eval(f(mx.ones((n,))))\n"
    )
    run = lambda topics: subprocess.run(
        [sys.executable, program], capture_output=True, text=True, check=True, env={"LAZULI_LOG": topics}
    ).stderr.splitlines()
    assert run("") == []
    first, second = run("recompiles")
    assert first == "lazuli: traced '<lambda>': for the first call" and "args[0].shape[0]" in second
    assert run("kernels")[:2] == ["lazuli: '<lambda>' is compiled to 1 step", "lazuli:   kernel: negative exp"]
    assert "none of: recompiles, kernels" in run("everything")[0]
