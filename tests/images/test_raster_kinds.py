"""PNG, TIFF and JPEG of every depth, sign, meaning of channels and way of holding several: values, or a reason."""

import gzip
import io
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import PIL
import pytest
import tifffile
from PIL import Image as Pillow

from focusmap.basics import UnreadableImageError
from focusmap.images.read import read_image, read_mask
from support.bombs import chunk
from support.images import colourful, encode, smooth

RAMP = np.arange(64 * 64, dtype="<u2").reshape(64, 64)
GREY, COLOUR = smooth(60, 84), colourful(60, 84)
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def stored(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


def png(plane, depth, colour_type, *chunks):
    """Return a PNG of lines as they are (third edition, sections 7 and 11)."""
    rows, columns = plane.shape[:2]
    if depth < 8:
        bits = np.unpackbits(plane[..., np.newaxis], axis=-1)[..., 8 - depth :].reshape(rows, -1)
        lines = np.packbits(bits, axis=-1)
    else:
        lines = plane.astype(f">u{depth // 8}").reshape(rows, -1)
    data = zlib.compress(b"".join(b"\0" + line.tobytes() for line in lines))
    header = struct.pack(">IIBBBBB", columns, rows, depth, colour_type, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def read_png(tmp_path, *parts):
    return read_image(stored(tmp_path, png(*parts), "x.png")).pixels


def test_16_bit_grey_with_alpha_keeps_its_depth(tmp_path):
    opaque = np.stack([RAMP, np.full_like(RAMP, 65535)], axis=-1)
    pixels = read_png(tmp_path, opaque, 16, 4)
    assert pixels.dtype == np.uint16
    assert np.array_equal(pixels[0], RAMP)
    half = np.stack([RAMP, np.full_like(RAMP, 13107)], axis=-1)  # a fifth of 65535
    assert np.array_equal(read_png(tmp_path, half, 16, 4)[0], np.rint(RAMP / 5))


@pytest.mark.parametrize("n_colours", [1, 3])
def test_16_bit_with_exif_or_a_clear_colour_keeps_its_depth(tmp_path, n_colours):
    plane = RAMP if n_colours == 1 else np.stack([RAMP, RAMP // 2, RAMP // 3], axis=-1)
    expected = plane[np.newaxis] if n_colours == 1 else np.moveaxis(plane, -1, 0)
    exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    pixels = read_png(tmp_path, plane, 16, n_colours - 1, chunk(b"eXIf", exif))
    assert np.array_equal(pixels, np.rot90(expected, -1, axes=(1, 2)))
    key = plane[20, 30]
    pixels = read_png(tmp_path, plane, 16, n_colours - 1, chunk(b"tRNS", np.asarray(key, ">u2").tobytes()))
    assert not pixels[:, 20, 30].any()
    assert np.array_equal(pixels[:, 21:], expected[:, 21:])


@pytest.mark.parametrize("colour_type", [0, 2, 4, 6])
def test_16_bit_interlaced_keeps_its_depth(tmp_path, colour_type):
    n_samples = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    plane = np.stack([RAMP + k for k in range(n_samples)], axis=-1)
    if n_samples in (2, 4):
        plane[..., -1] = 65535
    passes = [(0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1)]
    lines = [b"\0" + line.astype(">u2").tobytes() for r, dr, c, dc in passes for line in plane[r::dr, c::dc]]
    header = struct.pack(">IIBBBBB", 64, 64, 16, colour_type, 0, 0, 1)
    content = SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(lines))) + chunk(b"IEND", b"")
    pixels = read_image(stored(tmp_path, content, "x.png")).pixels
    assert np.array_equal(pixels, np.moveaxis(plane[..., : 1 if n_samples < 3 else 3], -1, 0))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_grey_of_few_bits_fills_8(tmp_path, depth):
    plane = (RAMP % 2**depth).astype(np.uint8)
    assert np.array_equal(read_png(tmp_path, plane, depth, 0)[0], plane * (255 // (2**depth - 1)))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palettes_with_clear_entries_lie_over_black(tmp_path, depth):
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (2**depth, 3)).astype(np.uint8)
    alpha = rng.integers(0, 256, 2**depth).astype(np.uint8)
    plane = (RAMP % 2**depth).astype(np.uint8)
    pixels = read_png(tmp_path, plane, depth, 3, chunk(b"PLTE", colours.tobytes()), chunk(b"tRNS", alpha.tobytes()))
    assert np.array_equal(pixels, np.moveaxis(np.rint(colours * (alpha / 255)[:, np.newaxis])[plane], -1, 0))


def test_animations_are_refused_with_their_number(tmp_path):
    control = chunk(b"acTL", struct.pack(">II", 3, 0))
    with pytest.raises(UnreadableImageError, match="holds 3 images; one was expected"):
        read_png(tmp_path, GREY, 8, 0, control)
    assert np.array_equal(read_png(tmp_path, GREY, 8, 0, chunk(b"acTL", struct.pack(">II", 1, 0)))[0], GREY)
    frames = [Pillow.fromarray(np.roll(GREY, k, axis=0)) for k in range(4)]
    for kind in ("GIF", "WEBP", "TIFF"):
        content = encode(frames[0], kind, save_all=True, append_images=frames[1:])
        with pytest.raises(UnreadableImageError, match="holds 4 images; one was expected"):
            read_image(stored(tmp_path, content, "x"))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF", "WEBP", "JPEG"])
def test_a_file_packed_by_gzip_is_read(tmp_path, kind):
    content = encode(GREY, kind, **({"lossless": True} if kind == "WEBP" else {}))
    plain = read_image(stored(tmp_path, content, "x")).pixels
    packed = stored(tmp_path, gzip.compress(content), "x.gz")
    assert np.array_equal(read_image(packed).pixels, plain)
    packed.write_bytes(packed.read_bytes()[:-12])
    with pytest.raises(UnreadableImageError, match="gzip data are cut off"):
        read_image(packed)


# --- TIFF -------------------------------------------------------------------------------------------------------------


def tiff(tmp_path, plane, **options):
    tifffile.imwrite(tmp_path / "x.tif", plane, **options)
    return read_image(tmp_path / "x.tif").pixels


SMALL = RAMP % 100
DEPTHS = {
    "i1": ((RAMP % 256 - 128.0).astype("i1"), np.int16), "u1": (SMALL.astype("u1"), np.uint8),
    "i2": ((RAMP - 2000.0).astype("i2"), np.int16), "u2": (RAMP * 16, np.uint16),
    "i4": ((RAMP - 2000.0).astype("i4") * 1000, np.float32), "u4": (RAMP.astype("u4") * 1_000_000, np.float32),
    "i8": ((RAMP - 2000.0).astype("i8"), np.float32), "u8": (RAMP.astype("u8"), np.float32),
    "f2": ((RAMP / 4096).astype("f2"), np.float32), "f4": ((RAMP / 4096).astype("f4"), np.float32),
    "f8": (RAMP / 4096.0, np.float32),
}  # fmt: skip


@pytest.mark.parametrize("options", [
    {}, {"tile": (32, 32)}, {"compression": "deflate"}, {"compression": "lzw", "predictor": True}, {"bigtiff": True},
    {"byteorder": ">"}, {"rowsperstrip": 5}, {"byteorder": ">", "compression": "lzw"},
    {"byteorder": ">", "compression": "deflate", "tile": (32, 32)}, {"byteorder": ">", "bigtiff": True},
], ids=str)  # fmt: skip
@pytest.mark.parametrize(("plane", "kind"), DEPTHS.values(), ids=DEPTHS)
def test_every_depth_and_sign_keeps_its_values(tmp_path, plane, kind, options):
    if "predictor" in options and plane.dtype.itemsize == 8:
        options = {"compression": "lzw"}
    pixels = tiff(tmp_path, plane, photometric="minisblack", **options)
    assert pixels.dtype == kind
    assert np.array_equal(pixels[0], plane.astype(np.float64).astype(kind))


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "f2", "f4", "f8"])
def test_colour_of_every_depth_keeps_its_values(tmp_path, kind, planar):
    plane = np.stack([SMALL, SMALL[::-1], SMALL.T], axis=-1).astype(kind)
    written = np.moveaxis(plane, -1, 0) if planar == "separate" else plane
    pixels = tiff(tmp_path, np.ascontiguousarray(written), photometric="rgb", planarconfig=planar)
    assert np.array_equal(pixels, np.moveaxis(plane, -1, 0))


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("n_colours", [1, 3])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_extra_samples_are_what_they_say(tmp_path, kind, n_colours, planar):
    top = np.iinfo(kind).max
    plane = np.full((8, 8, n_colours + 1), top // 5 * 2, kind)
    plane[0, 0, 0], plane[..., -1] = 1, top // 5
    expected = {"assocalpha": plane, "unspecified": plane, "unassalpha": np.rint(plane * ((top // 5) / top))}
    photometric = "rgb" if n_colours == 3 else "minisblack"
    for meaning, seen in expected.items():
        written = np.ascontiguousarray(np.moveaxis(plane, -1, 0)) if planar == "separate" else plane
        pixels = tiff(tmp_path, written, photometric=photometric, planarconfig=planar, extrasamples=[meaning])
        assert np.array_equal(pixels, np.moveaxis(seen[..., :n_colours], -1, 0)), meaning


@pytest.mark.parametrize(
    ("kind", "top"),
    [("u1", 255), ("u2", 65535), ("u4", 65535), ("i1", 127), ("i2", 32767), ("i4", 65535), ("f4", 1), ("f8", 1)],
)
def test_white_is_zero_is_turned_round(tmp_path, kind, top):
    """As libvips does: from the greatest value down, so that a mask's white stays above 0."""
    plane = np.minimum(SMALL, 127).astype(kind)
    assert np.array_equal(tiff(tmp_path, plane, photometric="miniswhite")[0], top - plane.astype(np.float32))


def test_white_is_zero_holds_values_below_zero_and_above_16_bits(tmp_path):
    below = np.array([[-5, 7], [-32768, 32767]], "i2")
    assert np.array_equal(tiff(tmp_path, below, photometric="miniswhite")[0], 32767 - below.astype(np.float32))
    above = np.array([[2**31, 7], [5 * 2**20, 0]], "u4")
    assert np.array_equal(tiff(tmp_path, above, photometric="miniswhite")[0], (2.0**32 - 1 - above).astype(np.float32))


@pytest.mark.parametrize(
    ("plane", "options", "message"),
    [
        (np.stack([SMALL.astype("u1")] * 5, -1), {"photometric": "minisblack"}, "holds 5 channels of uint8"),
        (np.stack([RAMP] * 7, -1), {"photometric": "minisblack"}, "holds 7 channels of uint16"),
        (np.stack([RAMP] * 4, -1), {"photometric": "separated"}, "holds 4 channels of uint16 as CMYK"),
        ((RAMP / 9).astype("c8"), {"photometric": "minisblack"}, "holds 1 channels of sample format 6, 64"),
    ],
)  # fmt: skip
def test_what_is_neither_grey_nor_colour_is_named_by_depth_and_channels(tmp_path, plane, options, message):
    if plane.ndim == 3:
        options = {**options, "planarconfig": "contig"}
    with pytest.raises(UnreadableImageError, match=message):
        tiff(tmp_path, plane, **options)


def stk(tmp_path):
    """A MetaMorph stack: one directory, whose private tag counts the planes."""
    planes = np.stack([GREY, 255 - GREY, GREY // 2])
    tifffile.imwrite(tmp_path / "x.stk", planes[0], metadata=None,
                     extratags=[(33629, "2I", 3, [0] * 6, False)])  # fmt: skip
    content = bytearray((tmp_path / "x.stk").read_bytes())
    return stored(tmp_path, bytes(content) + planes[1:].tobytes(), "x.stk")


def imagej(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", np.stack([GREY, 255 - GREY, GREY]), imagej=True, truncate=True)
    return tmp_path / "x.tif"


def shaped(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", np.stack([GREY, 255 - GREY, GREY]), truncate=True, photometric="minisblack")
    return tmp_path / "x.tif"


def pages(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", np.stack([GREY, 255 - GREY, GREY]), photometric="minisblack", metadata=None)
    return tmp_path / "x.tif"


def volume(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", np.stack([GREY[:48, :64]] * 3), photometric="minisblack", volumetric=True,
                     tile=(1, 16, 16), metadata=None)  # fmt: skip
    return tmp_path / "x.tif"


@pytest.mark.parametrize("make", [stk, imagej, shaped, pages])
def test_several_planes_are_refused_with_their_number(tmp_path, make):
    with pytest.raises(UnreadableImageError, match="holds 3 images; one was expected"):
        read_image(make(tmp_path))


@pytest.mark.parametrize("options", [{"imagej": True}, {"metadata": {"axes": "YX"}}, {"ome": True}, {}])
def test_one_plane_with_the_marks_of_a_stack_is_read(tmp_path, options):
    assert np.array_equal(tiff(tmp_path, GREY, photometric="minisblack", **options)[0], GREY)


def test_a_reduced_copy_is_no_second_image(tmp_path):
    with tifffile.TiffWriter(tmp_path / "x.tif") as writer:
        writer.write(GREY, metadata=None)
        writer.write(GREY[::4, ::4], subfiletype=1, metadata=None)
    assert np.array_equal(read_image(tmp_path / "x.tif").pixels[0], GREY)


@pytest.mark.parametrize("plane", [RAMP / 4096.0, np.stack([RAMP] * 3, -1).astype("f4"), (RAMP % 9).astype("i1")])
@pytest.mark.parametrize("options", [{}, {"tile": (32, 32)}, {"compression": "deflate"}])
def test_a_cut_tiff_is_refused(tmp_path, plane, options):
    tiff(tmp_path, plane, **options)
    content = (tmp_path / "x.tif").read_bytes()
    with pytest.raises(UnreadableImageError, match=r"x\.tif: "):
        read_image(stored(tmp_path, content[:-200], "x.tif"))


def test_nan_in_a_tiff_is_background_and_said(tmp_path):
    plane = (RAMP / 4096).astype("f4")
    plane[:3] = np.nan
    tifffile.imwrite(tmp_path / "x.tif", plane)
    image = read_image(tmp_path / "x.tif")
    assert not image.pixels[0, :3].any()
    assert image.notes == ("192 of 4096 pixels are NaN and taken as background (0)",)


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "f4", "f8"])
def test_masks_of_every_depth(tmp_path, kind):
    truth = GREY > 100
    tifffile.imwrite(tmp_path / "x.tif", truth.astype(kind))
    assert np.array_equal(read_mask(tmp_path / "x.tif"), truth)


# --- JPEG -------------------------------------------------------------------------------------------------------------

JPEG = encode(COLOUR, "JPEG", quality=95)
WHOLE = np.array(Pillow.open(io.BytesIO(JPEG))).transpose(2, 0, 1).astype(int)


def read_jpeg(tmp_path, content):
    return read_image(stored(tmp_path, content, "x.jpg")).pixels.astype(int)


@pytest.mark.parametrize("marker", [b"\xff\xdb", b"\xff\xc0", b"\xff\xc4", b"\xff\xda", b"\xff\xd9"])
@pytest.mark.parametrize("noise", [b"\0\0\0\0", b"\1", b"text between", b"\xff\xff\xff"])
def test_bytes_between_markers_are_passed_over(tmp_path, marker, noise):
    place = JPEG.rindex(marker)
    assert np.abs(read_jpeg(tmp_path, JPEG[:place] + noise + JPEG[place:]) - WHOLE).max() <= 1


def test_odd_revisions_and_markers_are_passed_over(tmp_path):
    odd = JPEG.replace(b"JFIF\0\1\1", b"JFIF\0\7\7")
    assert np.abs(read_jpeg(tmp_path, odd) - WHOLE).max() <= 1
    icc = b"\xff\xe2\0\x10ICC_PROFILE\0\7\2"
    assert np.abs(read_jpeg(tmp_path, JPEG[:2] + icc + JPEG[2:]) - WHOLE).max() <= 1
    assert np.abs(read_jpeg(tmp_path, JPEG + b"\0" * 100 + b"trailer") - WHOLE).max() <= 1
    exif = b"\xff\xe1\0\x10Exif\0\0brokenxx"
    assert np.abs(read_jpeg(tmp_path, JPEG[:2] + exif + JPEG[2:]) - WHOLE).max() <= 1


@pytest.mark.parametrize("kept", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"], ids=["no end", "an end"])
@pytest.mark.parametrize("noise", [b"", b"\0\0\0\0"], ids=["clean", "noise"])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "progressive"])
def test_what_ends_too_early_is_refused(tmp_path, kept, end, noise, mode):
    image = Pillow.fromarray(COLOUR).convert("RGB" if mode == "progressive" else mode)
    content = encode(image, "JPEG", quality=95, progressive=mode == "progressive")
    place = content.index(b"\xff\xdb")
    content = content[:place] + noise + content[place:]
    read_jpeg(tmp_path, content)
    reason = "are damaged|end too early" if mode == "progressive" else "end too early"
    with pytest.raises(UnreadableImageError, match=f"cannot be decoded: its JPEG data ({reason})"):
        read_jpeg(tmp_path, content[: int(kept * len(content))] + end)


@pytest.mark.parametrize("lossless", [False, True])
def test_12_bit_grey_keeps_its_depth(tmp_path, lossless):
    plane = GREY.astype(np.uint16) * 16
    content = imagecodecs.jpeg8_encode(plane, level=95, bitspersample=12, lossless=lossless)
    assert np.abs(read_jpeg(tmp_path, content)[0] - plane).max() <= (0 if lossless else 48)
    with pytest.raises(UnreadableImageError, match="end too early"):
        read_jpeg(tmp_path, content[: len(content) // 2] + b"\xff\xd9")


def test_cmyk_is_as_pillow_shows_it(tmp_path):
    content = encode(Pillow.fromarray(COLOUR).convert("CMYK"), "JPEG", quality=95)
    theirs = np.array(Pillow.open(io.BytesIO(content)).convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(read_jpeg(tmp_path, content), theirs)


# --- an independent reader --------------------------------------------------------------------------------------------

FOLDERS = [Path(PIL.__file__).parent / folder for folder in ("Tests/images", "../Tests/images")]
SHIPPED = [path for folder in FOLDERS for path in sorted(folder.glob("*"))]


@pytest.mark.skipif(not SHIPPED, reason="this Pillow ships no test files")
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_each_file_that_ships_with_pillow_is_read_as_pillow_reads_it_or_refused(path):
    try:
        image = read_image(path)
    except UnreadableImageError:
        return
    with Pillow.open(path) as opened:
        if opened.mode in ("L", "RGB") and opened.getexif().get(0x0112, 1) == 1 and "transparency" not in opened.info:
            theirs = np.atleast_3d(np.asarray(opened)).transpose(2, 0, 1)
            assert np.abs(image.pixels.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize(("depth", "top"), [(16, 4095), (8, 255), (4, 15)])
def test_the_clear_grey_of_a_png_is_black(tmp_path, depth, top):
    plane = RAMP if depth == 16 else (RAMP % (top + 1)).astype(np.uint8)
    file = stored(tmp_path, png(plane, depth, 0, chunk(b"tRNS", struct.pack(">H", top))), "a.png")
    scale = 17 if depth == 4 else 1
    np.testing.assert_array_equal(read_image(file).pixels[0], np.where(plane == top, 0, plane * scale))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}])
@pytest.mark.parametrize("plane", [GREY, COLOUR])
def test_a_jpeg_that_lacks_its_end_mark_alone_is_read_and_a_cut_one_is_not(tmp_path, options, plane):
    content = io.BytesIO()
    Pillow.fromarray(plane).save(content, "JPEG", quality=90, **options)
    whole = read_image(stored(tmp_path, content.getvalue(), "whole.jpg")).pixels
    marked = read_image(stored(tmp_path, content.getvalue()[:-2], "marked.jpg")).pixels
    np.testing.assert_array_equal(marked, whole)
    for n_bytes in range(4, 60):
        file = stored(tmp_path, content.getvalue()[:-n_bytes], "cut.jpg")
        with pytest.raises(UnreadableImageError, match=r"its JPEG data (end too early|are damaged)"):
            read_image(file)


@pytest.mark.parametrize("subfile", [1, 4])
@pytest.mark.parametrize("described", [None, {"axes": "YX"}])
def test_a_reduced_copy_and_a_mask_are_no_second_image(tmp_path, subfile, described):
    file = tmp_path / "a.tif"
    with tifffile.TiffWriter(file) as writer:
        writer.write(RAMP, metadata=described)
        writer.write(RAMP[::4, ::4] > 99, subfiletype=subfile, metadata=described)
    np.testing.assert_array_equal(read_image(file).pixels[0], RAMP)


@pytest.mark.parametrize("compression", ["jpeg2000", "webp", "jpegxl", "lerc", "zstd", "lzw"])
def test_a_tiff_of_every_compression_is_read(tmp_path, compression):
    lossless = {"compressionargs": {"lossless": True}} if compression in ("webp", "jpegxl") else {}
    plane = COLOUR if compression == "webp" else GREY
    shown = "rgb" if compression == "webp" else "minisblack"
    tifffile.imwrite(tmp_path / "x.tif", plane, compression=compression, photometric=shown, metadata=None, **lossless)
    found = read_image(tmp_path / "x.tif").pixels
    np.testing.assert_array_equal(found, np.moveaxis(np.atleast_3d(plane), -1, 0))


def test_names_of_chunks_within_a_text_say_nothing(tmp_path):
    text = chunk(b"tEXt", b"Comment\0acTL\0\0\0\5 eXIf tRNS\0\1 IDAT")
    np.testing.assert_array_equal(read_png(tmp_path, GREY, 8, 0, text)[0], GREY)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.dcm", b"PK\x03\x04" + bytes(50), "is packed by zip. Unpack it"),
        ("a.png", b"<html>404</html>", "is a page of HTML or XML"),
        ("a.dcm", b"%PDF-1.7", "is a PDF"),
        ("a.jpg", b"\0\0\0\x18ftypheic", "is HEIC, AVIF or a film"),
        ("a.avif", b"\0\0\0 ftypavif", "is HEIC, AVIF or a film"),
        ("a.jp2", b"\0\0\0\x0cjP  \r\n", "is JPEG 2000"),
        ("a.png", b"version https://git-lfs.github.com/spec/v1", "is what Git LFS keeps"),
        ("a.png", b"\x89PNG\n\x1a\n\0\0", "is a PNG that was changed on its way, as text"),
        ("._a.dcm", b"\0\5\x16\7\0\2\0\0Mac OS X", "is what macOS notes beside a file"),
        ("a.nii.gz", gzip.compress(gzip.compress(b"x", mtime=0), mtime=0), "is packed twice by gzip"),
    ],
)
def test_what_is_no_image_is_called_what_it_is(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableImageError, match=message):
        read_image(tmp_path / name)


def test_a_palette_that_is_not_there_is_no_black_image(tmp_path):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 2, 8, 3, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0\1\2\3\4" * 2)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UnreadableImageError, match="colours are in a palette and has none"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("subfile", [{"subfiletype": 1}, {"extratags": [(255, 3, 1, 2, True)]}, {"subfiletype": 4}])
@pytest.mark.parametrize("plane", [GREY, RAMP.astype("f8"), COLOUR], ids=["8 bits", "f8", "colour"])
def test_the_image_behind_a_reduced_copy_or_a_mask_is_read(tmp_path, subfile, plane):
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        file.write(np.zeros((8, 9), bool if subfile == {"subfiletype": 4} else np.uint8), **subfile)
        file.write(plane, photometric="rgb" if plane.ndim == 3 else "minisblack")
    pixels = read_image(tmp_path / "x.tif").pixels
    assert np.array_equal(pixels, np.moveaxis(np.atleast_3d(plane), -1, 0))


def test_a_raw_image_of_a_camera_is_not_read_as_its_reduced_copy(tmp_path):
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        file.write(np.zeros((8, 9), np.uint8), subfiletype=1, subifds=1)
        file.write(RAMP)
    with pytest.raises(UnreadableImageError, match=r"reduced copy, and its image lies in a subdirectory.*plain TIFF"):
        read_image(tmp_path / "x.tif")


@pytest.mark.parametrize("step", [1, 257])
@pytest.mark.parametrize("order", ["<", ">"])
def test_palettes_of_tiff_hold_8_bits_or_16(tmp_path, step, order):
    colours = np.random.default_rng(0).integers(0, 256, (3, 256)).astype(np.uint16)
    pixels = tiff(tmp_path, GREY, photometric="palette", colormap=colours * step, byteorder=order)
    assert np.array_equal(pixels, colours[:, GREY])


def test_a_jpeg_is_turned_however_much_stands_before_its_exif(tmp_path):
    exif = Pillow.Exif()
    exif[0x0112] = 6
    content = encode(GREY, "JPEG", quality=95, exif=exif)
    note = b"\xff\xfe\xff\xff" + b"a" * 65533
    near = read_image(stored(tmp_path, content, "near.jpg"))
    far = read_image(stored(tmp_path, content[:2] + note + note + content[2:], "far.jpg"))
    assert near.shape == GREY.shape[::-1]
    assert np.array_equal(far.pixels, near.pixels)


@pytest.mark.parametrize(
    "options", [{}, {"byteorder": ">"}, {"bigtiff": True, "byteorder": ">"}, {"compression": "zlib"}]
)
def test_truths_of_tifffile_are_bright_and_others_as_their_tags_say(tmp_path, options):
    truths = RAMP % 5 == 0
    assert np.array_equal(tiff(tmp_path, truths, **options)[0], truths * np.uint8(255))
    assert np.array_equal(read_mask(tmp_path / "x.tif"), truths)
    assert np.array_equal(tiff(tmp_path, truths, software="another", **options)[0], ~truths * np.uint8(255))


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_few_bits_fill_8_whoever_decodes_them(tmp_path, depth):
    plane = (RAMP % 2**depth).astype(np.uint8)
    for options in ({}, {"bigtiff": True, "byteorder": ">"}):
        options = {"photometric": "minisblack", "bitspersample": depth, "software": "another", **options}
        assert np.array_equal(tiff(tmp_path, plane, **options)[0], plane * (255 // (2**depth - 1)))
