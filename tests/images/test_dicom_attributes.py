"""Each optional attribute of pixels and their display: absent, empty, zero, out of range, of another type, several.

Every test says which values a viewer would show; docs/formats.md has the table.
"""

import gzip
import io
import warnings
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_voi_lut, pixel_array
from pydicom.tag import Tag

from focusmap.basics import UnreadableImageError
from focusmap.images.dicom import parse_dicom
from focusmap.images.dicom_pixels import layout_of, stored_frame
from focusmap.images.read import read_image
from support.dicom_files import a_dataset, saved, without
from support.images import colourful

RAMP = np.arange(64 * 64, dtype="<u2").reshape(64, 64)  # all values of 12 bits
BYTES = (RAMP >> 4).astype(np.uint8)
BIG = uid.ExplicitVRBigEndian


@pytest.fixture(autouse=True)
def odd_values_can_be_written(monkeypatch):
    monkeypatch.setattr(pydicom.config.settings, "writing_validation_mode", pydicom.config.IGNORE)
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.IGNORE)


def write(tmp_path, dataset, name="x.dcm"):
    syntax = dataset.file_meta.TransferSyntaxUID
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(
            tmp_path / name, enforce_file_format=True, implicit_vr=syntax.is_implicit_VR,
            little_endian=syntax.is_little_endian,
        )  # fmt: skip
    return tmp_path / name


def read(tmp_path, dataset):
    return read_image(write(tmp_path, dataset)).pixels


def raw(dataset, keyword, content, kind="DS"):
    """Set the bytes of an attribute as a writer left them, whatever its type demands."""
    tag = Tag(pydicom.datadict.tag_for_keyword(keyword))
    dataset[tag] = RawDataElement(tag, kind, len(content), content, 0, False, True)
    return dataset


def item(**elements):
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def table(entries, first=0, bits=16, n_entries=None, kind="<u2", vr="OW"):
    made = item(LUTDescriptor=[len(entries) if n_entries is None else n_entries, first, bits])
    made["LUTDescriptor"].VR = "US" if first >= 0 else "SS"
    made.add_new("LUTData", vr, np.asarray(entries, kind).tobytes())
    return made


# --- windows (PS3.3 C.11.2) -------------------------------------------------------------------------------------------

NO_WINDOW = {
    "width 0": {"WindowCenter": "0", "WindowWidth": "0"},
    "width below 0": {"WindowCenter": "40", "WindowWidth": "-400"},
    "width below 1": {"WindowCenter": "40", "WindowWidth": "0.5"},
    "width 0, exact": {"WindowCenter": "40", "WindowWidth": "0", "VOILUTFunction": "LINEAR_EXACT"},
    "width 0, sigmoid": {"WindowCenter": "40", "WindowWidth": "0", "VOILUTFunction": "SIGMOID"},
    "no width": {"WindowCenter": "40"},
    "wider than all": {"WindowCenter": "50", "WindowWidth": "1e300"},
    "beyond all": {"WindowCenter": "1e5", "WindowWidth": "10"},
    "no centre": {"WindowWidth": "400"},
    "empty": {"WindowCenter": "", "WindowWidth": ""},
    "empty width": {"WindowCenter": "40", "WindowWidth": ""},
    "empty centre": {"WindowCenter": "", "WindowWidth": "400"},
    "function alone": {"VOILUTFunction": "SIGMOID"},
    "nothing but an explanation": {"WindowCenterWidthExplanation": "BONE"},
}


@pytest.mark.parametrize("elements", NO_WINDOW.values(), ids=NO_WINDOW)
def test_what_is_no_window_is_left_out(tmp_path, elements):
    assert np.array_equal(read(tmp_path, a_dataset(RAMP, **elements))[0], RAMP)


def linear(centre, width):
    """PS3.3 C.11.2.1.2.1, written out, over the range of 12 bits."""
    if width == 1:
        return np.where(centre - 0.5 >= RAMP, 0, 4095)
    return np.clip(((RAMP - (centre - 0.5)) / (width - 1) + 0.5) * 4095, 0, 4095)


WINDOWS = {
    "one": ({"WindowCenter": "1000", "WindowWidth": "500"}, linear(1000, 500)),
    "width 1": ({"WindowCenter": "1000", "WindowWidth": "1"}, linear(1000, 1)),
    "first of two": ({"WindowCenter": ["1000", "40"], "WindowWidth": ["500", "80"]}, linear(1000, 500)),
    "first that is one": ({"WindowCenter": ["0", "1000"], "WindowWidth": ["0", "500"]}, linear(1000, 500)),
    "two centres, one width": ({"WindowCenter": ["1000", "40"], "WindowWidth": "500"}, linear(1000, 500)),
    "function empty": ({"WindowCenter": "1000", "WindowWidth": "500", "VOILUTFunction": ""}, linear(1000, 500)),
    "function unknown": ({"WindowCenter": "1000", "WindowWidth": "500", "VOILUTFunction": "LOG"}, linear(1000, 500)),
    "function in small letters": (
        {"WindowCenter": "1000", "WindowWidth": "500", "VOILUTFunction": "linear_exact "},
        np.clip(((RAMP - 1000.0) / 500 + 0.5) * 4095, 0, 4095),
    ),
    "exact, narrow": (
        {"WindowCenter": "1000", "WindowWidth": "0.5", "VOILUTFunction": "LINEAR_EXACT"},
        np.clip(((RAMP - 1000.0) / 0.5 + 0.5) * 4095, 0, 4095),
    ),
    "sigmoid": (
        {"WindowCenter": "1000", "WindowWidth": "500", "VOILUTFunction": "SIGMOID"},
        4095 / (1 + np.exp(-4 * (RAMP - 1000.0) / 500)),
    ),
}


