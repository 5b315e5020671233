"""Small files that claim, or inflate to, more than a computer holds: what a reader must refuse before it reserves."""

import gzip
import io
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image as Pillow

from support.dicom_files import a_dataset

ZEROS = bytes(2**20)


def zeros(n_mib: int, wbits: int = 15) -> bytes:
    """Return so many MiB of zeros, deflated."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, wbits)
    return b"".join(squeeze.compress(ZEROS) for _ in range(n_mib)) + squeeze.flush()


def nifti(shape: tuple[int, ...], datatype: int = 2, bits: int = 8) -> bytes:
    """Return a NIfTI-1 header alone (nifti1.h)."""
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, len(shape), *shape, *[1] * (7 - len(shape)))
    struct.pack_into("<2h", head, 70, datatype, bits)
    struct.pack_into("<f", head, 108, 352)
    head[344:348] = b"n+1\0"
    return bytes(head)


def nifti_2(shape: tuple[int, ...]) -> bytes:
    """Return a NIfTI-2 header alone (nifti2.h)."""
    head = bytearray(544)
    struct.pack_into("<i8sh", head, 0, 540, b"n+2\0\r\n\x1a\n", 64)
    struct.pack_into("<8q", head, 16, len(shape), *shape, *[1] * (7 - len(shape)))
    struct.pack_into("<q", head, 168, 544)
    return bytes(head)


def packed_nifti(shape: tuple[int, ...], n_mib: int, datatype: int = 2, bits: int = 8) -> bytes:
    """Return a ``.nii.gz`` whose voxels are zeros."""
    body = gzip.compress(nifti(shape, datatype, bits))
    return body + zeros(n_mib, 31)


def chunk(kind: bytes, payload: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def png(columns: int, rows: int, depth: int, colour_type: int, n_mib: int, interlaced: int = 0) -> bytes:
    """Return a PNG of zeros."""
    header = struct.pack(">IIBBBBB", columns, rows, depth, colour_type, 0, 0, interlaced)
    data = chunk(b"IDAT", zeros(n_mib))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def scans(side: int, n_scans: int) -> bytes:
    """Return a progressive JPEG whose last scan comes over and over."""
    buffer = io.BytesIO()
    Pillow.new("L", (side, side)).save(buffer, "JPEG", progressive=True)
    content = buffer.getvalue()
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * n_scans + content[-2:]


def directories(n_pages: int, *, circle: bool = False) -> bytes:
    """Return a TIFF of so many empty pages, one after another."""
    entries = [(256, 3, 1, 1), (257, 3, 1, 1), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
               (277, 3, 1, 1), (278, 3, 1, 1), (279, 4, 1, 1)]  # fmt: skip
    size = 2 + 12 * len(entries) + 4
    pages = []
    for number in range(n_pages):
        following = 8 if circle and number == n_pages - 1 else 0 if number == n_pages - 1 else 8 + size * (number + 1)
        body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
        pages.append(struct.pack("<H", len(entries)) + body + struct.pack("<I", following))
    return b"II*\0" + struct.pack("<I", 8) + b"".join(pages)


def tiff(columns: int, rows: int, n_samples: int = 1, bits: int = 8, tile: int = 0) -> bytes:
    """Return a TIFF whose one directory claims what it likes."""
    entries = [(256, 4, 1, columns), (257, 4, 1, rows), (258, 3, 1, bits), (259, 3, 1, 8), (262, 3, 1, 1),
               (273, 4, 1, 8), (277, 3, 1, n_samples), (278, 4, 1, rows), (279, 4, 1, 10)]  # fmt: skip
    entries += [(322, 4, 1, tile), (323, 4, 1, tile), (324, 4, 1, 8), (325, 4, 1, 10)] if tile else []
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + bytes(4) + bytes(64)


def dicom(**elements: object) -> bytes:
    """Return a DICOM file of small pixels and large claims."""
    buffer = io.BytesIO()
    a_dataset(**elements).save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def deflated_dicom(n_mib: int) -> bytes:
    """Return a deflated DICOM file of zeros."""
    content = dicom().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99", 1)
    start = 144 + int.from_bytes(content[140:144], "little")
    return content[:start] + zeros(n_mib, -15)


def nested_dicom(depth: int) -> bytes:
    """Return a DICOM file whose sequences lie in one another."""
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return dicom() + (b"\x40\x00\x75\x02SQ\x00\x00\xff\xff\xff\xff" + item) * depth


IMAGES: dict[str, Callable[[], bytes]] = {
    "v.nii of 30000 cubed": lambda: nifti((30000, 30000, 30000)),
    "v.nii of 499 million voxels": lambda: nifti((1000, 1000, 499)),
    "v.nii of 499 million decimals": lambda: nifti((1000, 1000, 499), 64, 64),
    "second.nii of 2 to the 62": lambda: nifti_2((2**31, 2**31, 1)),
    "v.nii.gz of a header": lambda: gzip.compress(nifti((1000, 1000, 499))),
    "v.nii.gz of 499 million zeros": lambda: packed_nifti((1000, 1000, 499), 480),
    "v.nii.gz of 16-bit zeros": lambda: packed_nifti((1000, 1000, 200), 400, 4, 16),
    "v.nii.gz of 64-bit zeros": lambda: packed_nifti((500, 500, 400), 800, 64, 64),
    "v.nii.gz with a long end": lambda: packed_nifti((10, 10, 10), 600),
    "v.nii of seven long axes": lambda: nifti((30000,) * 7),
    "x.png of 100,000 squared": lambda: png(100_000, 100_000, 8, 0, 1),
    "x.png of 16-bit RGBA": lambda: png(9999, 9999, 16, 6, 764),
    "x.png of 16-bit RGB": lambda: png(9999, 9999, 16, 2, 573),
    "x.png of 16-bit grey and alpha": lambda: png(9999, 9999, 16, 4, 382),
    "x.png of 8-bit RGBA": lambda: png(9999, 9999, 8, 6, 382),
    "x.png, interlaced": lambda: png(9999, 9999, 16, 6, 764, 1),
    "x.png of a palette": lambda: png(9999, 9999, 8, 3, 96),
    "x.png.gz": lambda: gzip.compress(png(9999, 9999, 16, 6, 764)),
    "zeros.gz": lambda: zeros(900, 31),
    "x.dcm.gz of zeros": lambda: gzip.compress(dicom()) + zeros(900, 31),
    "x.jpg of 10,000 scans": lambda: scans(2000, 10_000),
    "x.jpg of 99 scans of 16 million pixels": lambda: scans(4000, 90),
    "x.tif of 40,000 pages": lambda: directories(40_000),
    "x.tif of pages in a circle": lambda: directories(5, circle=True),
    "x.tif of 4 thousand million columns": lambda: tiff(2**32 - 1, 1000),
    "x.tif of 65,000 channels": lambda: tiff(1000, 1000, 65_000),
    "x.tif of 64-bit samples": lambda: tiff(9999, 9999, 4, 64),
    "x.tif of one giant tile": lambda: tiff(64, 64, 1, 8, 2**30),
    "x.dcm of 65,000 squared": lambda: dicom(Rows=65_000, Columns=65_000),
    "x.dcm of 2 thousand million frames": lambda: dicom(NumberOfFrames=2**31 - 1),
    "x.dcm, deflated": lambda: deflated_dicom(400),
    "x.dcm, nested": lambda: nested_dicom(50_000),
}


def zipped(name: str, n_mib: int) -> bytes:
    """Return a zip of one file of zeros."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as file:
        for _ in range(n_mib):
            file.write(ZEROS)
    return buffer.getvalue()


