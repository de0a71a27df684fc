"""What `explain` says of compiled functions, as text, data and a page."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time

import pytest

import lazuli
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


def test_shapes_and_dtypes_suffice(capfd):
    @mx.compile
    def f(x, y):
        mx.debug.print("ran {}", x)
        return mx.softmax(x @ y, axis=-1).sum()

    large = mx.zeros((1 << 17, 1 << 16), mx.float16), mx.zeros((1 << 16, 1 << 17), mx.float16)  # 16 GiB each
    before, memory = mx.compile_stats()["plans"], mx.get_active_memory()
    for mode in ("enabled", "no_fuse", "verify", "disabled"):
        with mx.compile_mode(mode):
            assert "1 library call, 1 host call" in f.explain(*large).summary
            assert "f16[131072,65536]" in f.lower(*large).graph
    assert (mx.compile_stats()["plans"], mx.get_active_memory(), capfd.readouterr().out) == (before, memory, "")


def test_the_cause_names_what_changed():
    f = mx.compile(lambda x, y: x + y)
    for args, cause in [
        ((mx.ones((3,)), 1.0), "for the first call"),
        ((mx.ones((3,)), 2.0), "args[1] was 1.0, is 2.0"),
        ((mx.ones((4,)), 2.0), "args[0].shape[0] was 3, is 4"),
        ((mx.ones((4,), mx.int32), 2.0), "args[0].dtype was float32, is int32"),
    ]:
        f(*args)
        assert f.explain(*args).cause == cause


def test_the_cause_is_that_of_the_call():
    f = mx.compile(lambda x, y: x + y)
    calls = [(mx.ones((3,)), 1.0), (mx.ones((3,)), 2.0), (mx.ones((5,)), 2.0)]
    for call in calls:
        f(*call)
    causes = ["for the first call", "args[1] was 1.0, is 2.0", "args[0].shape[0] was 3, is 5"]
    assert [f.explain(*call).cause for call in calls] == causes
    assert f.explain(*calls[0]).cause == causes[0]


def test_the_graph_is_there_after_each_stage():
    e = mx.compile(lambda x: mx.exp(-(-x)) + x * 1).explain(mx.ones((3,)))
    assert list(e.stages) == ["traced", "simplified", "compiled"]
    assert e.stages["traced"].count("negative") == 2 and "multiply" in e.stages["traced"]
    assert "negative" not in e.stages["simplified"] and "multiply" not in e.stages["simplified"] and "exp" in e.stages["simplified"]
    assert e.stages["compiled"].count("launch") == 1


def test_modes_leave_out_their_stage():
    f = mx.compile(lambda x: mx.exp(-(-x)) + 1)
    stages = {}
    for mode in ("enabled", "no_simplify", "no_fuse"):
        with mx.compile_mode(mode):
            e = f.explain(mx.ones((3,)))
        stages[mode] = [e.kernels, e.stages["simplified"] == e.stages["traced"]]
    assert stages == {
        "enabled": [[["exp", "add"]], False],
        "no_simplify": [[["negative", "negative", "exp", "add"]], True],
        "no_fuse": [[["exp"], ["add"]], False],
    }


N = 1 << 20
COSTS = {
    # Arguments, bytes moved, operations (None: those of elementary functions are nobody's business), memory at the peak.
    "map": (lambda x: -x * 2, [(N,)], 8 * N, 2 * N, 4 * N),
    "two inputs": (lambda x, y: x * y + x, [(N,), (N,)], 12 * N, 2 * N, 4 * N),
    "broadcast": (lambda x, y: x + y, [(1024, 1024), (1024,)], 8 * N + 4096, N, 4 * N),
    "rows": (lambda x: mx.softmax(x, axis=-1), [(1024, 1024)], 8 * N, None, None),
    "matmul": (lambda x, y: x @ y, [(1024, 512), (512, 256)], 4 * (1024 * 512 + 512 * 256 + 1024 * 256), 2 * 1024 * 512 * 256, None),
    "between kernels": (lambda x: x.T @ x + x.sum(), [(1024, 1024)], None, None, None),
    "sort": (lambda x: mx.sort(x, axis=0), [(1024, 1024)], None, None, None),
}


@pytest.mark.parametrize("name", COSTS)
def test_costs(name):
    f, shapes, moved, operations, peak = COSTS[name]
    args = [mx.random.normal(s, key=mx.random.key(1)) for s in shapes]
    mx.eval(args)
    f = mx.compile(f)
    e = f.explain(*args)
    assert moved in (None, e.bytes_moved) and operations in (None, e.operations) and peak in (None, e.peak_memory)
    mx.eval(f(*args))
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    mx.eval(f(*args))
    measured = mx.get_peak_memory() - before
    assert e.peak_memory <= measured <= 1.15 * e.peak_memory + 4096
    assert all(f"  {label}" in str(e) for label in ("traced", "graph", "moved", "memory", "time"))
    assert list(e.times) == ["trace", "simplify", "lower", "generate"] and all(t > 0 for t in e.times.values())
    assert str(e).startswith(f"<lambda>: {e.summary}\n")


def test_what_keeps_neighbours_apart_is_said():
    e = mx.compile(lambda x: mx.sort(mx.exp(x), axis=-1) * x.sum()).explain(mx.ones((64, 64)))
    between = str(e).split("in memory between kernels\n")[1].splitlines()
    assert e.kernels == [["exp"], ["sort"], ["sum", "multiply"]]
    for line, op, why in zip(between, ("exp", "sort"), ("a library routine reads it", "a library routine stores it"), strict=True):
        assert re.fullmatch(rf"    \w+ \({op}\): {why}  \S+test_explain.py:\d+", line), between


def test_work_is_counted():
    f = mx.compile(lambda x: mx.exp(x) * 0.1234 - mx.tanh(x) * mx.log1p(x) + mx.erf(x))

    def counted(call):
        before = mx.compile_stats()
        mx.eval(call())
        return {k: n - before[k] for k, n in mx.compile_stats().items()}

    first = counted(lambda: f(mx.ones((8,))))
    assert first.pop("kernels") >= 1 and first == {"traces": 1, "simplifications": 1, "plans": 1, "lowered": 1, "hits": 0}
    nothing = {"traces": 0, "simplifications": 0, "plans": 0, "lowered": 0, "kernels": 0, "hits": 1}
    assert counted(lambda: f(mx.ones((8,)))) == nothing
    assert counted(lambda: f(mx.ones((9,)))) == {**nothing, "traces": 1, "simplifications": 1, "plans": 1, "lowered": 1, "hits": 0}
    g = mx.compile(lambda x: mx.exp(x) * 0.4321, shapeless=True)
    assert counted(lambda: g(mx.ones((8,))))["lowered"] == 1
    assert counted(lambda: g(mx.ones((9,)))) == {**nothing, "plans": 1, "hits": 0}
    with mx.compile_disabled():
        assert counted(lambda: f(mx.ones((9,))))["traces"] == 0


def test_dot():
    f = mx.compile(lambda x, y: mx.broadcast_to(mx.exp(x).sum(), y.shape) * y + 1)
    x, y = mx.ones((3,)), mx.ones((4, 3))
    mx.eval(x, y)
    labels = lambda dot: re.findall(r'label="(\w+)"', dot)
    e = f.explain(x, y)
    assert labels(e.to_dot()) == ["CompiledExpSum", "CompiledBroadcastMultiplyAdd"]
    assert labels(e.to_dot(fused=False)) == ["Exp", "Sum", "Broadcast", "Multiply", "Add"]
    # As in MLX: what is to be run for an array, compiled functions as what they are compiled to.
    file = io.StringIO()
    mx.export_to_dot(file, -f(x, mx.array(y)), weights=x)
    assert labels(file.getvalue()) == ["CompiledExpSum", "CompiledBroadcastMultiplyAdd", "Negative"]
    assert '{ rank=source; "weights"; }' in file.getvalue()


def test_the_page_loads_nothing():
    page = mx.compile(gelu).explain(mx.ones((8,))).to_html()
    for text in ("http:", "https:", "src=", "@import", "url(", "fetch("):
        assert text not in page.replace("http://www.w3.org/2000/svg", ""), text


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
    assert all(part in str(low) for part in (low.graph, low.plan, low.code[0][0]))


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


def test_code_is_on_the_page_once():
    def chain(x):
        for _ in range(20):
            x = mx.concatenate([x[1:], mx.sin(x[:1])])
        return x

    f = mx.compile(chain)
    e = f.explain(mx.ones((64,)))
    data = page_data(e.to_html())
    texts = [text for detail in data["views"][2]["details"] for text in detail["texts"]]
    used = [text for _, text in texts if isinstance(text, int)]
    assert len(data["codes"]) == len(set(data["codes"])) < len(used) and set(used) == set(range(len(data["codes"])))
    assert not any("Machine code" in text for _, text in texts if isinstance(text, str))
    if any("## Machine code" in code for code in data["codes"]):
        assert any(label.startswith("machine code: ") for label, _ in texts)
        assert str(f.lower(mx.ones((64,)))).count("## Machine code") < len(e.kernels)


def test_code_of_one_kernel_is_told_apart():
    data = page_data(mx.compile(lambda x: mx.softmax(x, axis=-1)).explain(mx.ones((64, 200))).to_html())
    labels = [label for label, _ in data["views"][2]["details"][0]["texts"] if label.startswith("machine code")]
    if "## Machine code" in "".join(data["codes"]):
        assert labels[-1].startswith(f"machine code {len(labels)} of {len(labels)}: ") and len(set(labels)) == len(labels) > 1


def test_boxes_name_few_of_many_inputs():
    f = mx.compile(lambda xs: mx.concatenate(xs))
    e = f.explain([mx.ones((2,)) for _ in range(40)])
    compiled = page_data(e.to_html())["views"][2]
    assert "and 35 more" in " ".join(compiled["nodes"][0]["notes"])
    assert "args[0][39]" in str(compiled["details"][0]["facts"])


def test_parts_that_nothing_connects_fill_the_page():
    data = page_data(mx.compile(lambda xs: [mx.sin(x).sum() for x in xs]).explain([mx.ones((k + 2,)) for k in range(60)]).to_html())
    traced = data["views"][0]
    assert traced["width"] < 4 * traced["height"]


def test_text_takes_time_in_proportion():
    def chain(n):
        def f(x):
            for _ in range(n):
                x = mx.concatenate([x[1:], mx.sin(x[:1])])
            return x

        e = mx.compile(f).explain(mx.ones((64,)))
        begin = time.process_time()
        str(e)
        return time.process_time() - begin

    # 16 times as much, where the square of that would be 256 times.
    assert chain(16000) < 80 * max(chain(1000), 2e-3)


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
    # Those of the graph and of its map, and the map's window.
    assert drawn.count("<rect ") == 2 * len(view["nodes"]) + 1
    assert drawn.count("<path ") == len(view["edges"])
    assert drawn.count("chosen") == 1 and "undefined" not in drawn


def test_operations_are_counted_alike_before_and_after():
    # Operations that are written with others count as those, as they do once they are simplified.
    branches = lambda x: mx.cond(x.sum() > 0, mx.softmax, mx.sin, x)
    for fun in (mx.softmax, mx.logsumexp, mx.var, nn.gelu, mx.grad(lambda x: nn.gelu(x).sum()), mx.vmap(mx.softmax), branches):
        graph = re.search(r"graph +(\d+) ops? as traced, (\d+) ops? simplified", str(mx.compile(fun).explain(mx.ones((3, 4)))))
        assert int(graph[1]) >= int(graph[2])


def test_what_is_lowered_has_headings_and_no_padding():
    lowered = mx.compile(lambda x, w: mx.softmax(x @ w, axis=-1) + 1).lower(mx.ones((64, 64)), mx.ones((64, 64)))
    text = str(lowered)
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings[:2] == ["# Graph, simplified", "# Plan"] and headings[2].startswith("# Step ")
    assert headings[3:5] == ["## Kernel", "## Machine code"] or "## Machine code" not in headings
    assert not re.search(r"^ *[0-9a-f]+ +nop", text, re.M)


def test_a_package_behind_a_link_is_not_the_users(tmp_path):
    package = os.path.dirname(lazuli.__file__)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "lazuli").symlink_to(package)
    program = tmp_path / "program.py"
    program.write_text(
        "import lazuli.core as mx, lazuli.nn as nn\n"
        "print(mx.compile(nn.Linear(2, 2)).explain(mx.ones(2)))\n"
        "nn.Linear(2, 2)(mx.ones(3))\n"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "linked")}
    run = subprocess.run([sys.executable, program], capture_output=True, text=True, env=env)
    assert "frames of Lazuli are left out" in run.stderr and "linear.py" not in run.stderr + run.stdout
    assert f"{program}:2" in run.stdout


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
    program.write_text("import lazuli.core as mx\n")
    assert run("foo") == ["lazuli: LAZULI_LOG asks for 'foo', which is none of: recompiles, kernels"]