@pytest.mark.parametrize(("elements", "expected"), WINDOWS.values(), ids=WINDOWS)
def test_the_first_window_that_is_one_is_applied(tmp_path, elements, expected):
    np.testing.assert_allclose(read(tmp_path, a_dataset(RAMP, **elements))[0], expected, atol=1e-2)


@pytest.mark.parametrize("kind", ["FD", "FL", "US", "LO", "UN"])
def test_a_window_of_another_type_is_a_window(tmp_path, kind):
    content = {"FD": np.float64(500).tobytes(), "FL": np.float32(500).tobytes(), "US": b"\xf4\x01"}.get(kind, b"500 ")
    dataset = raw(a_dataset(RAMP, WindowCenter="1000", WindowWidth="1"), "WindowWidth", content, kind)
    np.testing.assert_allclose(read(tmp_path, dataset)[0], linear(1000, 500), atol=1e-2)


# --- slope and intercept (C.11.1) -------------------------------------------------------------------------------------

RESCALES = {
    "both empty": ({"RescaleSlope": "", "RescaleIntercept": ""}, 1, 0),
    "slope, empty intercept": ({"RescaleSlope": "2", "RescaleIntercept": ""}, 2, 0),
    "slope alone": ({"RescaleSlope": "2"}, 2, 0),
    "intercept alone": ({"RescaleIntercept": "-1024"}, 1, -1024),
    "intercept, empty slope": ({"RescaleSlope": "", "RescaleIntercept": "-1024"}, 1, -1024),
    "slope 0": ({"RescaleSlope": "0", "RescaleIntercept": "-1024"}, 1, -1024),
    "negative slope": ({"RescaleSlope": "-1", "RescaleIntercept": "4095"}, -1, 4095),
    "twice the same": ({"RescaleSlope": ["2", "2"], "RescaleIntercept": "0"}, 2, 0),
    "type alone": ({"RescaleType": "HU"}, 1, 0),
}


@pytest.mark.parametrize(("elements", "slope", "intercept"), RESCALES.values(), ids=RESCALES)
def test_a_missing_slope_is_1_and_a_missing_intercept_0(tmp_path, elements, slope, intercept):
    assert np.array_equal(read(tmp_path, a_dataset(RAMP, **elements))[0], RAMP * float(slope) + intercept)


def test_a_window_after_a_lone_slope_is_in_its_units(tmp_path):
    pixels = read(tmp_path, a_dataset(RAMP, RescaleSlope="2", WindowCenter="2000", WindowWidth="1001"))[0]
    np.testing.assert_allclose(pixels, np.clip(((2.0 * RAMP - 1999.5) / 1000 + 0.5) * 8190, 0, 8190), atol=1e-2)


TEXTS = {
    "WindowCenter": (b"40,0", "WindowCenter is '40,0', which is no number"),
    "RescaleSlope": (b"1,5 ", "RescaleSlope is '1,5', which is no number"),
    "RescaleIntercept": (b"nan ", "RescaleIntercept is 'nan', which is no number"),
    "WindowWidth": (b"abc ", "WindowWidth is 'abc', which is no number"),
    "PixelPaddingValue": (b"1_0 ", "PixelPaddingValue is '1_0', which is no number"),
    "Rows": (b"x", "Rows"),
}


@pytest.mark.parametrize(("keyword", "content", "message"), [(k, *v) for k, v in TEXTS.items() if k != "Rows"])
def test_text_for_a_number_is_named_with_its_attribute(tmp_path, keyword, content, message):
    elements = {"RescaleIntercept": "0", "RescaleSlope": "1", "WindowCenter": "40", "WindowWidth": "400"}
    with pytest.raises(UnreadableImageError, match=message):
        read(tmp_path, raw(a_dataset(RAMP, **elements), keyword, content))


def test_a_slope_of_several_values_is_named(tmp_path):
    with pytest.raises(UnreadableImageError, match="RescaleSlope has the values 1, 2; one was expected"):
        read(tmp_path, a_dataset(RAMP, RescaleSlope=["1", "2"], RescaleIntercept="0"))


@pytest.mark.parametrize("content", [b"Mustermann", b"Mustermann^Erika", b"4711-22", b"Erika "])
def test_what_names_the_patient_is_not_quoted(tmp_path, content):
    dataset = a_dataset(RAMP, PatientName="Mustermann^Erika", PatientID="4711-22")
    with pytest.raises(UnreadableImageError, match="WindowWidth is text of") as caught:
        read(tmp_path, raw(dataset, "WindowWidth", content.ljust(len(content) + len(content) % 2)))
    assert content.strip().decode() not in str(caught.value)


# --- look-up tables ---------------------------------------------------------------------------------------------------

