"""Proves that every codec gives the pixels that were stored, and that frames of several become images each."""

import base64
import warnings

import imagecodecs
import numpy as np
import pandas as pd
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import get_decoder
from pydicom.sequence import Sequence

from focusmap import convert
from focusmap.basics import InputError, UnreadableImageError
from focusmap.cli import main
from focusmap.images import dicom_codecs as codecs
from focusmap.images.read import read_image
from support.dicom_files import a_dataset, saved
from support.images import colourful, smooth

GREY = smooth(40, 30)
DEEP = GREY.astype(np.uint16) * 16 + 7
COLOUR = colourful(40, 30)


def lossless_jpeg(plane, bits):
    return imagecodecs.jpeg8_encode(plane, lossless=True, bitspersample=bits)


def jpeg_ls(plane, bits):
    return imagecodecs.jpegls_encode(plane)


def jpeg_2000(plane, bits):
    return imagecodecs.jpeg2k_encode(plane, reversible=True, codecformat="j2k", bitspersample=bits)


def htj2k(plane, bits):
    return imagecodecs.htj2k_encode(plane)


LOSSLESS = {
    "lossless JPEG": (uid.JPEGLosslessSV1, lossless_jpeg),
    "JPEG-LS": (uid.JPEGLSLossless, jpeg_ls),
    "JPEG 2000": (uid.JPEG2000Lossless, jpeg_2000),
    "HTJ2K": (uid.HTJ2KLossless, htj2k),
}
PLANES = {"8 bit": (GREY, 8), "12 bit": (DEEP, 12), "16 bit": (DEEP * 9, 16), "colour": (COLOUR, 8)}


def as_dataset(plane, bits, syntax, frames, **elements):
    """Return a data set of `plane` whose pixels are the encoded `frames`."""
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    elements = {**(colour if plane.ndim == 3 else {}), **elements}
    dataset = a_dataset(np.ascontiguousarray(plane[..., 0]) if plane.ndim == 3 else plane, bits, **elements)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2) for frame in frames])
    dataset["PixelData"].VR = "OB"
    return dataset


def rle(plane, bits, **elements):
    dataset = as_dataset(plane, bits, uid.ExplicitVRLittleEndian, [b"\0\0"], **elements)
    dataset.PixelData = plane.tobytes()
    dataset.compress(uid.RLELossless, encoding_plugin="pydicom")
    return dataset


def encoded(codec, plane, bits, **elements):
    if codec == "RLE":
        return rle(plane, bits, **elements)
    syntax, encode = LOSSLESS[codec]
    # No codec knows signs: PS3.5 8.2.1 has the bits of signed values stored as they are.
    return as_dataset(plane, bits, syntax, [encode(plane.view(f"u{plane.itemsize}"), bits)], **elements)


def read(tmp_path, dataset):
    return read_image(saved(tmp_path, dataset)).pixels


@pytest.mark.parametrize("codec", [*LOSSLESS, "RLE"])
@pytest.mark.parametrize(("plane", "bits"), PLANES.values(), ids=PLANES)
def test_lossless_codecs_give_what_was_stored(tmp_path, codec, plane, bits):
    pixels = read(tmp_path, encoded(codec, plane, bits))
    assert np.array_equal(pixels, plane.transpose(2, 0, 1) if plane.ndim == 3 else plane[np.newaxis])


@pytest.mark.parametrize("codec", ["lossless JPEG", "JPEG-LS", "JPEG 2000", "RLE"])
def test_signed_values_keep_their_sign_in_every_codec(tmp_path, codec):
    signed = DEEP.astype(np.int16) - 2048
    assert np.array_equal(read(tmp_path, encoded(codec, signed, 16))[0], signed)


