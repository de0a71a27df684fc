"""Train a classifier of handwritten digits twice, op by op and compiled, and compare the two.

Run by `cargo xtask demo`, or by itself: `python examples/digits.py`. Each run trains the same network on the same batches
from the same random numbers, so that the losses may be compared step by step. Writes them, and the graph of a step, to
`out/`.
"""

import struct
import sys
import time
from pathlib import Path
from statistics import median

import lazuli.core as mx
import lazuli.nn as nn
import lazuli.optimizers as optim

ROOT = Path(__file__).resolve().parent.parent
EPOCHS, BATCH = 60, 64


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(64, 128)
        self.out = nn.Linear(128, 10)

    def __call__(self, x):
        return self.out(nn.gelu(self.hidden(x)))


def read_idx(path):
    """The array in a file of the IDX format: four bytes, the last of which is the rank; the shape; the bytes."""
    data = path.read_bytes()
    shape = struct.unpack_from(f">{data[3]}I", data, 4)
    return mx.array(memoryview(data)[4 + 4 * data[3] :]).reshape(shape)


def load():
    """Images in [0, 1] and their digits: a fifth is held out, the rest is for training."""
    images = read_idx(ROOT / "data" / "digits-images.idx").reshape(-1, 64).astype(mx.float32) / 16
    digits = read_idx(ROOT / "data" / "digits-labels.idx").astype(mx.int32)
    held_out = mx.array([i for i in range(digits.size) if i % 5 == 0])
    training = mx.array([i for i in range(digits.size) if i % 5 != 0])
    return (images[training], digits[training]), (images[held_out], digits[held_out])


def mean_loss(model, x, y):
    return nn.losses.cross_entropy(model(x), y, reduction="mean")


def accuracy(model, x, y):
    return mx.mean(mx.argmax(model(x), axis=1) == y).item()


def show_progress(name, step, steps, loss):
    if sys.stderr.isatty() and (step % 10 == 0 or step == steps):
        done = 30 * step // steps
        bar = "█" * done + "░" * (30 - done)
        sys.stderr.write(f"\r{name:<9}{bar} {100 * step // steps:3} %  loss {loss:.4f} " + "\n" * (step == steps))
        sys.stderr.flush()


def train(name, compiled, x, y):
    """Trains a new model; returns it with the loss and the seconds of every step, and the step with a batch."""
    mx.random.seed(0)
    model, optimizer = Classifier(), optim.SGD(learning_rate=0.3, momentum=0.9)
    value_and_grad = nn.value_and_grad(model, mean_loss)

    def step(x, y):
        loss, gradients = value_and_grad(model, x, y)
        optimizer.update(model, gradients)
        return loss

    state = [model.state, optimizer.state]
    mx.eval(state)
    if compiled:
        step = mx.compile(step, inputs=state, outputs=state)
    losses, seconds = [], []
    steps = EPOCHS * (y.size // BATCH)
    for _ in range(EPOCHS):
        order = mx.random.permutation(y.size)
        for start in range(0, y.size - BATCH + 1, BATCH):
            batch = order[start : start + BATCH]
            batch_x, batch_y = x[batch], y[batch]
            mx.eval(batch_x, batch_y)
            began = time.perf_counter()
            loss = step(batch_x, batch_y)
            mx.eval(loss, state)
            seconds.append(time.perf_counter() - began)
            losses.append(loss.item())
            show_progress(name, len(losses), steps, losses[-1])
    return model, losses, seconds, (step, batch_x, batch_y)


def main():
    (x, y), held_out = load()
    runs = {name: train(name, name == "compiled", x, y) for name in ("eager", "compiled")}
    print(f"Python    {'first step':>12} {'later steps':>12} {'held out':>10}")
    lines, worst = [], 1.0
    for name, (model, losses, seconds, _) in runs.items():
        correct = accuracy(model, *held_out)
        worst = min(worst, correct)
        print(f"{name:<9} {1e3 * seconds[0]:>9.2f} ms {1e3 * median(seconds[1:]):>9.3f} ms {100 * correct:>8.1f} %")
        per_epoch = len(losses) // EPOCHS
        lines += [f"{name}\t{step // per_epoch}\t{loss!r}\n" for step, loss in enumerate(losses)]
    same = runs["eager"][1] == runs["compiled"][1]
    print(f"The losses of all {len(lines) // 2} steps are {'equal, bit for bit' if same else 'NOT EQUAL'}.")
    out = ROOT / "out"
    out.mkdir(exist_ok=True)
    (out / "digits-python.tsv").write_text("".join(lines))
    step, *batch = runs["compiled"][3]
    (out / "digits-step-before.dot").write_text(step.to_dot(*batch, fused=False))
    (out / "digits-step-after.dot").write_text(step.to_dot(*batch))
    if not same or worst < 0.97:
        sys.exit("the demo wants equal losses and 97 % of the held-out digits")


if __name__ == "__main__":
    main()