INVERSE = 4095 - np.arange(4096)


@pytest.mark.parametrize("keyword", ["ModalityLUTSequence", "VOILUTSequence"])
def test_an_item_without_a_table_is_none(tmp_path, keyword):
    without_entries = item(LUTDescriptor=[4096, 0, 16])
    without_entries["LUTDescriptor"].VR = "US"
    empty = table(INVERSE)
    empty.LUTData = b""
    without_descriptor = Dataset()
    without_descriptor.add_new("LUTData", "OW", b"\1\2")
    for odd in (Dataset(), without_entries, without_descriptor, empty):
        assert np.array_equal(read(tmp_path, a_dataset(RAMP, **{keyword: [odd]}))[0], RAMP)
    second = read(tmp_path, a_dataset(RAMP, **{keyword: [Dataset(), table(INVERSE, bits=12)]}))[0]
    assert np.array_equal(second, INVERSE[RAMP])
    assert np.array_equal(read(tmp_path, a_dataset(RAMP, **{keyword: []}))[0], RAMP)


@pytest.mark.parametrize("keyword", ["ModalityLUTSequence", "VOILUTSequence"])
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, BIG])
@pytest.mark.parametrize("vr", ["OW", "US"])
def test_a_table_is_looked_up_in_every_byte_order(tmp_path, keyword, syntax, vr):
    order = "<" if syntax.is_little_endian else ">"
    stored = RAMP.astype(f"{order}u2")
    made = table(INVERSE, bits=12, kind=f"{order}u2")
    if vr == "US":
        made.add_new("LUTData", "US", INVERSE.tolist())
    dataset = a_dataset(stored, **{keyword: [made]})
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset["PixelData"].VR = "OW"
    assert np.array_equal(read(tmp_path, dataset)[0], INVERSE[RAMP])


TABLES = {
    "0 entries are 65536": (table(np.arange(65536)[::-1], n_entries=0), 65535 - RAMP),
    "first value": (table(np.arange(100), first=1000, bits=12), np.clip(RAMP.astype(int) - 1000, 0, 99)),
    "fewer entries than said": (table(np.arange(100), n_entries=4096, bits=12), np.clip(RAMP, 0, 99)),
    "more entries than said": (table(np.arange(4096), n_entries=100, bits=12), np.clip(RAMP, 0, 99)),
    "8 bits in bytes": (table(np.arange(256)[::-1], bits=8, kind="u1"), 255 - np.clip(RAMP, 0, 255)),
    "8 bits in words": (table(np.arange(256)[::-1], bits=8), 255 - np.clip(RAMP, 0, 255)),
    "8 bits, 4096 entries": (table(np.arange(4096) >> 4, bits=8, kind="u1"), RAMP >> 4),
    "16 bits": (table(np.arange(4096) * 16), RAMP * 16),
}


@pytest.mark.parametrize("keyword", ["ModalityLUTSequence", "VOILUTSequence"])
@pytest.mark.parametrize(("made", "expected"), TABLES.values(), ids=TABLES)
def test_tables_are_read_as_their_entries_lie(tmp_path, keyword, made, expected):
    assert np.array_equal(read(tmp_path, a_dataset(RAMP, **{keyword: [made]}))[0], expected)


@pytest.mark.parametrize("first", [-2048, 65536 - 2048])
def test_the_first_value_of_signed_pixels_has_a_sign(tmp_path, first):
    signed = RAMP.astype(np.int16) - 2048
    made = table(INVERSE, first=first, bits=12)
    for keyword in ("ModalityLUTSequence", "VOILUTSequence"):
        assert np.array_equal(read(tmp_path, a_dataset(signed, 16, **{keyword: [made]}))[0], INVERSE[RAMP])


def test_a_voi_table_goes_before_a_window_and_a_modality_table_before_a_slope(tmp_path):
    both = a_dataset(RAMP, VOILUTSequence=[table(INVERSE, bits=12)], WindowCenter="9", WindowWidth="5")
    assert np.array_equal(read(tmp_path, both)[0], INVERSE[RAMP])
    both = a_dataset(RAMP, ModalityLUTSequence=[table(INVERSE, bits=12)], RescaleSlope="5", RescaleIntercept="1")
    assert np.array_equal(read(tmp_path, both)[0], INVERSE[RAMP])


@pytest.mark.parametrize("bits", [0, 17, 200])
def test_entries_of_no_plausible_depth_are_named(tmp_path, bits):
    with pytest.raises(UnreadableImageError, match=f"LUTDescriptor says {bits} bits for each entry"):
        read(tmp_path, a_dataset(RAMP, VOILUTSequence=[table(INVERSE, bits=bits)]))


# --- palettes (C.7.6.3.1.5, C.7.9) ------------------------------------------------------------------------------------

RED, GREEN, BLUE = np.arange(256)[::-1] * 256, np.arange(256) * 256, np.arange(256) * 128


