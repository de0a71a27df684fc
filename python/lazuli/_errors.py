"""Exceptions and warnings of Lazuli's own; the binding raises them."""


class TracerError(ValueError):
    """The value of an array was read while its function was being traced, where arrays have no values."""


class LeakedTracerError(ValueError, RuntimeError):
    """A placeholder outlived the trace it belongs to and was used."""


class ShapeGuardError(ValueError):
    """A shapeless function was called with a shape for which what it computed at the trace does not hold."""


class VerificationError(RuntimeError):
    """In the mode "verify", a compiled call did not give what the plain function gives."""


class RecompileWarning(UserWarning):
    """A compiled function is traced again and again, because something in its calls keeps changing."""


class CaptureWarning(UserWarning):
    """A compiled function reads state that it has not captured, so that each call starts from the same."""
