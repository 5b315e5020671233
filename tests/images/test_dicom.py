"""Proves that DICOM comes out as a viewer would show it, and that each file is an image or a reasoned refusal."""

import gzip
import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from focusmap.basics import UnreadableImageError
from focusmap.images.read import read_image
from support.dicom_files import STORED, a_dataset, saved, without
from support.images import smooth

SHIPPED = sorted(path for path in (Path(pydicom.__file__).parent / "data/test_files").rglob("*") if path.is_file())


def read(tmp_path, dataset):
    return read_image(saved(tmp_path, dataset)).pixels[0]


def image_or_refusal(path):
    try:
        return read_image(path), ""
    except UnreadableImageError as error:
        return None, str(error)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_each_file_that_ships_with_pydicom_is_an_image_or_a_reasoned_refusal(path):
    image, refusal = image_or_refusal(path)
    if image is None:
        assert refusal.startswith(f"{path}: ")
        assert len(refusal) > len(str(path)) + 15
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = path.read_bytes()
        content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
        dataset = pydicom.dcmread(io.BytesIO(content), force=True)
    assert image.source_shape == image.shape == (dataset.Rows, dataset.Columns)
    assert image.n_channels in (1, 3)
    assert image.pixels.dtype in (np.uint8, np.uint16, np.int16, np.float32)


def test_refusals_are_for_want_of_one_decodable_image():
    """Whatever is left out has no pixels, several frames, or is broken on purpose."""
    refusals = [refusal for _, refusal in map(image_or_refusal, SHIPPED) if refusal]
    assert len(SHIPPED) - len(refusals) >= 80
    expected = ("without pixels", "frames; one was expected", "its content is none of")
    others = [refusal for refusal in refusals if not any(reason in refusal for reason in expected)]
    assert len(others) <= 6, others


def test_stored_values_become_modality_values(tmp_path):
    dataset = a_dataset(RescaleSlope=2, RescaleIntercept=-1024)
    assert np.array_equal(read(tmp_path, dataset), STORED * 2.0 - 1024)


@pytest.mark.parametrize(
    ("spacing", "of_detector", "expected"),
    [
        ([0.7, 0.5], None, (0.7, 0.5)),
        ([0.14, 0.14], [0.17, 0.17], (0.14, 0.14)),
        ([0.17, 0.17], [0.17, 0.17], None),
        (None, [0.17, 0.17], None),
        ([0, 0.5], None, None),
        ([0.5], None, None),
    ],
)
def test_pixels_have_a_size_in_the_patient_unless_it_is_that_of_the_detector(tmp_path, spacing, of_detector, expected):
    given = {"PixelSpacing": spacing, "ImagerPixelSpacing": of_detector}
    dataset = a_dataset(**{name: value for name, value in given.items() if value})
    assert read_image(saved(tmp_path, dataset)).pixel_spacing == expected


def test_a_pixel_spacing_that_is_no_number_makes_no_image_unreadable(tmp_path, monkeypatch):
    monkeypatch.setattr(pydicom.config.settings, "writing_validation_mode", pydicom.config.IGNORE)
    dataset = a_dataset()
    dataset["PixelSpacing"] = pydicom.dataelem.RawDataElement(
        pydicom.tag.Tag("PixelSpacing"), "DS", 8, b"0.5\\abc ", 0, False, True
    )
    assert read_image(saved(tmp_path, dataset)).pixel_spacing is None


def test_a_window_is_applied_after_the_modality(tmp_path):
    """PS3.3 C.11.2.1.2.1, the linear function, written out."""
    centre, width = 1000, 800
    dataset = a_dataset(RescaleSlope=2, RescaleIntercept=-1024, WindowCenter=centre, WindowWidth=width)
    x = STORED * 2.0 - 1024
    low, high = -1024.0, 4095 * 2.0 - 1024
    expected = np.clip(((x - (centre - 0.5)) / (width - 1) + 0.5) * (high - low) + low, low, high)
    assert np.allclose(read(tmp_path, dataset), expected, atol=1e-2)


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 1500, "WindowWidth": 900}], ids=["no window", "window"])
@pytest.mark.parametrize("slope", [{}, {"RescaleSlope": 0.5, "RescaleIntercept": 0}], ids=["stored", "rescaled"])
def test_monochrome1_and_its_twin_are_the_same_image(tmp_path, window, slope):
    plain = read(tmp_path, a_dataset(**slope))
    twin = read(tmp_path, a_dataset(4095 - STORED, PhotometricInterpretation="MONOCHROME1", **slope))
    assert np.allclose(plain, twin)
    shown = read(tmp_path, a_dataset(4095 - STORED, PhotometricInterpretation="MONOCHROME1", **slope, **window))
    top = 4095 * slope.get("RescaleSlope", 1)
    assert np.allclose(shown, top - read(tmp_path, a_dataset(4095 - STORED, **slope, **window)), atol=1e-2)


