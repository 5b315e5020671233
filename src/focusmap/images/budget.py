"""What reading one file may cost, and the bytes of a file within that: unpacked to the end, with their checksum.

A small file can claim, or inflate to, more than a computer holds. Four things are bounded: pixels (of an image or a
volume), bytes (what comes out of a file, beside what the file has), depth (how many parts lie in or behind one
another) and time (how often all pixels are gone through). One factor raises all of them: the option
``--reading-budget``, `raised_budget`, or the environment variable ``FOCUSMAP_BUDGET``, which worker processes inherit.
"""

import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from focusmap.basics import InputError, UnreadableImageError

VARIABLE, OPTION = "FOCUSMAP_BUDGET", "--reading-budget"
MIB = 2**20
LARGEST_FACTOR = 1000.0


@dataclass(frozen=True)
class Budget:
    """What is read at most.

    Parameters
    ----------
    pixels, voxels
        Of an image and of a volume: a mammogram has 14 million, a thorax of 512 x 512 x 800 has 210 million.
    inflated_bytes
        What may come out of any file, however small. Empty masks are packed a thousandfold.
    inflation
        By how much more than that a file may inflate: sound images stay far below.
    parts
        Pages, frames, items or containers that are counted in a file.
    passes
        How often all pixels may be gone through, as the scans of a progressive JPEG do; of 25 million pixels each.
    """

    pixels: int = 100_000_000
    voxels: int = 500_000_000
    inflated_bytes: int = 128 * MIB
    inflation: int = 200
    parts: int = 1000
    passes: int = 40


@contextmanager
def raised_budget(factor: float | None) -> Iterator[None]:
    """Multiply all bounds by `factor` in the block, in this process and those that it starts; None changes nothing.

    Raises
    ------
    InputError
        If the factor is not from 1 to 1000.
    """
    before = os.environ.get(VARIABLE)
    if factor is not None:
        os.environ[VARIABLE] = f"{_checked(str(factor)):g}"
    try:
        yield
    finally:
        if factor is not None:
            os.environ.pop(VARIABLE)
            os.environ.update({} if before is None else {VARIABLE: before})


def budget() -> Budget:
    """Return what is read at most, as raised by ``FOCUSMAP_BUDGET``."""
    return _raised(os.environ.get(VARIABLE, "1"))


@lru_cache(maxsize=4)
def _raised(text: str) -> Budget:
    factor, usual = _checked(text), Budget()
    return Budget(**{name: int(factor * value) for name, value in vars(usual).items()})


def _checked(text: str) -> float:
    try:
        factor = float(text)
    except ValueError:
        factor = math.nan
    if not 1 <= factor <= LARGEST_FACTOR:
        raise InputError(f"{OPTION} or {VARIABLE} is {text!r}; a factor from 1 to {LARGEST_FACTOR:.0f} was expected.")
    return factor


def check_plane_size(rows: int, columns: int) -> None:
    """Raise `UnreadableImageError` if a 2-D image of this size is not plausible; call it before decoding.

    >>> check_plane_size(1024, 1024)
    >>> check_plane_size(100_000, 100_000)
    Traceback (most recent call last):
    focusmap.basics.errors.UnreadableImageError: claims 100000 x 100000 pixels; at most 100 million are read. If that \
is right, raise what is read: --reading-budget 100 (or \
FOCUSMAP_BUDGET=100)
    """
    _check_count((rows, columns), "pixels", budget().pixels)


def check_volume_size(shape: tuple[int, ...]) -> None:
    """Raise `UnreadableImageError` if a volume of this shape is not plausible; call it before decoding."""
    _check_count(shape, "voxels", budget().voxels)


def check_bytes(n_bytes: int, packed_bytes: int) -> None:
    """Raise `UnreadableImageError` if so many bytes are not to be expected of a file of `packed_bytes`.

    >>> check_bytes(100 * 2**20, 1000)
    >>> check_bytes(800 * 2**20, 2**20)
    Traceback (most recent call last):
    focusmap.basics.errors.UnreadableImageError: would take 800 MiB and has 1024 KiB; at most 200 times is \
believed. If that is right, raise what is read: --reading-budget 4 (or FOCUSMAP_BUDGET=4)
    """
    limit = largest_output(packed_bytes)
    if n_bytes > limit:
        raise UnreadableImageError(
            f"would take {n_bytes // MIB} MiB and has {packed_bytes / 1024:.0f} KiB; at most "
            f"{budget().inflation} times is believed. {remedy(n_bytes, limit)}"
        )