def tarred(name: str, n_mib: int) -> bytes:
    """Return a ``.tar.gz`` of one file of zeros."""
    info = tarfile.TarInfo(name)
    info.size = n_mib * 2**20
    return gzip.compress(info.tobuf()) + zeros(n_mib, 31)


def batch(content: bytes) -> bytes:
    """Return a CIFAR archive whose names are a hostile pickle."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("cifar-10-batches-py/batches.meta")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def doubling(n_levels: int, *, key: bool = False) -> bytes:
    """Return a pickle of tuples of which each holds the one before it twice; as a name, or as a key."""
    body = b")q\0" + b"".join(b"h\0h\0\x86q\0" for _ in range(n_levels))
    names = b"X\x0b\0\0\0label_names"
    return b"\x80\x02}" + (body + b"K\1s." if key else names + b"]" + body + b"as.")


def nested(n_levels: int) -> bytes:
    """Return a pickle of lists in lists."""
    return b"\x80\x02}X\x0b\0\0\0label_names" + b"]" * n_levels + b"a" * (n_levels - 1) + b"s."


def mat_5(content: bytes) -> bytes:
    """Return a MATLAB 5 file of one packed element."""
    return b"MATLAB 5.0".ljust(124) + b"\0\1IM" + struct.pack("<II", 15, len(content)) + content


def nested_cells(depth: int) -> bytes:
    """Return a MATLAB 5 element of cells in cells."""
    element = b""
    for _ in range(depth):
        flags = struct.pack("<IIII", 6, 8, 1, 0)
        dimensions = struct.pack("<IIii", 5, 8, 1, 1)
        element = struct.pack("<II", 14, 40 + len(element)) + flags + dimensions + struct.pack("<II", 1, 0) + element
    return element


def mat_7(**fields: tuple[int, ...]) -> bytes:
    """Return a MATLAB 7.3 file whose fields claim shapes of uint8."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=512) as file:
        group = file.create_group("cjdata")
        for name, shape in fields.items():
            group.create_dataset(name, shape, "u1", chunks=tuple(min(side, 100) for side in shape), compression="gzip")
    return buffer.getvalue()


