"""The optimizers. λ is the learning rate, g the gradient, w the parameter.

State and arithmetic have the gradient's dtype; the learning rate is cast to it. Moments start at
zero.
"""

from __future__ import annotations

import math

import lazuli.core as mx
from lazuli.optimizers.base import Optimizer, Schedule

__all__ = [
    "AdaDelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "Muon",
    "RMSprop",
    "SGD",
]

LearningRate = float | mx.array | Schedule
State = dict[str, mx.array]


class _GradientDescent(Optimizer):
    """What the optimizers here share: a learning rate and moments, which start at zero."""

    #: The keys of the moments, each of the parameter's shape.
    _moments: tuple[str, ...] = ()

    def __init__(self, learning_rate: LearningRate) -> None:
        super().__init__()
        self._maybe_schedule("learning_rate", learning_rate)

    def init_single(self, parameter: mx.array, state: State) -> None:
        for name in self._moments:
            state[name] = mx.zeros_like(parameter)

    def _rate(self, gradient: mx.array) -> mx.array:
        return self.learning_rate.astype(gradient.dtype)

    def _check(self, name: str, value: float, valid: bool, condition: str) -> None:
        if not valid:
            raise ValueError(f"[{type(self).__name__}] {name} must be {condition}, got {value}")


class SGD(_GradientDescent):
    """Stochastic gradient descent, with momentum (Sutskever et al., ICML 2013).

    With g ← g + weight_decay · w::

        v ← momentum · v + (1 − dampening) · g
        w ← w − λ v                        (nesterov: w − λ (g + momentum · v))

    Args:
        learning_rate: λ, a number or a schedule.
        momentum: how much of the last velocity to keep; 0: v = g.
        weight_decay: strength of the L2 penalty.
        dampening: how much of the gradient to leave out of the velocity.
        nesterov: whether to look ahead; needs a momentum and no dampening.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> optimizer = optim.SGD(learning_rate=0.1, momentum=0.9)
        >>> loss_and_grad = nn.value_and_grad(model, lambda x: model(x).sum())
        >>> for _ in range(3):
        ...     loss, grads = loss_and_grad(mx.ones((4, 2)))
        ...     optimizer.update(model, grads)
        >>> optimizer.step
        array(3, dtype=uint64)
    """

    _moments = ("v",)

    def __init__(
        self,
        learning_rate: LearningRate,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("[SGD] nesterov needs a momentum above 0 and no dampening")
        super().__init__(learning_rate)
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.dampening = dampening
        self.nesterov = nesterov

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: State) -> mx.array:
        rate = self._rate(gradient)
        if self.weight_decay != 0:
            gradient = gradient + self.weight_decay * parameter
        if self.momentum <= 0:
            return parameter - rate * gradient

        fresh = (1 - self.dampening) * gradient if self.dampening > 0 else gradient
        v = state["v"] = self.momentum * state["v"] + fresh
        return parameter - rate * (gradient + self.momentum * v if self.nesterov else v)


class RMSprop(_GradientDescent):
    """RMSprop (Tieleman and Hinton, Coursera lecture 6.5, 2012).

    v ← alpha · v + (1 − alpha) · g²;  w ← w − λ g / (√v + eps)

    Args:
        learning_rate: λ, a number or a schedule.
        alpha: how much of v to keep.
        eps: added to the denominator.
    """

    _moments = ("v",)

    def __init__(self, learning_rate: LearningRate, alpha: float = 0.99, eps: float = 1e-8) -> None:
        self._check("alpha", alpha, alpha >= 0, "≥ 0")
        self._check("eps", eps, eps >= 0, "≥ 0")
        super().__init__(learning_rate)
        self.alpha = alpha
        self.eps = eps

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: State) -> mx.array:
        v = self.alpha * state["v"] + (1 - self.alpha) * mx.square(gradient)
        state["v"] = v
        return parameter - self._rate(gradient) * gradient / (mx.sqrt(v) + self.eps)


