"""Proves that PNG, JPEG and the rest come out as Pillow has them, and that what is damaged is refused by name."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image as Pillow

from focusmap.basics import MissingFileError, UnreadableImageError
from focusmap.images.read import read_image, read_mask
from support.bombs import chunk
from support.images import colourful, encode, smooth

GREY, COLOUR = smooth(60, 83), colourful(60, 83)
DEEP = GREY.astype(np.uint16) * 250 + 3
RAMP = np.linspace(0, 255, 60 * 83).reshape(60, 83).astype(np.uint8)


def stored(tmp_path, content, name="image.png"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def read(tmp_path, content, name="image.png"):
    return read_image(stored(tmp_path, content, name)).pixels


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("plane", [GREY, DEEP, COLOUR], ids=["grey", "16 bit", "colour"])
def test_lossless_formats_give_the_pixels_that_were_saved(tmp_path, plane, kind):
    pixels = read(tmp_path, encode(plane, kind))
    assert pixels.dtype == plane.dtype
    assert np.array_equal(pixels, plane[np.newaxis] if plane.ndim == 2 else plane.transpose(2, 0, 1))


def test_16_bit_colour_keeps_its_depth(tmp_path):
    import cv2

    deep = COLOUR.astype(np.uint16) * 250 + 3
    pixels = read(tmp_path, cv2.imencode(".png", deep[..., ::-1])[1].tobytes())
    assert np.array_equal(pixels, deep.transpose(2, 0, 1))


def tiff_file(plane, photometric, orientation=1, planar=1):
    """Return a TIFF (revision 6.0) of one strip a plane, little-endian."""
    rows, columns = plane.shape[:2]
    n = 1 if plane.ndim == 2 else plane.shape[2]
    strips = [plane.tobytes()] if planar == 1 else [plane[..., k].tobytes() for k in range(n)]
    tags = {
        256: [columns], 257: [rows], 258: [8 * plane.itemsize] * n, 259: [1], 262: [photometric],
        273: [0] * len(strips), 274: [orientation], 277: [n], 278: [rows], 279: [len(strip) for strip in strips],
        284: [planar],
    }  # fmt: skip
    if n in (2, 4):
        tags[338] = [2]
    start = 8 + 2 + 12 * len(tags) + 4
    extra = {tag: struct.pack(f"<{len(v)}I" if tag in (273, 279) else f"<{len(v)}H", *v) for tag, v in tags.items()}
    first = start + sum(len(value) for value in extra.values() if len(value) > 4)
    starts = [first + sum(map(len, strips[:k])) for k in range(len(strips))]
    extra[273] = struct.pack(f"<{len(strips)}I", *starts)
    entries, more = b"", b""
    for tag in sorted(tags):
        value, kind = extra[tag], 4 if tag in (273, 279) else 3
        place = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", start + len(more))
        more += value if len(value) > 4 else b""
        entries += struct.pack("<HHI", tag, kind, len(tags[tag])) + place
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + more + b"".join(strips)


DEEP_COLOUR = COLOUR.astype(np.uint16) * 250 + 3
OPAQUE = np.full((60, 83), 65535, np.uint16)
TIFFS = {
    "grey, white is 0": (tiff_file(GREY, 0), 255 - GREY),
    "16 bit, white is 0": (tiff_file(DEEP, 0), 65535 - DEEP),
    "16 bit colour": (tiff_file(DEEP_COLOUR, 2), DEEP_COLOUR),
    "16 bit colour in planes": (tiff_file(DEEP_COLOUR, 2, planar=2), DEEP_COLOUR),
    "16 bit colour with alpha": (tiff_file(np.dstack([DEEP_COLOUR, OPAQUE]), 2), DEEP_COLOUR),
    "16 bit grey with alpha": (tiff_file(np.dstack([DEEP, OPAQUE // 3]), 1), np.rint(DEEP / 3).astype(np.uint16)),
    "palette": (encode(Pillow.fromarray(GREY).convert("P"), "TIFF"), GREY),
    "BigTIFF": (encode(GREY, "TIFF", big_tiff=True), GREY),
    "LZW": (encode(DEEP, "TIFF", compression="tiff_lzw"), DEEP),
}


@pytest.mark.parametrize(("content", "plane"), TIFFS.values(), ids=TIFFS)
def test_tiff_keeps_its_depth_and_its_sense(tmp_path, content, plane):
    pixels = read(tmp_path, content, "a.tif")
    assert pixels.dtype == plane.dtype
    assert np.array_equal(pixels, plane[np.newaxis] if plane.ndim == 2 else plane.transpose(2, 0, 1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_of_any_depth_is_turned_upright(tmp_path, orientation):
    plain = read(tmp_path, tiff_file(GREY, 1, orientation), "a.tif")[0]
    deep = read(tmp_path, tiff_file(DEEP_COLOUR, 2, orientation), "b.tif")
    corners = {1: "abcd", 2: "badc", 3: "dcba", 4: "cdab", 5: "acbd", 6: "cadb", 7: "dbca", 8: "bdac"}[orientation]
    stored = {"a": (0, 0), "b": (0, -1), "c": (-1, 0), "d": (-1, -1)}
    for corner, seen in zip(corners, stored.values(), strict=True):
        assert plain[seen] == GREY[stored[corner]]
        assert np.array_equal(deep[(slice(None), *seen)], DEEP_COLOUR[stored[corner]])


def test_a_palette_is_looked_up(tmp_path):
    indexed = Pillow.fromarray(COLOUR).convert("P", palette=Pillow.Palette.ADAPTIVE)
    assert np.array_equal(read(tmp_path, encode(indexed, "PNG")), np.array(indexed.convert("RGB")).transpose(2, 0, 1))


def test_two_levels_are_black_and_white(tmp_path):
    pixels = read(tmp_path, encode(Pillow.fromarray(GREY).convert("1"), "PNG"))
    assert set(np.unique(pixels)) == {0, 255}


def test_an_interlaced_image_is_put_in_order(tmp_path):
    # Adam7, pass by pass, as in PNG section 8.1: (first row, row step, first column, column step).
    passes = [(0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1)]
    lines = [b"\0" + line.tobytes() for r, dr, c, dc in passes for line in GREY[r::dr, c::dc]]
    content = png_file(struct.pack(">IIBBBBB", 83, 60, 8, 0, 0, 0, 1), zlib.compress(b"".join(lines)))
    assert np.array_equal(read(tmp_path, content)[0], GREY)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_laid_over_black(tmp_path, mode):
    colour = GREY[..., np.newaxis] if mode == "LA" else COLOUR
    pixels = read(tmp_path, encode(np.dstack([colour, RAMP]), "PNG"))
    assert np.array_equal(pixels, np.rint(colour * (RAMP / 255)[..., np.newaxis]).transpose(2, 0, 1))
    opaque = read(tmp_path, encode(np.dstack([colour, np.full_like(RAMP, 255)]), "PNG"))
    assert np.array_equal(opaque, colour.transpose(2, 0, 1))


@pytest.mark.parametrize("plane", [GREY, COLOUR], ids=["grey", "colour"])
def test_a_colour_that_stands_for_transparent_is_black(tmp_path, plane):
    key = plane[10, 20]
    transparency = int(key) if plane.ndim == 2 else tuple(int(value) for value in key)
    pixels = np.moveaxis(read(tmp_path, encode(plane, "PNG", transparency=transparency)), 0, -1).reshape(plane.shape)
    clear = plane == key if plane.ndim == 2 else (plane == key).all(axis=-1)
    assert not pixels[clear].any()
    assert np.array_equal(pixels[~clear], plane[~clear])


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_grey_saved_as_colour_is_grey(tmp_path, kind):
    assert read(tmp_path, encode(np.dstack([GREY] * 3), kind)).shape == (1, 60, 83)


@pytest.mark.parametrize("plane", [GREY, COLOUR], ids=["grey", "colour"])
def test_jpeg_agrees_with_pillow(tmp_path, plane):
    content = encode(plane, "JPEG", quality=95)
    theirs = np.atleast_3d(np.array(Pillow.open(stored(tmp_path, content)))).transpose(2, 0, 1)
    assert np.abs(read(tmp_path, content).astype(int) - theirs).max() <= 1


def test_cmyk_jpeg_becomes_red_green_blue(tmp_path):
    assert read(tmp_path, encode(Pillow.fromarray(COLOUR).convert("CMYK"), "JPEG"), "a.jpg").shape == (3, 60, 83)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_image_upright(tmp_path, orientation, kind):
    from PIL import ImageOps

    exif = Pillow.Exif()
    exif[0x0112] = orientation
    path = stored(tmp_path, encode(GREY, kind, exif=exif))
    image = read_image(path)
    theirs = np.array(ImageOps.exif_transpose(Pillow.open(path)))
    assert image.source_shape == image.shape == theirs.shape
    assert np.abs(image.pixels[0].astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("shape", [(512, 512), (801, 600), (333, 1111), (1023, 1025)])
def test_a_jpeg_read_smaller_is_an_average_of_the_whole_image(tmp_path, shape):
    import cv2

    path = stored(tmp_path, encode(smooth(*shape), "JPEG", quality=98))
    image = read_image(path, at_least=100)
    assert image.source_shape == shape
    assert 100 <= max(image.shape) <= max(shape) / 2
    whole = cv2.resize(smooth(*shape), image.shape[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(image.pixels[0].astype(int) - whole).max() <= 4


def test_a_jpeg_reduced_and_turned_says_its_upright_size(tmp_path):
    exif = Pillow.Exif()
    exif[0x0112] = 6
    image = read_image(stored(tmp_path, encode(smooth(400, 800), "JPEG", exif=exif)), at_least=100)
    assert (image.shape, image.source_shape) == ((100, 50), (800, 400))


def test_the_content_decides_not_the_name(tmp_path):
    assert read(tmp_path, encode(GREY, "JPEG"), "really_a.png").shape == (1, 60, 83)


def png_file(header, data):
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def huge_png():
    return png_file(struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0), zlib.compress(b"\0" * 100))


def huge_jpeg():
    content = bytearray(encode(GREY, "JPEG"))
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", 60_000, 60_000)
    return bytes(content)


DAMAGED = {
    "empty": (b"", "empty"),
    "text": (b"image,label\na.png,1\n", "it is a text, not an image"),
    "Chinese text, cut off": ("影像".encode() * 58, "it is a text, not an image"),
    "unknown": (b"\x01\x02\x03\x04\x05", "begins with the bytes 01 02 03 04 05"),
    "signature only": (b"\x89PNG\r\n\x1a\n", "header is damaged"),
    "huge PNG": (huge_png(), "100000 x 100000"),
    "huge JPEG": (huge_jpeg(), "60000 x 60000"),
    "half a PNG": (encode(GREY, "PNG")[:300], "cannot be decoded"),
    "half a palette PNG": (encode(Pillow.fromarray(COLOUR).convert("P"), "PNG")[:-400], "cannot be decoded"),
    "half a JPEG": (encode(GREY, "JPEG")[:-200], "cannot be decoded"),
    "JPEG without its last bytes": (encode(GREY, "JPEG")[:-6], "cannot be decoded"),
    "half a TIFF": (encode(GREY, "TIFF")[:-100], "cannot be decoded"),
    "huge TIFF": (
        tiff_file(GREY, 1).replace(
            struct.pack("<HHI", 256, 3, 1) + struct.pack("<I", 83), struct.pack("<HHII", 256, 4, 1, 4_000_000)
        ),
        "60 x 4000000",
    ),
    "half a deep TIFF": (tiff_file(DEEP_COLOUR, 2)[:-4000], "cannot be decoded"),
    "several pages": (
        encode(Pillow.fromarray(GREY), "TIFF", save_all=True, append_images=[Pillow.fromarray(RAMP)]),
        "holds 2 images",
    ),
}


@pytest.mark.parametrize(("content", "reason"), DAMAGED.values(), ids=DAMAGED)
def test_what_cannot_be_read_is_refused_with_file_and_reason(tmp_path, content, reason):
    path = stored(tmp_path, content)
    with pytest.raises(UnreadableImageError) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_file_with_the_wrong_name_is_told_so(tmp_path):
    with pytest.raises(UnreadableImageError, match="the name says PNG, the content JPEG"):
        read(tmp_path, encode(GREY, "JPEG")[:-200])


def test_one_changed_byte_is_refused_or_changes_nothing(tmp_path):
    """PNG carries checksums, so no damage may pass as another image."""
    content = encode(COLOUR[:20, :20], "PNG")
    rng = np.random.default_rng(0)
    for position in rng.integers(len(content), size=300):
        damaged = bytearray(content)
        damaged[position] ^= 1 << rng.integers(8)
        try:
            pixels = read(tmp_path, bytes(damaged))
        except UnreadableImageError:
            continue
        assert np.array_equal(pixels, COLOUR[:20, :20].transpose(2, 0, 1))


def test_a_file_that_is_not_there_and_a_folder(tmp_path):
    with pytest.raises(MissingFileError, match="no such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(UnreadableImageError, match="is a folder"):
        read_image(tmp_path)


@pytest.mark.parametrize("white", [1, 255])
def test_a_mask_is_everything_that_is_not_black(tmp_path, white):
    truth = GREY > 100
    assert np.array_equal(read_mask(stored(tmp_path, encode(truth.astype(np.uint8) * white, "PNG"))), truth)


def test_a_mask_in_colour_or_saved_as_jpeg(tmp_path):
    truth = np.zeros((64, 64), bool)
    truth[20:45, 10:50] = True
    red = np.dstack([truth * np.uint8(255), np.zeros((64, 64, 2), np.uint8)])
    assert np.array_equal(read_mask(stored(tmp_path, encode(red, "PNG"))), truth)
    blurred = read_mask(stored(tmp_path, encode(truth.astype(np.uint8) * 255, "JPEG"), "mask.jpg"))
    assert (blurred != truth).mean() < 0.01