def array_file(shape: tuple[int, ...], n_mib: int) -> bytes:
    """Return an ``.npz`` that begins as MedMNIST does."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("train_images.npy", "w") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for _ in range(n_mib):
                file.write(ZEROS)
        with archive.open("train_labels.npy", "w") as file:
            np.lib.format.write_array(file, np.zeros(shape[0], np.uint8))
    return buffer.getvalue()


SETS: dict[str, Callable[[], bytes]] = {
    "x.zip of zeros": lambda: zipped("1.mat", 900),
    "x.zip of zips of zeros": lambda: zipped("1.zip", 900),
    "x.tar.gz of zeros": lambda: tarred("data_batch_1", 900),
    "x.tar.gz of zeros aside": lambda: tarred("aside", 900),
    "nested.tar.gz": lambda: batch(nested(200_000)),
    "doubling.tar.gz": lambda: batch(doubling(900)),
    "keys.tar.gz": lambda: batch(doubling(900, key=True)),
    "more doubling.tar.gz": lambda: batch(doubling(100_000)),
    "memo.tar.gz": lambda: batch(b"\x80\x02}r\xff\xff\xff\x7f."),
    "number.tar.gz": lambda: batch(b"\x80\x02I" + b"9" * 500_000 + b"\n."),
    "objects.tar.gz": lambda: batch(pickle.dumps([object()])),
    "zeros.mat": lambda: mat_5(zeros(600)),
    "cells.mat": lambda: mat_5(zlib.compress(nested_cells(20_000))),
    "claims.mat": lambda: mat_7(image=(60_000, 60_000)),
    "fields.mat": lambda: mat_7(**{f"f{k}": (10_000, 10_000) for k in range(9)}),
    "many fields.mat": lambda: mat_7(**{f"f{k}": (1, 1) for k in range(1100)}),
    "x.npz of zeros": lambda: array_file((600, 1024, 1024), 600),
    "x.npz of one giant": lambda: array_file((1, 9999, 9999), 1),
    "x.npz of a giant volume": lambda: array_file((1, 700, 800, 800), 1),
}
