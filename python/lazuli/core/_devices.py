"""Devices and streams. One CPU backend runs all work, on one stream."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

__all__ = [
    "Device",
    "DeviceType",
    "Stream",
    "StreamContext",
    "cpu",
    "default_device",
    "default_stream",
    "device_count",
    "gpu",
    "is_available",
    "new_stream",
    "new_thread_local_stream",
    "set_default_device",
    "set_default_stream",
    "stream",
]


class DeviceType(Enum):
    """Kind of a device."""

    cpu = 0
    gpu = 1


cpu = DeviceType.cpu
gpu = DeviceType.gpu


@dataclass(frozen=True)
class Device:
    """A device: its kind and number."""

    type: DeviceType = cpu
    index: int = 0

    def __repr__(self) -> str:
        return f"Device({self.type.name}, {self.index})"


@dataclass(frozen=True)
class Stream:
    """A queue of work on a device."""

    device: Device = Device()
    index: int = 0

    def __repr__(self) -> str:
        return f"Stream({self.device}, {self.index})"


def _device(device: Any) -> Device:
    found = device.device if isinstance(device, Stream) else device
    found = Device(found) if isinstance(found, DeviceType) else found
    if not isinstance(found, Device):
        raise TypeError(f"expected a Device, DeviceType or Stream, not {type(device).__name__}")
    if found.type is gpu:
        raise ValueError("this build of Lazuli has no GPU backend: use mx.cpu")
    return found


def default_device() -> Device:
    """The device that runs work.

    Example:
        >>> import lazuli.core as mx
        >>> mx.default_device()
        Device(cpu, 0)
    """
    return Device()


def set_default_device(device: Any) -> None:
    """Sets the device that runs work; only the CPU is there.

    Raises:
        ValueError: the device is not there.

    Example:
        >>> import lazuli.core as mx
        >>> mx.set_default_device(mx.cpu)
    """
    _device(device)


def default_stream(device: Any = cpu) -> Stream:
    """The stream of a device that work goes to.

    Example:
        >>> import lazuli.core as mx
        >>> mx.default_stream(mx.cpu)
        Stream(Device(cpu, 0), 0)
    """
    return Stream(_device(device))


def set_default_stream(stream: Stream) -> None:
    """Sets the stream that work goes to.

    Example:
        >>> import lazuli.core as mx
        >>> mx.set_default_stream(mx.default_stream(mx.cpu))
    """
    _device(stream)


def new_stream(device: Any = cpu) -> Stream:
    """A stream of a device. All of them share one queue.

    Example:
        >>> import lazuli.core as mx
        >>> mx.new_stream(mx.cpu).device
        Device(cpu, 0)
    """
    return Stream(_device(device))


def new_thread_local_stream(device: Any = cpu) -> Stream:
    """A stream of a device for each thread. All of them share one queue.

    Example:
        >>> import lazuli.core as mx
        >>> with mx.stream(mx.new_thread_local_stream(mx.cpu)):
        ...     x = mx.ones(2)
    """
    return Stream(_device(device))


def device_count(device_type: DeviceType = cpu) -> int:
    """How many devices of a kind there are.

    Example:
        >>> import lazuli.core as mx
        >>> mx.device_count(mx.cpu)
        1
    """
    return 1 if device_type is cpu else 0


def is_available(device: Any) -> bool:
    """Whether a device is there.

    Example:
        >>> import lazuli.core as mx
        >>> mx.is_available(mx.cpu)
        True
    """
    try:
        _device(device)
    except ValueError:
        return False
    return True


class StreamContext:
    """What ``mx.stream`` returns."""

    def __init__(self, s: Any) -> None:
        _device(s)

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


def stream(s: Any) -> StreamContext:
    """Within this context work goes to a stream or device.

    Example:
        >>> import lazuli.core as mx
        >>> with mx.stream(mx.cpu):
        ...     x = mx.ones(2)
    """
    return StreamContext(s)