def test_eight_bits_stay_eight_bits(tmp_path):
    stored = smooth(40, 30)
    pixels = read(tmp_path, a_dataset(stored, bits=8))
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, stored)
    inverted = read(tmp_path, a_dataset(255 - stored, bits=8, PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(inverted, stored)


def test_signed_values_keep_their_sign(tmp_path):
    stored = STORED.astype(np.int16) - 2000
    assert np.array_equal(read(tmp_path, a_dataset(stored, bits=16)), stored)


def test_a_file_without_preamble_is_read_by_its_name(tmp_path):
    path = saved(tmp_path, a_dataset())
    bare = tmp_path / "bare.dcm"
    bare.write_bytes(path.read_bytes()[132:])
    assert np.array_equal(read_image(bare).pixels, read_image(path).pixels)
    nameless = saved(tmp_path, a_dataset(), "IM0001")
    assert np.array_equal(read_image(nameless).pixels, read_image(path).pixels)


def deflated(tmp_path, data):
    """Return a file whose deflated part is `data`."""
    dataset = a_dataset()
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = saved(tmp_path, dataset, "deflated.dcm")
    start = 144 + pydicom.filereader.read_file_meta_info(path).FileMetaInformationGroupLength
    head = path.read_bytes()[:start]
    if data is not None:
        path.write_bytes(head + data)
    return path


def test_a_deflated_file_is_inflated(tmp_path):
    assert np.array_equal(read_image(deflated(tmp_path, None)).pixels[0], STORED)


def test_a_deflated_bomb_is_refused_before_it_goes_off(tmp_path):
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(squeeze.compress(bytes(2**20)) for _ in range(200)) + squeeze.flush()
    assert len(bomb) < 250_000
    with pytest.raises(UnreadableImageError, match="inflates to more than 128 MiB"):
        read_image(deflated(tmp_path, bomb))
    with pytest.raises(UnreadableImageError, match="cut off"):
        read_image(deflated(tmp_path, zlib.compress(bytes(1000), wbits=-15)[:-4]))


def test_deep_nesting_is_refused(tmp_path):
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    sequence = b"\x40\x00\x75\x02SQ\x00\x00\xff\xff\xff\xff"
    path = saved(tmp_path, a_dataset())
    path.write_bytes(path.read_bytes() + (sequence + item) * 20_000)
    with pytest.raises(UnreadableImageError):
        read_image(path)


REFUSED = {
    "no pixels": (lambda: without(a_dataset(Modality="SR"), "PixelData"), r"without pixels \(modality SR\)"),
    "no rows": (lambda: without(a_dataset(), "Rows"), "Rows is missing"),
    "several frames": (lambda: a_dataset(NumberOfFrames=5), "holds 5 frames.*focusmap convert FILE --out DIR"),
    "huge": (lambda: a_dataset(Rows=65_000, Columns=65_000), "claims 65000 x 65000"),
    "too few pixels": (lambda: a_dataset(Rows=200), "cannot be decoded"),
}


@pytest.mark.parametrize(("make", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_single_image_is_refused(tmp_path, make, reason):
    with pytest.raises(UnreadableImageError, match=reason):
        read_image(saved(tmp_path, make()))


def test_text_named_dcm_is_refused(tmp_path):
    path = tmp_path / "a.dcm"
    path.write_text("this is no DICOM file, only a long line of words " * 20)
    with pytest.raises(UnreadableImageError, match=r"a\.dcm: "):
        read_image(path)


def test_neither_warnings_nor_errors_quote_the_patient(tmp_path, recwarn):
    dataset = a_dataset(PatientName="Mustermann^Erika")
    path = saved(tmp_path, dataset)
    content = path.read_bytes().replace(struct.pack("<HH2sH", 0x0028, 0x0010, b"US", 2), b"\x28\0\x10\0XX\x02\0")
    path.write_bytes(content)
    assert "Mustermann" not in image_or_refusal(path)[1]
    assert not recwarn.list


@pytest.fixture
def samples():
    if "FOCUSMAP_DATA" not in os.environ:
        pytest.skip("FOCUSMAP_DATA does not name the folder of real data")
    return Path(os.environ["FOCUSMAP_DATA"]) / "io_samples"


def test_a_real_radiograph_and_its_monochrome1_twin(samples):
    plain, twin = read_image(samples / "cxr_rsna_cr.dcm"), read_image(samples / "cxr_monochrome1_fake.dcm")
    assert plain.pixels.dtype == np.uint8
    assert plain.pixels.shape == (1, 1024, 1024)
    assert np.array_equal(plain.pixels, 255 - twin.pixels)


def test_every_sample_is_an_image_or_a_reasoned_refusal(samples):
    for path in (path for path in samples.iterdir() if path.name != "SOURCE.md"):
        image, refusal = image_or_refusal(path)
        assert image is not None or len(refusal) > len(str(path)) + 15
        if path.name.endswith(".nii.gz"):
            assert len(image.source_shape) == 3


def test_samples_of_other_makers_are_images_or_refused(samples):
    assert read_image(samples / "highdicom_ct_image.dcm").shape == (128, 128)
    assert read_image(samples / "highdicom_dx_image.dcm").n_channels == 1
    for name, reason in [("seg_image_ct_binary", "frames"), ("sm_image", "frames"), ("sr_document", "without pixels")]:
        with pytest.raises(UnreadableImageError, match=reason):
            read_image(samples / f"highdicom_{name}.dcm")
