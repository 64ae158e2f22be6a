"""Messages between two Pythons: JSON and the bytes of arrays, each message with its length first.

    4 bytes: length of all that follows | 4 bytes: length of the JSON | JSON | arrays, one by one

Lengths are big-endian. In the JSON an array stands as its dtype and shape. Nothing is unpickled:
what cannot be said in numbers, texts, lists, dicts and arrays of numbers is not sent.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

import numpy as np

LARGEST = 2**30  # bytes of one message; more is a mistake or an attack
KINDS = "biuf"  # of arrays: truth values, integers, floats


def send(link: socket.socket, data: bytes) -> None:
    """Sends a message that `pack` made."""
    link.sendall(struct.pack("!I", len(data)) + data)


def receive(link: socket.socket) -> Any:
    """The next message.

    Raises:
        EOFError: the other side is gone.
        ValueError: what came is no message.
    """
    (length,) = struct.unpack("!I", _exactly(link, 4))
    if not 4 <= length <= LARGEST:
        raise ValueError(f"A message of {length} bytes: the limit is {LARGEST}.")
    return unpack(_exactly(link, length))


def pack(message: Any) -> bytes:
    """Bytes of a message, without the length.

    Raises:
        TypeError: it holds something that cannot be sent.
        ValueError: it is longer than the other side takes.
    """
    arrays: list[bytes] = []

    def described(value: Any) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            if value.dtype.kind not in KINDS:
                raise TypeError(f"An array of {value.dtype} cannot be sent to another Python.")
            array = np.asarray(value)
            arrays.append(array.tobytes())
            return {"__array__": array.dtype.str, "shape": list(array.shape)}
        raise TypeError(f"{type(value).__name__} cannot be sent to another Python.")

    text = json.dumps(message, default=described).encode()
    data = b"".join([struct.pack("!I", len(text)), text, *arrays])
    if len(data) > LARGEST:
        raise ValueError(f"A message of {len(data)} bytes: the limit is {LARGEST}.")
    return data


def unpack(data: bytes) -> Any:
    """The message that `pack` was given; numbers of numpy come back as such.

    Raises:
        ValueError: these bytes are no message.
    """
    try:
        return _unpacked(data)
    except (KeyError, TypeError, OverflowError, RecursionError, struct.error) as error:
        raise ValueError(f"{type(error).__name__} in a message: {error}") from error


def _unpacked(data: bytes) -> Any:
    (length,) = struct.unpack_from("!I", data)
    place = 4 + length
    if place > len(data):
        raise ValueError("A message ends before its text does.")

    def restored(item: dict[str, Any]) -> Any:
        nonlocal place
        if "__array__" not in item:
            return item
        dtype, shape = np.dtype(item["__array__"]), tuple(item["shape"])
        if dtype.kind not in KINDS:
            raise ValueError(f"A message holds an array of {dtype}.")
        count = int(np.prod(shape, dtype=np.int64))
        array = np.frombuffer(data, dtype, count, place).reshape(shape).copy()
        place += count * dtype.itemsize
        return array if shape else array[()]

    # Objects are restored in the order of the text, in which `pack` met the arrays.
    return json.loads(data[4:place], object_hook=restored)


def plain(value: Any) -> Any:
    """The part of a value that can be sent, `None` if nothing can; for the `info` of an env."""
    if isinstance(value, dict):
        kept = {str(key): plain(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item is not None}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return value if value.dtype.kind in KINDS else None
    return value if isinstance(value, bool | int | float | str) else None


def _exactly(link: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = link.recv(min(count - len(parts), 2**20))
        if not part:
            raise EOFError("The other side closed the connection.")
        parts += part
    return bytes(parts)
