"""What a reader costs beside another checkout of focusmap: processor time, taken in turns in one run.

    python benchmarks/reading_cost.py CHECKOUT

CHECKOUT is a worktree of an older commit. Prints milliseconds of each kind of file and the ratio to the other checkout,
the median of 9 rounds, with its range. Processor time hardly minds what else the machine does.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import imagecodecs
import nibabel
import numpy as np
import tifffile
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    SecondaryCaptureImageStorage,
)

SIDE, ROUNDS = 1024, 9
READS = {"j2k.dcm": 2, "jls.dcm": 5, "lossless.dcm": 5}
WORKER = """
import sys, time, warnings
from pathlib import Path
from focusmap.images.read import read_image
warnings.simplefilter("ignore")
for line in sys.stdin:
    path, n = line.split()
    start = time.process_time()
    for _ in range(int(n)):
        read_image(Path(path))
    print(time.process_time() - start, flush=True)
"""


def smooth(top: int, kind: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (SIDE // 8, SIDE // 8)).astype(np.uint8))
    plane = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) + rng.normal(0, 2, (SIDE, SIDE))
    return (np.clip(plane, 0, 255) * (top / 255)).astype(kind)


def dicom(path: Path, plane: np.ndarray, stored: int, packed: tuple[str, bytes] | None = None, **said: object) -> None:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = packed[0] if packed else ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = SecondaryCaptureImageStorage
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = "1.2.3"
    made.Rows, made.Columns = plane.shape[:2]
    made.SamplesPerPixel, made.PlanarConfiguration = (1 if plane.ndim == 2 else 3), 0
    made.PhotometricInterpretation = "MONOCHROME2" if plane.ndim == 2 else "RGB"
    made.BitsAllocated, made.BitsStored, made.HighBit = 8 * plane.itemsize, stored, stored - 1
    made.PixelRepresentation = 0
    made.PixelData = encapsulate([packed[1]]) if packed else plane.tobytes()
    made["PixelData"].is_undefined_length = packed is not None
    for name, value in said.items():
        setattr(made, name, value)
    made.save_as(path, enforce_file_format=True)


def write_all(folder: Path) -> None:
    grey, deep = smooth(255, "u1"), smooth(4095, "u2")
    colour = np.stack([grey, grey[::-1], grey.T], -1)
    for name, plane in (("grey", grey), ("colour", colour), ("deep", deep)):
        Image.fromarray(plane).save(folder / f"{name}.png")
        tifffile.imwrite(folder / f"{name}.tif", plane, metadata=None)
        if plane.dtype == np.uint8:
            Image.fromarray(plane).save(folder / f"{name}.jpg", quality=90)
        dicom(folder / f"{name}.dcm", plane, 12 if plane is deep else 8)
    dicom(folder / "window.dcm", deep, 12, WindowCenter=2000, WindowWidth=3000)
    dicom(folder / "jpeg.dcm", grey, 8, (JPEGBaseline8Bit, imagecodecs.jpeg8_encode(grey, level=90)))
    lossless = imagecodecs.ljpeg_encode(deep, bitspersample=12)
    dicom(folder / "lossless.dcm", deep, 12, (JPEGLosslessSV1, lossless))
    dicom(folder / "jls.dcm", deep, 12, (JPEGLSLossless, imagecodecs.jpegls_encode(deep)))
    j2k = imagecodecs.jpeg2k_encode(deep, level=0, codecformat="j2k")
    dicom(folder / "j2k.dcm", deep, 12, (JPEG2000Lossless, j2k))
    voxels = np.random.default_rng(0).normal(500, 80, (128, 128, 40)).astype("i2")
    for name in ("volume.nii", "volume.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.0, 1, 3, 1])), folder / name)


def worker(checkout: Path) -> "subprocess.Popen[str]":
    where = {**os.environ, "PYTHONPATH": str(checkout / "src")}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", WORKER], stdin=pipe, stdout=pipe, text=True, env=where)


def seconds(asked: "subprocess.Popen[str]", path: Path, n: int) -> float:
    assert asked.stdin is not None
    assert asked.stdout is not None
    asked.stdin.write(f"{path} {n}\n")
    asked.stdin.flush()
    return float(asked.stdout.readline())


def main() -> None:
    both = [worker(Path(sys.argv[1])), worker(Path(__file__).resolve().parents[1])]
    with tempfile.TemporaryDirectory() as folder:
        write_all(Path(folder))
        for path in sorted(Path(folder).iterdir()):
            n = READS.get(path.name, 20)
            for one in both:
                seconds(one, path, 1)
            rounds = [[seconds(one, path, n) for one in both] for _ in range(ROUNDS)]
            ratios = [new / old for old, new in rounds]
            ms = median(new for _, new in rounds) / n * 1000
            print(
                f"| {path.name} | {ms:.2f} | {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |",
                flush=True,
            )


if __name__ == "__main__":
    main()
