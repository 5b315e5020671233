"""Proves that slices of the figshare brain tumour set come out alike from MATLAB 7 and 7.3, with masks and folds."""

import io
import zipfile

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from focusmap import convert
from focusmap.basics import InputError
from focusmap.cli import main
from focusmap.images import read_image, read_mask
from support.images import smooth

SHAPE = (24, 31)


def a_slice(number, **other):
    image = smooth(*SHAPE, seed=number).astype(np.int16) * 40
    mask = np.zeros(SHAPE, np.uint8)
    mask[3 : 5 + number, 6:11] = 1
    border = np.array([3.0, 6.0, 3.0, 11.0, 5.0, 11.0])
    fields = {"PID": f"1{number:05d}", "image": image, "label": float(number % 3 + 1), "tumorMask": mask}
    return {**fields, "tumorBorder": border, **other}


def v7(fields, name="cjdata"):
    buffer = io.BytesIO()
    savemat(buffer, {name: fields}, do_compression=True)
    return buffer.getvalue()


def v73(fields, name="cjdata"):
    """Write as MATLAB does: columns as rows, texts as numbers, 512 bytes of its own in front."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=512) as file:
        group = file.create_group(name)
        for key, value in fields.items():
            is_text = isinstance(value, str)
            plain = np.array([[ord(letter) for letter in value]], np.uint16) if is_text else np.atleast_2d(value)
            stored = group.create_dataset(key, data=plain.T, compression="gzip")
            stored.attrs["MATLAB_class"] = np.bytes_("char" if is_text else "double")
    return b"MATLAB 7.3 MAT-file".ljust(512) + buffer.getvalue()[512:]


WRITERS = {"v7": v7, "v7.3": v73}


def folds_file(folds):
    buffer = io.BytesIO()
    savemat(buffer, {"cvind": np.array(folds, np.uint8)[:, np.newaxis]})
    return buffer.getvalue()


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def read_table(answer):
    return pd.read_csv(answer.labels, dtype=str)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_images_masks_and_cells_are_those_of_the_files(tmp_path, write):
    folder = tmp_path / "set"
    folder.mkdir()
    for number in (1, 2, 10):
        (folder / f"{number}.mat").write_bytes(write(a_slice(number)))
    table = read_table(convert(folder, tmp_path / "out"))
    assert list(table["path"]) == ["images/1.png", "images/2.png", "images/10.png"]
    assert list(table["label"]) == ["glioma", "pituitary", "glioma"]
    assert list(table["patient_id"]) == ["100001", "100002", "100010"]
    for number, row in zip((1, 2, 10), table.itertuples(), strict=True):
        fields = a_slice(number)
        assert np.array_equal(read_image(tmp_path / "out" / row.path).pixels[0], fields["image"])
        assert np.array_equal(read_mask(tmp_path / "out" / row.mask), fields["tumorMask"] == 1)


@pytest.mark.parametrize("nested", [False, True], ids=["folder of zips", "zip of zips"])
def test_zip_parts_with_folds(tmp_path, nested):
    parts = {
        "1-2.zip": zipped({f"{n}.mat": v73(a_slice(n)) for n in (1, 2)}),
        "3-4.zip": zipped({"3.mat": v7(a_slice(3))}),
    }
    files = {**parts, "cvind.mat": folds_file([5, 1, 4]), "README.txt": b"read me"}
    source = tmp_path / "set.zip" if nested else tmp_path / "set"
    if nested:
        source.write_bytes(zipped(files))
    else:
        source.mkdir()
        for name, content in files.items():
            (source / name).write_bytes(content)
    table = read_table(convert(source, tmp_path / "out"))
    assert table[["path", "fold"]].to_numpy().tolist() == [
        [f"images/{n}.png", f] for n, f in ((1, "5"), (2, "1"), (3, "4"))
    ]


def test_the_table_declares_itself(tmp_path):
    from focusmap import Declaration, read_cohort

    (tmp_path / "set.zip").write_bytes(
        zipped({**{f"{n}.mat": v7(a_slice(n)) for n in range(1, 7)}, "cvind.mat": folds_file([1, 2, 3, 1, 2, 3])})
    )
    answer = convert(tmp_path / "set.zip", tmp_path / "out")
    cohort = read_cohort(answer.labels, Declaration(split="fold"))
    assert cohort.task.targets[0].classes == ("glioma", "meningioma", "pituitary")
    assert cohort.study.patient_column == "patient_id"
    assert cohort.has_masks
    assert list(cohort.table["split_declared"]) == ["1", "2", "3", "1", "2", "3"]


BAD = {
    "text": (b"no MATLAB at all", "cannot be read as a MATLAB file"),
    "cut off": (v7(a_slice(1))[:-30], "cannot be read as a MATLAB file"),
    "cut off HDF5": (v73(a_slice(1))[:-3000], "cannot be read as a MATLAB file"),
    "another variable": (v7({"x": 1}, "data"), "holds no variable cjdata, .* Export its images as PNG"),
    "another variable in HDF5": (v73({"x": 1}, "data"), "holds no variable cjdata"),
    "no struct": (folds_file([1]), "holds no variable cjdata"),
    "label 4": (v7(a_slice(1, label=4.0)), r"label is .*4.*1 \(meningioma\)"),
    "mask of another size": (v73(a_slice(1, tumorMask=np.ones((3, 3)))), "tumorMask has the shape"),
    "image of text": (v7(a_slice(1, image="none")), "a grey image was expected"),
    "no mask": (v7({k: v for k, v in a_slice(1).items() if k != "tumorMask"}), "lacks tumorMask"),
}


@pytest.mark.parametrize(("content", "reason"), BAD.values(), ids=BAD)
def test_a_bad_slice_is_listed_and_the_others_are_written(tmp_path, capsys, content, reason):
    source, out = tmp_path / "set.zip", tmp_path / "out"
    source.write_bytes(zipped({"1.mat": content, "2.mat": v7(a_slice(2))}))
    assert main(["convert", str(source), "--out", str(out)]) == 2
    assert list(pd.read_csv(out / "labels.csv")["path"]) == ["images/2.png"]
    failures = pd.read_csv(out / "failures.csv")
    assert list(failures["path"]) == ["1.mat"]
    assert pd.Series(failures["reason"]).str.contains(reason).all()
    assert "1.mat" in capsys.readouterr().err
    assert main(["convert", str(source), "--out", str(out), "--force", "--skip-unreadable"]) == 0


def test_a_compressed_bomb_is_refused(tmp_path):
    buffer = io.BytesIO()
    savemat(buffer, {"cjdata": {"image": np.zeros((17_000, 17_000), np.uint8)}}, do_compression=True)
    assert len(buffer.getvalue()) < 2**20
    (tmp_path / "1.mat").write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match="inflates to more than 128 MiB"):
        convert(tmp_path / "1.mat", tmp_path / "out")


def test_an_hdf5_bomb_and_links_out_of_the_file_are_refused(tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["image"] = np.ones((4, 4))
    for name, spoil, reason in (
        ("bomb", lambda g: g.create_dataset("image", (20_000, 20_000), "u1", chunks=True), "would take 381 MiB"),
        ("link", lambda g: g.__setitem__("image", h5py.ExternalLink(str(secret), "image")), "a link out of the file"),
        ("raw", lambda g: g.create_dataset("image", (4, 4), "u1", external=str(secret)), "not an array of this file"),
    ):
        path = tmp_path / f"{name}.mat"
        with h5py.File(path, "w", userblock_size=512) as file:
            spoil(file.create_group("cjdata"))
        with pytest.raises(InputError, match=reason):
            convert(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folds_that_do_not_fit_are_named(tmp_path):
    source = tmp_path / "set.zip"
    source.write_bytes(zipped({"7.mat": v7(a_slice(7)), "cvind.mat": folds_file([1, 2])}))
    with pytest.raises(InputError, match="no number from 1 to 2"):
        convert(source, tmp_path / "out")


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04 no zip", zipped({"1.mat": v7(a_slice(1))})[:-40]], ids=["text", "cut off"]
)
def test_a_damaged_zip_is_named(tmp_path, content):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/part.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"part\.zip: cannot be read as a zip"):
        convert(tmp_path / "set", tmp_path / "out")