class Adagrad(_GradientDescent):
    """Adagrad (Duchi et al., JMLR 12 (2011), 2121).

    v ← v + g²;  w ← w − λ g / (√v + eps)

    Args:
        learning_rate: λ, a number or a schedule.
        eps: added to the denominator.
    """

    _moments = ("v",)

    def __init__(self, learning_rate: LearningRate, eps: float = 1e-8) -> None:
        self._check("eps", eps, eps >= 0, "≥ 0")
        super().__init__(learning_rate)
        self.eps = eps

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: State) -> mx.array:
        v = state["v"] = state["v"] + mx.square(gradient)
        return parameter - self._rate(gradient) * gradient / (mx.sqrt(v) + self.eps)


class AdaDelta(_GradientDescent):
    """AdaDelta (Zeiler, arXiv:1212.5701).

    With an average v of g² and an average u of d²::

        v ← rho · v + (1 − rho) · g²
        d = g · √(u + eps) / √(v + eps)
        u ← rho · u + (1 − rho) · d²
        w ← w − λ d

    Args:
        learning_rate: λ, a number or a schedule.
        rho: how much of the averages to keep.
        eps: added under the roots.
    """

    _moments = ("v", "u")

    def __init__(self, learning_rate: LearningRate, rho: float = 0.9, eps: float = 1e-6) -> None:
        self._check("rho", rho, rho >= 0, "≥ 0")
        self._check("eps", eps, eps >= 0, "≥ 0")
        super().__init__(learning_rate)
        self.rho = rho
        self.eps = eps

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: State) -> mx.array:
        v = self.rho * state["v"] + (1 - self.rho) * mx.square(gradient)
        d = mx.sqrt(state["u"] + self.eps) / mx.sqrt(v + self.eps) * gradient
        state["u"] = self.rho * state["u"] + (1 - self.rho) * mx.square(d)
        state["v"] = v
        return parameter - self._rate(gradient) * d


class Adam(_GradientDescent):
    """Adam (Kingma and Ba, arXiv:1412.6980).

    ::

        m ← β₁ m + (1 − β₁) g
        v ← β₂ v + (1 − β₂) g²
        w ← w − λ m / (√v + eps)

    with m / (1 − β₁ᵗ) for m and v / (1 − β₂ᵗ) for v at step t if ``bias_correction``.

    Args:
        learning_rate: λ, a number or a schedule.
        betas: β₁ and β₂.
        eps: added to the denominator.
        bias_correction: whether to correct for the moments' starting at zero, as in the paper.
    """

    _moments = ("m", "v")

    def __init__(
        self,
        learning_rate: LearningRate,
        betas: tuple[float, float] | list[float] = (0.9, 0.999),
        eps: float = 1e-8,
        bias_correction: bool = False,
    ) -> None:
        self._check("eps", eps, eps >= 0, "≥ 0")
        super().__init__(learning_rate)
        self.betas = tuple(betas)
        self.eps = eps
        self.bias_correction = bias_correction

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: State) -> mx.array:
        beta1, beta2 = self.betas
        m = state["m"] = beta1 * state["m"] + (1 - beta1) * gradient
        v = state["v"] = beta2 * state["v"] + (1 - beta2) * mx.square(gradient)
        rate, root = self._rate(gradient), mx.sqrt(v)
        if self.bias_correction:
            rate = (self.learning_rate / (1 - beta1**self.step)).astype(gradient.dtype)
            root = root * mx.rsqrt(1 - beta2**self.step).astype(gradient.dtype)
        return parameter - rate * m / (root + self.eps)


class AdamW(Adam):
    """Adam with weight decay apart from the gradient (Loshchilov and Hutter, arXiv:1711.05101).

    w ← w − λ · weight_decay · w, then a step of :class:`Adam`.

    Args:
        learning_rate, betas, eps, bias_correction: as for :class:`Adam`.
        weight_decay: the decay.
    """

    def __init__(
        self,
        learning_rate: LearningRate,
        betas: tuple[float, float] | list[float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        bias_correction: bool = False,
    ) -> None:
        super().__init__(learning_rate, betas, eps, bias_correction)
        self.weight_decay = weight_decay

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: State) -> mx.array:
        decayed = parameter * (1 - self._rate(gradient) * self.weight_decay)
        return super().apply_single(gradient, decayed, state)