def largest_output(packed_bytes: int) -> int:
    """Return how many bytes may come out of a file of `packed_bytes`."""
    return max(budget().inflated_bytes, budget().inflation * packed_bytes)


def check_parts(n_parts: int, what: str) -> None:
    """Raise `UnreadableImageError` if a file has more parts than are counted."""
    if n_parts > budget().parts:
        raise UnreadableImageError(f"has more than {budget().parts} {what}. {remedy(n_parts, budget().parts)}")


def check_passes(n_passes: int, n_pixels: int, what: str) -> None:
    """Raise `UnreadableImageError` if going `n_passes` times through `n_pixels` would take too long."""
    work, limit = n_passes * max(n_pixels, 1), budget().passes * 25_000_000
    if n_passes > budget().passes or work > limit:
        needed = max(n_passes / budget().passes, work / limit)
        raise UnreadableImageError(
            f"has {n_passes} {what} of {n_pixels} pixels, which would take too long. {remedy(needed, 1)}"
        )


def remedy(wanted: float, limit: float) -> str:
    """Return how to read what exceeds its limit."""
    factor = math.ceil(wanted / limit * float(os.environ.get(VARIABLE, "1")))
    return f"If that is right, raise what is read: {OPTION} {factor} (or {VARIABLE}={factor})"


def _check_count(shape: tuple[int, ...], what: str, limit: int) -> None:
    sides = " x ".join(map(str, shape))
    if min(shape) < 1:
        raise UnreadableImageError(f"claims {sides} {what}")
    if math.prod(shape) > limit:
        most = f"at most {limit // 1_000_000} million are read"
        raise UnreadableImageError(f"claims {sides} {what}; {most}. {remedy(math.prod(shape), limit)}")


GZIP = b"\x1f\x8b"
GZIP_BITS = 31
DRAINED_AT_ONCE, STEP = 2**20, 8
AGAIN = "Fetch or write the file again"


def read_content(path: Path) -> bytes:
    """Return the content of a file, unpacked if it is packed by gzip.

    Raises
    ------
    UnreadableImageError
        If it is cut off, does not fit its checksum, or inflates beyond the budget.
    """
    content = path.read_bytes()
    return gunzip(content, largest_output(len(content)) + 1) if content.startswith(GZIP) else content


def read_head(path: Path, n_bytes: int) -> bytes:
    """Return the first bytes of a file's content, unpacked where it is a gzip file that can be."""
    with path.open("rb") as file:
        head = file.read(n_bytes)
        if not head.startswith(GZIP):
            return head
        # Every deflate block of a sound file says its first bytes within a few more than it takes to store them.
        packed = head + file.read(16 * n_bytes + 2**16)
    inflater, content = zlib.decompressobj(GZIP_BITS), b""
    try:
        # In steps, since a small file has its checksum, which may be wrong, within these bytes.
        for start in range(0, len(packed), STEP):
            content += inflater.decompress(packed[start : start + STEP], n_bytes - len(content))
            if len(content) == n_bytes:
                break
    except zlib.error:
        pass
    return content or head


def gunzip(packed: bytes, n_bytes: int) -> bytes:
    """Return the first `n_bytes` of what a gzip file holds; the rest is unpacked too, for its checksum.

    Raises
    ------
    UnreadableImageError
        If it is cut off, does not fit its checksum, or inflates beyond the budget.
    """
    n_packed = len(packed)
    parts: list[bytes] = []
    kept = seen = 0
    try:
        while packed:
            inflater = zlib.decompressobj(GZIP_BITS)
            while not inflater.eof:
                wanted = max(n_bytes - kept, 0)
                part = inflater.decompress(packed, wanted or DRAINED_AT_ONCE)
                if not part and not inflater.eof and not inflater.unconsumed_tail:
                    raise UnreadableImageError(f"cannot be decoded: its gzip data are cut off. {AGAIN}")
                if wanted:
                    parts.append(part)
                    kept += len(part)
                seen += len(part)
                check_bytes(seen, n_packed)
                packed = inflater.unconsumed_tail
            # Members may follow one another (RFC 1952 2.2); zeros fill up blocks of a tape.
            packed = inflater.unused_data.lstrip(b"\0")
    except zlib.error:
        raise UnreadableImageError(
            f"cannot be decoded: its gzip data are damaged or do not fit their checksum. {AGAIN}"
        ) from None
    return parts[0] if len(parts) == 1 else b"".join(parts)