def palette(order="<", bits=16, kind="u2", first=0, stored=BYTES, **elements):
    parts = {}
    for name, entries in (("Red", RED), ("Green", GREEN), ("Blue", BLUE)):
        parts[f"{name}PaletteColorLookupTableDescriptor"] = [256, first, bits]
        scaled = entries if bits == 16 else entries >> 8
        parts[f"{name}PaletteColorLookupTableData"] = scaled.astype(f"{order}{kind}").tobytes()
    dataset = a_dataset(stored, 8, PhotometricInterpretation="PALETTE COLOR", **{**parts, **elements})
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian if order == "<" else BIG
    return dataset


COLOURS = np.stack([entries[BYTES] for entries in (RED, GREEN, BLUE)])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("bits", "kind"), [(16, "u2"), (8, "u2"), (8, "u1")])
def test_a_palette_has_its_colours_in_every_byte_order(tmp_path, order, bits, kind):
    dataset = palette(order, bits, kind)
    if order == ">" and kind == "u1":
        for name in ("Red", "Green", "Blue"):
            keyword = f"{name}PaletteColorLookupTableData"
            swapped = np.frombuffer(dataset[keyword].value, "<u2").byteswap().tobytes()
            dataset[keyword].value = swapped
    assert np.array_equal(read(tmp_path, dataset), COLOURS if bits == 16 else COLOURS >> 8)


def test_a_palette_begins_at_its_first_value_and_ends_at_its_last(tmp_path):
    pixels = read(tmp_path, palette(first=10))
    assert np.array_equal(pixels[1], GREEN[np.clip(BYTES.astype(int) - 10, 0, 255)])