def test_a_sign_within_the_stored_bits_of_jpeg_ls_is_one(tmp_path):
    """Twelve bits of two's complement, in a stream that says sixteen."""
    signed = np.arange(-2048, 2048, dtype="<i2").reshape(64, 64)
    dataset = a_dataset(signed, 12)
    dataset.file_meta.TransferSyntaxUID = uid.JPEGLSLossless
    dataset.PixelData = encapsulate([imagecodecs.jpegls_encode(signed.view("u2") & 0xFFF)])
    dataset["PixelData"].is_undefined_length = True
    assert np.array_equal(read_image(saved(tmp_path, dataset)).pixels[0], signed)


@pytest.mark.parametrize("codec", [*LOSSLESS, "RLE"])
def test_monochrome1_and_its_twin_agree_in_every_codec(tmp_path, codec):
    twin = encoded(codec, 4095 - DEEP, 12, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(read(tmp_path, twin), read(tmp_path, encoded(codec, DEEP, 12)))


def lossy(plane, bits, **elements):
    syntax = uid.JPEGBaseline8Bit if bits == 8 else uid.JPEGExtended12Bit
    options = {"outcolorspace": elements.pop("space")} if "space" in elements else {}
    frame = imagecodecs.jpeg8_encode(plane, level=95, bitspersample=bits, **options)
    return as_dataset(plane, bits, syntax, [frame], **elements)


def test_lossy_jpeg_is_near_what_was_stored(tmp_path):
    assert np.abs(read(tmp_path, lossy(GREY, 8))[0].astype(int) - GREY).max() <= 3
    assert np.abs(read(tmp_path, lossy(DEEP, 12))[0].astype(int) - DEEP).max() <= 48


@pytest.mark.parametrize(("space", "photometric"), [("YCBCR", "YBR_FULL_422"), ("YCBCR", "YBR_FULL"), ("RGB", "RGB")])
def test_colour_jpeg_is_red_green_blue_as_by_pydicom_itself(tmp_path, space, photometric):
    dataset = lossy(COLOUR, 8, space=space, PhotometricInterpretation=photometric)
    pixels = read(tmp_path, dataset)
    theirs = get_decoder(uid.JPEGBaseline8Bit).as_array(dataset, decoding_plugin="pillow")[0]
    assert np.abs(pixels.astype(int) - theirs.transpose(2, 0, 1)).max() <= 1
    assert np.abs(pixels.astype(int) - COLOUR.transpose(2, 0, 1)).mean() < 5


def test_jpeg_ls_that_stores_one_plane_after_the_other(tmp_path):
    plane = np.moveaxis(np.arange(60, dtype=np.uint8).reshape(3, 4, 5), 0, -1)
    # Encoded by CharLS in interleave mode 0, which imagecodecs cannot write.
    stream = base64.b64decode(
        "/9j/9wARBgAEAAUDAREAAhEAAxEA/9oACAEBAAAAAL/BKoF4nv/aAAgBAgAAAAAAAA/8Eqieb//aAAgBAwAAAAAAAAbf8Eqiebz/2Q=="
    )
    # The stream counts from 6 bits on, as few as its values need.
    pixels = read(tmp_path, as_dataset(plane, 8, uid.JPEGLSLossless, [stream]))
    assert np.array_equal(pixels, np.moveaxis(plane, -1, 0))


def test_a_palette_is_looked_up(tmp_path):
    red, green, blue = (np.roll(np.arange(256, dtype=np.uint16) * 257, k) for k in (0, 80, 160))
    lut = {f"{c}PaletteColorLookupTableData": v.tobytes() for c, v in (("Red", red), ("Green", green), ("Blue", blue))}
    ends = {f"{c}PaletteColorLookupTableDescriptor": [256, 0, 16] for c in ("Red", "Green", "Blue")}
    pixels = read(tmp_path, a_dataset(GREY, 8, PhotometricInterpretation="PALETTE COLOR", **lut, **ends))
    assert np.array_equal(pixels, np.stack([red, green, blue])[:, GREY])


@pytest.mark.parametrize("codec", LOSSLESS)
def test_a_frame_of_another_size_is_refused_before_it_is_decoded(tmp_path, codec, monkeypatch):
    dataset = encoded(codec, DEEP, 12)
    dataset.Rows = 39
    monkeypatch.setattr(codecs.jpeg, "decode_whole", None)
    for name in ("jpeg8_decode", "jpegls_decode", "jpeg2k_decode"):
        monkeypatch.setattr(codecs.imagecodecs, name, None)
    with pytest.raises(UnreadableImageError, match="says 39 x 30 pixels and holds a frame of 40 x 30"):
        read(tmp_path, dataset)


@pytest.mark.parametrize("codec", [*LOSSLESS, "RLE"])
def test_a_frame_that_is_cut_off_is_refused_or_whole(tmp_path, codec):
    dataset = encoded(codec, COLOUR, 8)
    frame = dataset.PixelData[16:]
    dataset.PixelData = encapsulate([frame[: len(frame) // 2 & ~1]])
    with pytest.raises(UnreadableImageError, match=r"image\.dcm: "):
        read(tmp_path, dataset)


JPEGS = {
    "baseline grey": (GREY, 8, uid.JPEGBaseline8Bit, {}),
    "baseline colour": (COLOUR, 8, uid.JPEGBaseline8Bit, {}),
    "12 bit": (DEEP, 12, uid.JPEGExtended12Bit, {}),
    "lossless 8 bit": (GREY, 8, uid.JPEGLosslessSV1, {"lossless": True}),
    "lossless 12 bit": (DEEP, 12, uid.JPEGLosslessSV1, {"lossless": True}),
    "lossless 16 bit": (DEEP * 9, 16, uid.JPEGLosslessSV1, {"lossless": True}),
    "lossless colour": (COLOUR, 8, uid.JPEGLosslessSV1, {"lossless": True}),
}


def noisy(plane):
    rng = np.random.default_rng(0)
    return np.clip(plane + rng.integers(-3, 4, plane.shape), 0, plane.max()).astype(plane.dtype)


def jpeg_frame(plane, bits, options):
    level = {} if options else {"level": 90}
    return imagecodecs.jpeg8_encode(plane, bitspersample=bits, **level, **options)


@pytest.mark.parametrize("end", [b"", b"\xff\xd9"], ids=["no end", "an end"])
@pytest.mark.parametrize("kept", [0.5, 0.7, 0.8, 0.9, 0.95, 0.97])
@pytest.mark.parametrize(("plane", "bits", "syntax", "options"), JPEGS.values(), ids=JPEGS)
def test_a_cut_jpeg_is_refused_whether_its_end_was_mended_or_not(tmp_path, plane, bits, syntax, options, kept, end):
    """libjpeg fills up what is missing and only warns; of 12 bits, a cut within the last block alone is not seen."""
    plane = noisy(np.tile(plane, (3, 3)) if plane.ndim == 2 else plane)
    frame = jpeg_frame(plane, bits, options)
    whole = read(tmp_path, as_dataset(plane, bits, syntax, [frame]))
    assert np.abs(whole.astype(int) - np.moveaxis(np.atleast_3d(plane), -1, 0)).mean() < 4 * 2 ** (bits - 8)
    with pytest.raises(UnreadableImageError, match="cannot be decoded: its"):
        read(tmp_path, as_dataset(plane, bits, syntax, [frame[: int(kept * len(frame))] + end]))


@pytest.mark.parametrize(("plane", "bits", "syntax", "options"), JPEGS.values(), ids=JPEGS)
@pytest.mark.parametrize("last", [b"", b"\0\0\0\0", b"\xff\xff"])
def test_black_margins_and_padding_do_not_look_cut(tmp_path, plane, bits, syntax, options, last):
    margins = plane.copy()
    margins[-9:] = margins[:, -9:] = 0
    for whole in (margins, np.full_like(plane, plane.max()), np.zeros_like(plane)):
        frame = jpeg_frame(whole, bits, options) + last
        assert read(tmp_path, as_dataset(whole, bits, syntax, [frame])).shape[1:] == (40, 30)


@pytest.mark.parametrize("options", [{}, {"lossless": True}], ids=["baseline", "lossless"])
def test_bytes_between_markers_are_passed_over(tmp_path, options):
    syntax = uid.JPEGLosslessSV1 if options else uid.JPEGBaseline8Bit
    frame = jpeg_frame(noisy(GREY), 8, options)
    whole = read(tmp_path, as_dataset(GREY, 8, syntax, [frame]))
    table, end = frame.index(b"\xff\xc4"), len(frame) - 2
    for place in (table, end):
        odd = frame[:place] + b"\1\2\3\4" + frame[place:]
        assert np.array_equal(read(tmp_path, as_dataset(GREY, 8, syntax, [odd])), whole)
    both = frame[:table] + b"\0\0" + frame[table:-40] + b"\xff\xd9"
    with pytest.raises(UnreadableImageError, match="end too early"):
        read(tmp_path, as_dataset(GREY, 8, syntax, [both]))


@pytest.mark.parametrize("codec", ["JPEG 2000", "HTJ2K", "JPEG-LS", "RLE"])
@pytest.mark.parametrize("kept", [0.5, 0.9, 0.97])
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"], ids=["no end", "an end"])
def test_other_cut_streams_are_refused(tmp_path, codec, kept, end):
    dataset = encoded(codec, noisy(DEEP), 12)
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    dataset.PixelData = encapsulate(
        [(frame[: int(kept * len(frame))] + end).ljust(len(frame) + 2, b"\0")[: len(frame)]]
    )
    with pytest.raises(UnreadableImageError, match=r"cannot be decoded|holds a frame of"):
        read(tmp_path, dataset)


@pytest.mark.parametrize("table", ["none", "wrong", "right"])
def test_frames_are_found_by_their_offsets_or_without(tmp_path, table):
    planes = [noisy(GREY), 255 - noisy(GREY), noisy(GREY) // 2]
    frames = [imagecodecs.jpegls_encode(plane) for plane in planes]
    dataset = as_dataset(GREY, 8, uid.JPEGLSLossless, frames, NumberOfFrames=3)
    padded = [frame + b"\0" * (len(frame) % 2) for frame in frames]
    content = bytearray(encapsulate(padded, has_bot=table != "none"))
    if table == "wrong":
        content[12:20] = b"\7\7\0\0\3\3\3\3"
    dataset.PixelData = bytes(content)
    path = saved(tmp_path, dataset)
    from focusmap.images.dicom import read_frames

    assert all(np.array_equal(f.image.pixels[0], p) for f, p in zip(read_frames(path), planes, strict=True))


def test_a_high_bit_shifts_what_the_stream_holds_in_its_upper_bits(tmp_path):
    shifted = (DEEP << 4).astype(np.uint16)
    dataset = as_dataset(shifted, 12, uid.JPEGLosslessSV1, [lossless_jpeg(shifted, 16)], HighBit=15)
    assert np.array_equal(read(tmp_path, dataset)[0], DEEP)
    plain = as_dataset(DEEP, 12, uid.JPEGLosslessSV1, [lossless_jpeg(DEEP, 12)], HighBit=15)
    assert np.array_equal(read(tmp_path, plain)[0], DEEP)


def test_a_frame_that_says_nothing_is_refused(tmp_path):
    for syntax, _ in LOSSLESS.values():
        with pytest.raises(UnreadableImageError, match="holds a frame in another encoding"):
            read(tmp_path, as_dataset(GREY, 8, syntax, [b"\xff\xd8\xff\xff" + bytes(60)]))


def three_frames(**elements):
    dataset = a_dataset(DEEP, NumberOfFrames=3, PatientID="p7", SeriesInstanceUID="1.2.9", **elements)
    dataset.PixelData = b"".join((DEEP + k).tobytes() for k in range(3))
    return dataset


def test_each_frame_becomes_an_image(tmp_path):
    (tmp_path / "study/a").mkdir(parents=True)
    saved(tmp_path / "study/a", three_frames(), "many.dcm")
    saved(tmp_path / "study", a_dataset(PatientID="p8"), "IM0001")
    (tmp_path / "study/notes.txt").write_text("no image")
    table = pd.read_csv(convert(tmp_path / "study", tmp_path / "out").labels, dtype=str)
    assert list(table["path"]) == [*(f"images/a/many_000{k}.png" for k in (1, 2, 3)), "images/IM0001.png"]
    assert list(table["patient_id"]) == ["p7", "p7", "p7", "p8"]
    assert list(table["frame"]) == ["1", "2", "3", "1"]
    for k in range(3):
        assert np.array_equal(read_image(tmp_path / f"out/images/a/many_000{k + 1}.png").pixels[0], DEEP + k)


def test_frames_are_shown_as_their_functional_groups_say(tmp_path):
    """PS3.3 C.7.6.16: the rescale is shared, each frame has its own window."""

    def group(**macros):
        made = Dataset()
        for name, values in macros.items():
            inner = Dataset()
            inner.update(values)
            setattr(made, name, Sequence([inner]))
        return made

    def elements(**values):
        made = Dataset()
        for name, value in values.items():
            setattr(made, name, value)
        return made

    shared = group(PixelValueTransformationSequence=elements(RescaleSlope=2, RescaleIntercept=-100))
    windows = [elements(WindowCenter=900 + 100 * k, WindowWidth=800) for k in range(3)]
    groups = Sequence([group(FrameVOILUTSequence=window) for window in windows])
    path = saved(
        tmp_path,
        three_frames(SharedFunctionalGroupsSequence=Sequence([shared]), PerFrameFunctionalGroupsSequence=groups),
    )
    from focusmap.images.dicom import read_frames

    for k, frame in enumerate(read_frames(path)):
        plain = a_dataset(DEEP + k, RescaleSlope=2, RescaleIntercept=-100, WindowCenter=900 + 100 * k, WindowWidth=800)
        assert np.array_equal(frame.image.pixels, read(tmp_path, plain))


def test_what_cannot_be_decoded_is_listed(tmp_path, capsys):
    study = tmp_path / "study"
    study.mkdir()
    saved(study, a_dataset(), "good.dcm")
    lacking = a_dataset(Modality="SR")
    del lacking.PixelData
    saved(study, lacking, "report.dcm")
    saved(study, a_dataset(Rows=200), "short.dcm")
    assert main(["convert", str(study), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "report.dcm: is a DICOM file without pixels" in said
    assert "short.dcm: cannot be decoded" in said
    assert list(pd.read_csv(tmp_path / "out/failures.csv")["path"]) == ["report.dcm", "short.dcm"]
    assert len(pd.read_csv(tmp_path / "out/labels.csv")) == 1


def test_two_files_of_one_name_are_not_mixed_up(tmp_path):
    (tmp_path / "study").mkdir()
    for name in ("a.dcm", "a.ima"):
        saved(tmp_path / "study", a_dataset(), name)
    with pytest.raises(InputError, match=r"two images are called images/a\.png"):
        convert(tmp_path / "study", tmp_path / "out")


def test_every_file_of_pydicom_becomes_images_or_a_listed_failure(tmp_path):
    from test_dicom import SHIPPED

    from focusmap.convert import PackedFailure, unpack_dicom
    from focusmap.convert.dicom import is_dicom

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcomes = {path: list(unpack_dicom(path)) for path in SHIPPED if is_dicom(path)}
    assert all(outcomes.values())
    failures = [one for found in outcomes.values() for one in found if isinstance(one, PackedFailure)]
    assert all(len(one.reason) > 15 for one in failures)
    undecoded = [one.name for one in failures if "without pixels" not in one.reason]
    assert len(undecoded) <= 6, undecoded
