"""The bytes of a file, unpacked where it is a gzip file: within the budget, to the end, and with its checksum."""

import zlib
from pathlib import Path

from focusmap.errors import UnreadableImageError
from focusmap.images.budget import check_bytes, largest_output

GZIP = b"\x1f\x8b"
GZIP_BITS = 31
DRAINED_AT_ONCE = 2**20
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
        try:
            # Every deflate block of a sound file says its first bytes within a few more than it takes to store them.
            return zlib.decompressobj(GZIP_BITS).decompress(head + file.read(16 * n_bytes + 2**16), n_bytes)
        except zlib.error:
            return head


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