def test_alpha_in_a_palette_is_laid_over_black(tmp_path):
    alpha = np.full(256, 65535 // 5, "<u2").tobytes()
    pixels = read(tmp_path, palette(AlphaPaletteColorLookupTableData=alpha))
    assert np.array_equal(pixels, np.rint(COLOURS * ((65535 // 5) / 65535)))


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_segmented_palette_is_expanded(tmp_path, order):
    # C.7.9.2: 2 entries as they are; a line of 126 more; both again (indirect: 2 segments from byte 0).
    codes = [0, 2, 0, 10, 1, 126, 1270, 2, 2, 0, 0]
    expected = np.tile(np.arange(128) * 10, 2)
    segmented = {
        f"Segmented{name}PaletteColorLookupTableData": np.array(codes, f"{order}u2").tobytes()
        for name in ("Red", "Green", "Blue")
    }
    dataset = without(
        palette(order, **segmented), *(f"{n}PaletteColorLookupTableData" for n in ("Red", "Green", "Blue"))
    )
    assert np.array_equal(read(tmp_path, dataset)[0], expected[BYTES])


def test_a_palette_that_is_missing_is_named(tmp_path):
    dataset = without(palette(), "GreenPaletteColorLookupTableData")
    with pytest.raises(
        UnreadableImageError, match=r"PALETTE COLOR, and .* GreenPaletteColorLookupTableData is missing"
    ):
        read(tmp_path, dataset)
    dataset = without(palette(), *(f"{n}PaletteColorLookupTableDescriptor" for n in ("Red", "Green", "Blue")))
    with pytest.raises(UnreadableImageError, match="RedPaletteColorLookupTableDescriptor"):
        read(tmp_path, dataset)


# --- pixels (C.7.6.3, PS3.5 8.1) --------------------------------------------------------------------------------------


def test_the_stored_bits_count_wherever_they_lie(tmp_path):
    assert np.array_equal(read(tmp_path, a_dataset((RAMP << 4).astype("<u2"), HighBit=15))[0], RAMP)
    dirty = ((RAMP << 2) | 0xC003).astype("<u2")
    assert np.array_equal(read(tmp_path, a_dataset(dirty, HighBit=13))[0], RAMP)
    assert np.array_equal(read(tmp_path, a_dataset(RAMP | 0xF000))[0], RAMP)
    signed = (RAMP.astype(np.int16) - 2048) << 4
    assert np.array_equal(read(tmp_path, a_dataset(signed, 12, HighBit=15))[0], RAMP.astype(int) - 2048)
    high = (RAMP.astype(np.int16) - 2048) & 0x0FFF
    assert np.array_equal(read(tmp_path, a_dataset(high.astype("<i2"), 12))[0], RAMP.astype(int) - 2048)


@pytest.mark.parametrize("high_bit", [0, 10, 16, 99])
def test_a_high_bit_that_cannot_be_is_the_usual_one(tmp_path, high_bit):
    assert np.array_equal(read(tmp_path, a_dataset(RAMP, HighBit=high_bit))[0], RAMP)


ABSENT = {
    "HighBit": RAMP, "BitsStored": RAMP, "PixelRepresentation": RAMP, "SamplesPerPixel": RAMP,
    "PhotometricInterpretation": RAMP, "BitsAllocated": RAMP,
}  # fmt: skip


@pytest.mark.parametrize(("keyword", "expected"), ABSENT.items())
def test_what_is_not_said_of_pixels_is_the_usual(tmp_path, keyword, expected):
    dataset = a_dataset(RAMP)
    dataset["PixelData"].VR = "OW"
    assert np.array_equal(read(tmp_path, without(dataset, keyword))[0], expected)


REFUSED = {
    "SamplesPerPixel": (2, "SamplesPerPixel is 2; 1 or 3 was expected"),
    "PixelRepresentation": (7, "PixelRepresentation is 7; 0 or 1"),
    "BitsAllocated": (12, "BitsAllocated is 12; 1, 8, 16, 32 or 64"),
    "PhotometricInterpretation": ("HSV", "PhotometricInterpretation is 'HSV'; one of MONOCHROME1"),
    "NumberOfFrames": ("-1", "NumberOfFrames is -1"),
}


@pytest.mark.parametrize(("keyword", "value", "message"), [(k, *v) for k, v in REFUSED.items()])
def test_what_leaves_no_reading_is_named_with_its_value(tmp_path, keyword, value, message):
    with pytest.raises(UnreadableImageError, match=message):
        read(tmp_path, a_dataset(RAMP, **{keyword: value}))


@pytest.mark.parametrize("frames", ["0", "", "1"])
def test_no_frames_are_one(tmp_path, frames):
    assert np.array_equal(read(tmp_path, a_dataset(RAMP, NumberOfFrames=frames))[0], RAMP)


def padded(value=0, **elements):
    stored = np.clip(RAMP, 1, 4094)
    stored[:, :20] = value
    return a_dataset(stored, PixelPaddingValue=value, **elements), stored


def test_padding_is_background_in_monochrome1(tmp_path):
    dataset, stored = padded(PhotometricInterpretation="MONOCHROME1")
    pixels = read(tmp_path, dataset)[0]
    assert (pixels[:, :20] == 0).all()
    assert np.array_equal(pixels[:, 20:], 4095 - stored[:, 20:])
    white, stored = padded(4095, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(read(tmp_path, white)[0], 4095 - stored)


def test_padding_is_background_in_monochrome2_and_behind_windows(tmp_path):
    dataset, stored = padded(4095)
    pixels = read(tmp_path, dataset)[0]
    assert (pixels[:, :20] == 0).all()
    assert np.array_equal(pixels[:, 20:], stored[:, 20:])
    dataset, _ = padded(PhotometricInterpretation="MONOCHROME1", WindowCenter="2000", WindowWidth="1000")
    assert read(tmp_path, dataset)[0, :, :20].max() == 0


@pytest.mark.parametrize("value", [9999, 65535])
def test_padding_that_no_pixel_can_have_is_none(tmp_path, value):
    pixels = read(tmp_path, a_dataset(RAMP, PixelPaddingValue=value))[0]
    assert np.array_equal(pixels, RAMP)


def test_padding_may_be_a_range(tmp_path):
    stored = RAMP.copy()
    stored[:, :20] = 5 + np.arange(20) % 3
    elements = {"PixelPaddingValue": 7, "PixelPaddingRangeLimit": 5, "PhotometricInterpretation": "MONOCHROME1"}
    pixels = read(tmp_path, a_dataset(stored, **elements))[0]
    assert (pixels[:, :20] == 0).all()
    assert pixels[1, 30] == 4095 - stored[1, 30]
    alone = read(tmp_path, a_dataset(stored, PixelPaddingRangeLimit=5, PhotometricInterpretation="MONOCHROME1"))[0]
    assert np.array_equal(alone, 4095 - stored)


def test_padding_below_what_a_scanner_measures_stays_where_it_is(tmp_path):
    stored = RAMP.astype(np.int16) - 1024
    stored[:, :20] = -2000
    dataset = a_dataset(stored, 16, PixelPaddingValue=-2000, RescaleSlope="1", RescaleIntercept="0")
    assert np.array_equal(read(tmp_path, dataset)[0], stored)


FLOATS = np.linspace(0, 1, 64 * 64).reshape(64, 64)


@pytest.mark.parametrize(
    ("keyword", "kind", "bits"), [("FloatPixelData", "<f4", 32), ("DoubleFloatPixelData", "<f8", 64)]
)
@pytest.mark.parametrize("window", [{}, {"WindowCenter": "0.5", "WindowWidth": "1.0"}], ids=["plain", "windowed"])
def test_decimal_pixels_stay_as_they_are(tmp_path, keyword, kind, bits, window):
    dataset = without(a_dataset(RAMP, BitsAllocated=bits, **window), "PixelData", "BitsStored", "HighBit",
                      "PixelRepresentation")  # fmt: skip
    setattr(dataset, keyword, FLOATS.astype(kind).tobytes())
    np.testing.assert_allclose(read(tmp_path, dataset)[0], FLOATS, atol=1e-7)
    dataset.PhotometricInterpretation = "MONOCHROME1"
    np.testing.assert_allclose(read(tmp_path, dataset)[0], 1 - FLOATS, atol=1e-7)
    dataset.PhotometricInterpretation, dataset.RescaleSlope = "MONOCHROME2", "100"
    np.testing.assert_allclose(read(tmp_path, dataset)[0], 100 * FLOATS, rtol=1e-6)


@pytest.mark.parametrize(("photometric", "expected"), [("MONOCHROME2", 0), ("MONOCHROME1", 1)])
def test_padding_of_decimal_pixels_is_their_lowest(tmp_path, photometric, expected):
    stored = FLOATS.astype("<f4")
    stored[0] = -1e30
    dataset = without(a_dataset(RAMP, BitsAllocated=32, PhotometricInterpretation=photometric), "PixelData")
    dataset.FloatPixelData, dataset.FloatPixelPaddingValue = stored.tobytes(), -1e30
    pixels = read(tmp_path, dataset)[0]
    assert (pixels[0] == pixels[1:].min()).all()
    span = stored[1:] - stored[1:].min()
    np.testing.assert_allclose(pixels[1:] - pixels[1:].min(), span.max() - span if expected else span, atol=1e-6)


COLOUR = colourful(40, 30)


def colour_dataset(plane, photometric="RGB", planar=0, **elements):
    stored = np.ascontiguousarray(plane[..., 0])
    dataset = a_dataset(stored, 8, SamplesPerPixel=3, PhotometricInterpretation=photometric, **elements)
    if planar is not None:
        dataset.PlanarConfiguration = planar
    dataset.PixelData = np.moveaxis(plane, -1, 0).tobytes() if planar == 1 else plane.tobytes()
    return dataset


@pytest.mark.parametrize("planar", [0, 1, None])
def test_colour_by_pixel_and_by_plane(tmp_path, planar):
    assert np.array_equal(read(tmp_path, colour_dataset(COLOUR, planar=planar)), np.moveaxis(COLOUR, -1, 0))


def to_ybr(rgb, partial=False):
    """PS3.3 C.7.6.3.1.2, written out."""
    red, green, blue = (rgb[..., k].astype(float) for k in range(3))
    if partial:
        y = 0.2568 * red + 0.5041 * green + 0.0979 * blue + 16
        cb = -0.1482 * red - 0.2910 * green + 0.4392 * blue + 128
        cr = 0.4392 * red - 0.3678 * green - 0.0714 * blue + 128
    else:
        y = 0.2990 * red + 0.5870 * green + 0.1140 * blue
        cb = -0.1687 * red - 0.3313 * green + 0.5 * blue + 128
        cr = 0.5 * red - 0.4187 * green - 0.0813 * blue + 128
    return np.clip(np.rint(np.stack([y, cb, cr], axis=-1)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420"])
def test_ybr_becomes_red_green_blue(tmp_path, photometric):
    ybr = to_ybr(COLOUR, partial="PARTIAL" in photometric)
    pixels = read(tmp_path, colour_dataset(ybr, photometric))
    assert np.abs(pixels.astype(int) - np.moveaxis(COLOUR, -1, 0)).max() <= 3
    if photometric.endswith("422"):
        dataset = colour_dataset(ybr, photometric)
        pairs = ybr.reshape(-1, 2, 3)
        dataset.PixelData = np.stack(
            [pairs[:, 0, 0], pairs[:, 1, 0], pairs[:, 0, 1], pairs[:, 0, 2]], axis=-1
        ).tobytes()
        halved = read(tmp_path, dataset)
        shared = ybr.copy()
        shared[:, 1::2, 1:] = shared[:, ::2, 1:]
        assert np.array_equal(halved, read(tmp_path, colour_dataset(shared, photometric)))


@pytest.mark.parametrize("kind", ["OB", "OW"])
def test_bytes_in_big_endian_words_are_swapped(tmp_path, kind):
    dataset = a_dataset(BYTES, 8)
    dataset.file_meta.TransferSyntaxUID = BIG
    dataset.PixelData = np.frombuffer(BYTES.tobytes(), "<u2").byteswap().tobytes() if kind == "OW" else BYTES.tobytes()
    dataset["PixelData"].VR = kind
    assert np.array_equal(read(tmp_path, dataset)[0], BYTES)


def test_single_bits_are_black_and_white(tmp_path):
    bits = (RAMP % 3 == 0).astype(np.uint8)
    dataset = a_dataset(bits, 1, BitsAllocated=1)
    dataset.PixelData = np.packbits(bits.ravel(), bitorder="little").tobytes()
    assert np.array_equal(read(tmp_path, dataset)[0], bits * 255)


NOT_USED = {
    "PixelAspectRatio": ["2", "1"], "PixelSpacing": ["0", "0"], "ImagerPixelSpacing": ["0.1", "0.2"],
    "SmallestImagePixelValue": 7, "LargestImagePixelValue": 9, "LossyImageCompression": "01",
    "BurnedInAnnotation": "YES", "PresentationLUTShape": "INVERSE", "RescaleType": "US",
    "PixelIntensityRelationship": "LOG", "PixelIntensityRelationshipSign": -1, "ICCProfile": b"\0\0",
    "PixelPresentation": "MIXED",
}  # fmt: skip


@pytest.mark.parametrize(("keyword", "value"), NOT_USED.items())
def test_what_the_table_says_is_not_used_changes_no_pixel(tmp_path, keyword, value):
    assert np.array_equal(read(tmp_path, a_dataset(RAMP, **{keyword: value}))[0], RAMP)
    assert np.array_equal(read(tmp_path, raw(a_dataset(RAMP), keyword, b"odd "))[0], RAMP)


# --- the form of the file ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.dcm.gz", "x.gz", "IM0001"])
def test_a_file_packed_by_gzip_is_read(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(saved(tmp_path, a_dataset(RAMP)).read_bytes()))
    assert np.array_equal(read_image(path).pixels[0], RAMP)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UnreadableImageError, match="gzip data are cut off"):
        read_image(path)


@pytest.mark.parametrize("name", ["bare.dcm", "bare.dcm.gz"])
def test_without_a_preamble(tmp_path, name):
    bare = saved(tmp_path, a_dataset(RAMP)).read_bytes()[132:]
    (tmp_path / name).write_bytes(gzip.compress(bare) if name.endswith("gz") else bare)
    assert np.array_equal(read_image(tmp_path / name).pixels[0], RAMP)


@pytest.mark.parametrize("content", [b"", None])
def test_empty_pixels_are_none(tmp_path, content):
    with pytest.raises(UnreadableImageError, match=r"is a DICOM file without pixels \(modality CR\)"):
        read(tmp_path, a_dataset(RAMP, PixelData=content, Modality="CR"))


@pytest.mark.parametrize("modality", ["MUSTERMANN", "CT\x10\0MUSTERMANN^ERIKA\x10\0PX4711", "CT^MUSTERMANN"])
def test_a_modality_that_names_the_patient_is_not_quoted(tmp_path, modality):
    dataset = a_dataset(RAMP, PixelData=b"", PatientName="Mustermann^Erika", Modality=modality)
    with pytest.raises(UnreadableImageError, match="is no DICOM file, or one without pixels") as caught:
        read(tmp_path, dataset)
    assert "MUSTER" not in str(caught.value).upper()


def test_damaged_files_are_refused_without_a_word_of_the_patient(tmp_path):
    """Bytes of the header are changed, taken out and put in; whatever is read or refused, no message quotes it."""
    known = {"PatientName": "Mustermann^Erika", "PatientID": "PX4711", "PatientBirthDate": "19610203", "Modality": "CT"}
    content = saved(
        tmp_path, a_dataset(RAMP, RescaleSlope="2", WindowCenter="9", WindowWidth="5", **known)
    ).read_bytes()
    rng, path, said = np.random.default_rng(0), tmp_path / "damaged.dcm", []
    for _ in range(300):
        damaged = bytearray(content)
        place = int(rng.integers(132, 700))
        damaged[place : place + int(rng.integers(3))] = rng.integers(0, 256, int(rng.integers(3)), np.uint8).tobytes()
        path.write_bytes(damaged)
        try:
            read_image(path)
        except UnreadableImageError as error:
            said.append(str(error).upper())
    assert len(said) > 20
    assert not [text for text in said if any(name in text for name in ("MUSTER", "ERIKA", "4711", "1961"))]


@pytest.mark.parametrize("cut", [2, 1000, 8000])
def test_a_file_that_is_cut_off_says_so(tmp_path, cut):
    path = saved(tmp_path, a_dataset(RAMP))
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(UnreadableImageError, match=f"PixelData has {8192 - cut} bytes, and frame 1 .* ends at 8192"):
        read_image(path)


def test_pixels_packed_otherwise_than_the_file_says(tmp_path):
    from pydicom.encaps import encapsulate

    dataset = a_dataset(RAMP, PixelData=encapsulate([b"\xff\xd8\xff\xd9"]))
    with pytest.raises(UnreadableImageError, match=r"TransferSyntaxUID is 1\.2\.840\.10008\.1\.2\.1 .*packed"):
        read(tmp_path, dataset)
    dataset = a_dataset(RAMP)
    dataset.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    content = io.BytesIO()
    a_dataset(RAMP).save_as(content, enforce_file_format=True)
    plain, packed = (f"{syntax}\0".encode() for syntax in (uid.ExplicitVRLittleEndian, "1.2.840.10008.1.2.5"))
    path = tmp_path / "named.dcm"
    path.write_bytes(content.getvalue().replace(plain, packed))
    assert np.array_equal(read_image(path).pixels[0], RAMP)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.100", "1.2.840.113619.5.2"])
def test_an_encoding_that_is_not_read_is_named(tmp_path, syntax):
    from pydicom.encaps import encapsulate

    path = saved(tmp_path, a_dataset(RAMP, PixelData=encapsulate([b"\0\0\1\xb3"])))
    content = path.read_bytes()
    old = f"{uid.ExplicitVRLittleEndian}\0".encode()
    grown = syntax.encode() + b"\0" * (len(syntax) % 2)
    head, _, rest = content.partition(old)
    head = head[:-2] + len(grown).to_bytes(2, "little")
    length = int.from_bytes(head[140:144], "little") + len(grown) - len(old)
    path.write_bytes(head[:140] + length.to_bytes(4, "little") + head[144:] + grown + rest)
    with pytest.raises(UnreadableImageError, match="TransferSyntaxUID"):
        read_image(path)


# --- an independent reader --------------------------------------------------------------------------------------------

SHIPPED = [path for path in (Path(pydicom.__file__).parent / "data/test_files").rglob("*.dcm") if path.is_file()]


def theirs(dataset, n_frames):
    """Return what pydicom decodes of all frames; None where it cannot as it is installed, or refuses."""
    try:
        return [pixel_array(dataset, index=index) for index in range(n_frames)]
    except Exception:
        return None


@pytest.mark.skipif(not SHIPPED, reason="this pydicom ships no test files")
def test_stored_and_shown_values_are_pydicoms_in_all_files_that_it_ships():
    n_compared = 0
    for path in sorted(SHIPPED):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                dataset = parse_dicom(path)
                layout = layout_of(dataset)
                ours = [stored_frame(dataset, layout, index) for index in range(min(layout.n_frames, 5))]
            except UnreadableImageError:
                continue
            known = theirs(dataset, len(ours)) if "TransferSyntaxUID" in dataset.file_meta else None
        for mine, other in zip(ours, known or [], strict=bool(known)):
            lossy = dataset.file_meta.TransferSyntaxUID.is_encapsulated and mine.ndim == 3
            assert np.abs(mine.astype(np.float64) - other).max() <= (1 if lossy else 0), path
            n_compared += 1
        is_plain = known is not None and layout.n_frames == 1 and layout.photometric == "MONOCHROME2"
        if is_plain and not layout.is_float:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                shown = apply_voi_lut(apply_modality_lut(known[0], dataset), dataset)
            high = 255 if layout.stored == 1 else 1
            np.testing.assert_allclose(read_image(path).pixels[0], shown * high, atol=0.51, err_msg=str(path))
    assert n_compared >= 60


@pytest.mark.parametrize("name", ["Rows", "Columns"])
def test_sides_that_are_not_said_are_named(tmp_path, name):
    dataset = a_dataset(RAMP)
    delattr(dataset, name)
    with pytest.raises(UnreadableImageError, match=f"{name} is missing or empty"):
        read(tmp_path, dataset)


def test_a_file_without_its_preamble_is_read(tmp_path):
    path = saved(tmp_path, a_dataset(RAMP))
    path.write_bytes(path.read_bytes()[128:])
    np.testing.assert_array_equal(read_image(path).pixels[0], RAMP)


def test_a_frame_without_a_table_before_it_is_read(tmp_path):
    """Some writers begin with the first frame, which then stands where the table of offsets should."""
    dataset = a_dataset(BYTES, bits=8)
    dataset.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    dataset.PixelData = encapsulate([imagecodecs.jpeg8_encode(BYTES, level=99)], has_bot=False)[8:]
    dataset["PixelData"].is_undefined_length = True
    pixels = read_image(saved(tmp_path, dataset)).pixels[0]
    assert np.abs(pixels.astype(int) - BYTES).max() < 4


def test_a_file_that_was_sent_as_text_is_refused(tmp_path):
    """Returns before line feeds shift the pixels, and nothing else tells."""
    path = saved(tmp_path, a_dataset(RAMP))
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    with pytest.raises(UnreadableImageError, match="was changed on its way, as text"):
        read_image(path)


@pytest.mark.parametrize("packed", ["", "table", "no table"], ids=["plain", "packed", "without a table"])
def test_several_frames_without_their_number_are_no_image(tmp_path, packed):
    dataset = a_dataset(BYTES, bits=8)
    dataset.PixelData *= 2
    if packed:
        dataset.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
        dataset.PixelData = encapsulate([imagecodecs.jpeg8_encode(BYTES)] * 2, has_bot=packed == "table")
        dataset["PixelData"].is_undefined_length = True
    with pytest.raises(UnreadableImageError, match="NumberOfFrames is missing, and its pixels are those of 2 frames"):
        read_image(saved(tmp_path, dataset))
    dataset.NumberOfFrames = 1
    assert read_image(saved(tmp_path, dataset)).pixels.shape == (1, 64, 64)


def test_fragments_with_offsets_of_their_own_are_one_frame(tmp_path):
    dataset, jpeg = a_dataset(BYTES, bits=8), imagecodecs.jpeg8_encode(BYTES)
    parts = [jpeg[:600], jpeg[600:] + b"\0" * (len(jpeg) % 2)]
    dataset.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    dataset.PixelData = encapsulate(parts)
    dataset["PixelData"].is_undefined_length = True
    assert layout_of(dataset).n_frames == 1


def test_a_frame_of_another_encoding_or_sign_is_told(tmp_path):
    for syntax, stream, message in (
        (uid.JPEG2000Lossless, imagecodecs.jpeg8_encode(BYTES), "another encoding than its TransferSyntaxUID"),
        (uid.JPEG2000Lossless, imagecodecs.jpeg2k_encode(RAMP.astype("<i2") - 99, level=0), "pixels are below 0"),
    ):
        dataset = a_dataset(RAMP, bits=16)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = encapsulate([stream])
        dataset["PixelData"].is_undefined_length = True
        with pytest.raises(UnreadableImageError, match=message):
            read_image(saved(tmp_path, dataset))


@pytest.mark.parametrize("keyword", ["Rows", "Columns", "PixelRepresentation", "HighBit"])
@pytest.mark.parametrize("vr", ["LO", "DS", "UN"])
def test_a_number_that_names_the_patient_is_not_quoted(tmp_path, keyword, vr):
    dataset = a_dataset(RAMP, PatientBirthDate="19500102", PatientID="471122")
    for content in (b"19500102", b"471122"):
        tag = Tag(keyword)
        dataset[tag] = RawDataElement(tag, vr, len(content), content, 0, False, True)
        with pytest.raises(UnreadableImageError) as caught:
            read_image(saved(tmp_path, dataset))
        assert content.decode() not in str(caught.value)
        assert keyword in str(caught.value)
