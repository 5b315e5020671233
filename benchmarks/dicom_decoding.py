"""Compressed DICOM frames of 1024 x 1024, codec by codec: focusmap's decoder beside those that pydicom brings.

    python benchmarks/dicom_decoding.py

Prints milliseconds of processor time a frame, and our ratio to each decoder of pydicom that is installed. pydicom
itself needs Pillow for JPEG and JPEG 2000 and has its own RLE; gdcm, pylibjpeg and pyjpegls are shown where they
are (`pip install python-gdcm pylibjpeg pylibjpeg-rle pylibjpeg-openjpeg pyjpegls`). All decode the same frame to
the same array; each takes the best of its rounds, in turns.
"""

import time
from collections.abc import Callable, Sequence

import cv2
import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder, pixel_array

from focusmap.images import layout_of, stored_frame

SIDE, ROUNDS = 1024, 5
OURS = "focusmap"
WANTED = {uid.RLELossless: 4.0}


def main() -> None:
    for name, dataset in datasets().items():
        syntax = dataset.file_meta.TransferSyntaxUID
        seconds = milliseconds(dataset, get_decoder(syntax).available_plugins)
        ours = seconds.pop(OURS)
        wanted = f" (wanted against pydicom's own: {WANTED[syntax]:.0f})" if syntax in WANTED else ""
        print(f"{name}{wanted}\n  focusmap   {ours:7.1f} ms")
        for plugin, theirs in seconds.items():
            print(f"  {plugin:10} {theirs:7.1f} ms   ratio {theirs / ours:.1f}")
        if not seconds:
            print("  pydicom cannot, as it is installed here")


def milliseconds(dataset: Dataset, plugins: Sequence[str]) -> dict[str, float]:
    """Return the best time of each decoder; they take turns, so that all see the same disturbances."""
    best: dict[str, float] = {}
    layout = layout_of(dataset)
    expected = stored_frame(dataset, layout, 0).astype(int)
    for _ in range(ROUNDS):
        for plugin in (OURS, *plugins):
            started = time.process_time()
            try:
                decoded = (
                    stored_frame(dataset, layout, 0) if plugin == OURS else pixel_array(dataset, decoding_plugin=plugin)
                )
            except RuntimeError:
                continue  # knows the transfer syntax, but not at this depth
            spent = 1000 * (time.process_time() - started)
            assert np.abs(decoded.astype(int) - expected).max() <= 1
            best[plugin] = min(best.get(plugin, spent), spent)
    return best


def datasets() -> dict[str, Dataset]:
    """Return a frame a codec: 8-bit grey, 12-bit grey and colour, with the noise of a radiograph and black margins."""
    planes = {"8 bit": (film(255), 8), "12 bit": (film(4095).astype(np.uint16), 12), "colour": (colour(), 8)}
    made = {}
    for depth, (plane, bits) in planes.items():
        for codec, (syntax, encode) in ENCODERS.items():
            made[f"{codec}, {depth}"] = dataset_of(plane, bits, syntax, encode(plane, bits))
        made[f"RLE, {depth}"] = run_length(plane, bits)
        lossy = uid.JPEGBaseline8Bit if bits == 8 else uid.JPEGExtended12Bit
        frame = imagecodecs.jpeg8_encode(plane, level=90, bitspersample=bits)
        made[f"JPEG, {depth}"] = dataset_of(plane, bits, lossy, frame)
    return made


def film(top: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    anatomy = cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE)), (0, 0), 20)
    anatomy = (anatomy - anatomy.min()) / np.ptp(anatomy) * 0.85
    noisy = np.clip((anatomy + rng.normal(0, 0.005, anatomy.shape)) * top, 0, top)
    noisy[:, : SIDE // 7] = noisy[:, -SIDE // 7 :] = 0
    return np.rint(noisy).astype(np.uint8 if top == 255 else np.uint16)


def colour() -> np.ndarray:
    plane = film(255)
    return np.stack([plane, np.roll(plane, 3, axis=0), np.roll(plane, 5, axis=1)], axis=-1)


def dataset_of(plane: np.ndarray, bits: int, syntax: str, frame: bytes | None) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID = uid.SecondaryCaptureImageStorage, "1.2.3"
    dataset.Rows, dataset.Columns = plane.shape[:2]
    dataset.SamplesPerPixel = 1 if plane.ndim == 2 else 3
    is_ybr = plane.ndim == 3 and syntax == uid.JPEGBaseline8Bit
    dataset.PhotometricInterpretation = "MONOCHROME2" if plane.ndim == 2 else "YBR_FULL_422" if is_ybr else "RGB"
    if plane.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * plane.itemsize, bits, bits - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = plane.tobytes() if frame is None else encapsulate([frame + b"\0" * (len(frame) % 2)])
    dataset["PixelData"].VR = "OW" if frame is None else "OB"
    return dataset


def run_length(plane: np.ndarray, bits: int) -> Dataset:
    dataset = dataset_of(plane, bits, uid.ExplicitVRLittleEndian, None)
    dataset.compress(uid.RLELossless, encoding_plugin="pydicom")
    return dataset


def lossless_jpeg(plane: np.ndarray, bits: int) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(plane, lossless=True, bitspersample=bits))


def jpeg_ls(plane: np.ndarray, bits: int) -> bytes:  # noqa: ARG001  (as every encoder)
    return bytes(imagecodecs.jpegls_encode(plane))


def jpeg_2000(plane: np.ndarray, bits: int) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(plane, reversible=True, codecformat="j2k", bitspersample=bits))


ENCODERS: dict[str, tuple[str, Callable[[np.ndarray, int], bytes]]] = {
    "lossless JPEG": (uid.JPEGLosslessSV1, lossless_jpeg),
    "JPEG-LS": (uid.JPEGLSLossless, jpeg_ls),
    "JPEG 2000": (uid.JPEG2000Lossless, jpeg_2000),
}


if __name__ == "__main__":
    main()