class Adamax(_GradientDescent):
    """Adamax: Adam with the maximum norm, without bias correction (Kingma and Ba, section 7).

    m ← β₁ m + (1 − β₁) g;  v ← max(β₂ v, |g|);  w ← w − λ m / (v + eps)

    Args:
        learning_rate: λ, a number or a schedule.
        betas: β₁ and β₂.
        eps: added to the denominator.
    """

    _moments = ("m", "v")

    def __init__(
        self,
        learning_rate: LearningRate,
        betas: tuple[float, float] | list[float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self._check("eps", eps, eps >= 0, "≥ 0")
        super().__init__(learning_rate)
        self.betas = tuple(betas)
        self.eps = eps

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: State) -> mx.array:
        beta1, beta2 = self.betas
        m = state["m"] = beta1 * state["m"] + (1 - beta1) * gradient
        v = state["v"] = mx.maximum(beta2 * state["v"], mx.abs(gradient))
        return parameter - self._rate(gradient) * m / (v + self.eps)


class Lion(_GradientDescent):
    """Lion (Chen et al., arXiv:2302.06675): steps of ±λ by the sign of an averaged gradient.

    ::

        c = β₁ m + (1 − β₁) g
        m ← β₂ m + (1 − β₂) g
        w ← w − λ (sign(c) + weight_decay · w)

    The paper advises a λ 3 to 10 times smaller than for AdamW, and a decay as much larger.

    Args:
        learning_rate: λ, a number or a schedule.
        betas: β₁ and β₂.
        weight_decay: the decay.
    """

    _moments = ("m",)

    def __init__(
        self,
        learning_rate: LearningRate,
        betas: tuple[float, float] | list[float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(learning_rate)
        self.betas = tuple(betas)
        self.weight_decay = weight_decay

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: State) -> mx.array:
        beta1, beta2 = self.betas
        rate, m = self._rate(gradient), state["m"]
        state["m"] = beta2 * m + (1 - beta2) * gradient
        if self.weight_decay > 0:
            parameter = (1 - rate * self.weight_decay) * parameter
        return parameter - rate * mx.sign(beta1 * m + (1 - beta1) * gradient)


class Adafactor(Optimizer):
    """Adafactor: second moments of matrices are kept by rows and columns only.

    Shazeer and Stern, arXiv:1804.04235.

    Args:
        learning_rate: a number or a schedule; only used without ``relative_step``.
        eps: ε₁, added to the squared gradient, and ε₂, the least scale of a parameter.
        clip_threshold: the largest root mean square of an update.
        decay_rate: at step t the second moments keep 1 − t^decay_rate of themselves.
        beta_1: how much of a first moment to keep; ``None``: there is none.
        weight_decay: the decay.
        scale_parameter: whether to scale λ by the parameter's root mean square.
        relative_step: whether λ is 1/√t, at most 0.01.
        warmup_init: whether that is also at most 10⁻⁶ t.

    Raises:
        ValueError: there is neither a learning rate nor ``relative_step``.
    """

    def __init__(
        self,
        learning_rate: LearningRate | None = None,
        eps: tuple[float, float] = (1e-30, 1e-3),
        clip_threshold: float = 1.0,
        decay_rate: float = -0.8,
        beta_1: float | None = None,
        weight_decay: float = 0.0,
        scale_parameter: bool = True,
        relative_step: bool = True,
        warmup_init: bool = False,
    ) -> None:
        if learning_rate is None and not relative_step:
            raise ValueError("[Adafactor] give a learning_rate or set relative_step=True")
        super().__init__()
        if learning_rate is not None:
            self._maybe_schedule("learning_rate", learning_rate)
        self.eps = eps
        self.clip_threshold = clip_threshold
        self.decay_rate = decay_rate
        self.beta_1 = beta_1
        self.weight_decay = weight_decay
        self.scale_parameter = scale_parameter
        self.relative_step = relative_step
        self.warmup_init = warmup_init

    def init_single(self, parameter: mx.array, state: State) -> None:
        shape, dtype = parameter.shape, parameter.dtype
        if parameter.ndim >= 2:
            state["exp_avg_sq_row"] = mx.zeros(shape[:-1], dtype=dtype)
            state["exp_avg_sq_col"] = mx.zeros(shape[:-2] + shape[-1:], dtype=dtype)
        else:
            state["exp_avg_sq"] = mx.zeros(shape, dtype=dtype)
        if self.beta_1 is not None:
            state["exp_avg"] = mx.zeros(shape, dtype=dtype)

    def _step_size(self, parameter: mx.array) -> mx.array:
        if self.relative_step:
            step = self.step.astype(mx.float32)
            rate = mx.minimum(1e-6 * step if self.warmup_init else 1e-2, mx.rsqrt(step))
        else:
            rate = self.learning_rate
        rate = rate.astype(parameter.dtype)
        if self.scale_parameter:
            rate = rate * mx.maximum(self.eps[1], _root_mean_square(parameter))
        return rate

    def _normalised(self, gradient: mx.array, state: State) -> mx.array:
        """The gradient divided by the root of the second moments, which are brought up to date."""
        kept = (1 - self.step.astype(mx.float32) ** self.decay_rate).astype(gradient.dtype)
        square = mx.square(gradient) + self.eps[0]

        def average(key: str, new: mx.array) -> mx.array:
            state[key] = kept * state[key] + (1 - kept) * new
            return state[key]

        if gradient.ndim < 2:
            return mx.rsqrt(average("exp_avg_sq", square)) * gradient
        row = average("exp_avg_sq_row", mx.mean(square, axis=-1))
        col = average("exp_avg_sq_col", mx.mean(square, axis=-2))
        row = mx.rsqrt(row / mx.mean(row, axis=-1, keepdims=True))
        return row[..., :, None] * mx.rsqrt(col)[..., None, :] * gradient

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: State) -> mx.array:
        size = self._step_size(parameter)
        update = self._normalised(gradient, state)
        update = update / mx.maximum(1.0, _root_mean_square(update) / self.clip_threshold)
        update = size * update
        if self.beta_1 is not None:
            update = self.beta_1 * state["exp_avg"] + (1 - self.beta_1) * update
            state["exp_avg"] = update
        if self.weight_decay != 0:
            parameter = parameter * (1 - self.weight_decay * size)
        return parameter - update


def _root_mean_square(x: mx.array) -> mx.array:
    return mx.sqrt(mx.mean(mx.square(x)))


class Muon(_GradientDescent):
    """Muon (Jordan et al., kellerjordan.github.io/posts/muon, 2024): orthogonalised momentum.

    With g ← g + weight_decay · w and v ← momentum · v + (1 − momentum) · g, steps by the
    orthogonal factor of v for matrices, scaled by √max(1, rows / columns), and by v for vectors.
    For embeddings, output layers and vectors use another optimizer (:class:`MultiOptimizer`).
    Axes after the second count as one.

    Args:
        learning_rate: λ, a number or a schedule.
        momentum: how much of v to keep.
        weight_decay: strength of the L2 penalty.
        nesterov: whether to step by (1 − momentum) · g + momentum · v instead of v.
        ns_steps: iterations of the orthogonalisation.
    """

    _moments = ("v",)

    def __init__(
        self,
        learning_rate: LearningRate,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
        nesterov: bool = True,
        ns_steps: int = 5,
    ) -> None:
        super().__init__(learning_rate)
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.nesterov = nesterov
        self.ns_steps = ns_steps

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: State) -> mx.array:
        if self.weight_decay != 0:
            gradient = gradient + self.weight_decay * parameter
        fresh = (1 - self.momentum) * gradient
        v = state["v"] = self.momentum * state["v"] + fresh
        update = fresh + self.momentum * v if self.nesterov else v

        rate = self._rate(gradient)
        if update.ndim >= 2:
            matrix = update.reshape(update.shape[0], -1)
            rows, columns = matrix.shape
            update = _orthogonalise(matrix, self.ns_steps).reshape(update.shape)
            rate = rate * math.sqrt(max(1, rows / columns))
        return parameter - rate * update


def _orthogonalise(x: mx.array, steps: int) -> mx.array:
    """Moves the singular values of a matrix near 1, by a quintic Newton-Schulz iteration.

    The coefficients are from the article on Muon (see there): they trade exactness, values end up
    in about [0.7, 1.2], for fast growth of small ones.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = x.T if x.shape[0] > x.shape[1] else x
    wide = wide / (mx.sqrt(mx.sum(mx.square(wide))) + 1e-7)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide.T if x.shape[0] > x.shape[1] else wide
