"""The images give their faults away: twins, blanks, broken files, sources, slices of one patient."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw, ImageFont, ImageOps

from focusmap.audit import images as audit_images
from focusmap.audit.duplicates import audit_against, compared_by
from focusmap.audit.findings import AuditOptions
from focusmap.audit.images import look_at_all
from focusmap.audit.near import CORRELATION, DETAIL, SAME, TRIMMED_DETAIL, VIEWS, near_pairs
from focusmap.basics import FocusmapError
from focusmap.cli import main
from focusmap.phantom import PhantomOptions, make_phantom, write_phantom
from focusmap.study import make_split, read_roster, roster_of
from support.audited import audit_cohort, found, must_find, textures, write_cohort


def numbered(n: int, **columns: object) -> pd.DataFrame:
    table = pd.DataFrame({"path": [f"i{k:03d}.png" for k in range(n)], "patient_id": [f"p{k}" for k in range(n)]})
    return table.assign(label=[("sick", "well")[k % 2] for k in range(n)], **columns)


def test_near_pairs_follow_the_slow_definition() -> None:
    rng = np.random.default_rng(0)
    thumbnails = textures(40, size=32).astype(float)
    thumbnails[20:30] = thumbnails[:10] + rng.normal(0, np.arange(10)[:, None, None], (10, 32, 32))
    expected, doubtful = set(), set()
    for a in range(40):
        for b in range(a + 1, 40):
            x, y = (
                (thumbnails[i] - thumbnails[i].mean()) / np.linalg.norm(thumbnails[i] - thumbnails[i].mean())
                for i in (a, b)
            )
            others = [i for i in range(40) if i not in (a, b)]
            centred = [(t - t.mean()) / np.linalg.norm(t - t.mean()) for t in thumbnails[others]]
            u, v = x - np.mean(centred, axis=0), y - np.mean(centred, axis=0)
            detail = (u * v).sum() / np.sqrt((u * u).sum() * (v * v).sum())
            r = (x * y).sum()
            if r > CORRELATION and (detail > DETAIL or r > SAME):
                expected.add((a, b))
            elif detail > TRIMMED_DETAIL:
                doubtful.add((a, b))
    found = {(pair.a, pair.b) for pair in near_pairs(thumbnails, np.ones(40, bool), VIEWS[:1])}
    assert expected <= found <= expected | doubtful
    assert len(expected) >= 5


def test_dark_images_with_one_outline_do_not_collide_but_twins_do() -> None:
    outline = 60 * np.exp(-((np.indices((32, 32)) - 15.5) ** 2).sum(axis=0) / 120)
    patients = np.clip(outline + textures(60, size=32) / 255 * 15, 0, 255).astype(np.uint8)
    flat = patients.reshape(60, -1).astype(float)
    assert (np.corrcoef(flat)[np.triu_indices(60, 1)] > CORRELATION).mean() > 0.2
    assert near_pairs(patients, np.ones(60, bool)) == []
    patients[7] = np.clip(patients[3] * 1.1 + 2, 0, 255)
    assert [(pair.a, pair.b) for pair in near_pairs(patients, np.ones(60, bool))] == [(3, 7)]


CHANGES = {
    "mirrored": lambda image: ImageOps.mirror(image),
    "upside down": lambda image: ImageOps.flip(image),
    "inverted": lambda image: ImageOps.invert(image),
    "brighter": lambda image: image.point(lambda level: min(255, int(1.2 * level + 10))),
    "smaller": lambda image: image.resize((200, 180)),
    "cropped on the left": lambda image: image.crop((13, 0, 256, 256)),
    "cropped below": lambda image: image.crop((0, 0, 256, 243)),
    "cropped around": lambda image: image.crop((13, 13, 243, 243)),
    "turned": lambda image: image.rotate(2, Image.Resampling.BICUBIC),
    "turned back": lambda image: image.rotate(-2, Image.Resampling.BICUBIC),
    "lettered": lambda image: lettered(image),
}


def lettered(image: Image.Image) -> Image.Image:
    written = image.copy()
    ImageDraw.Draw(written).text((12, 12), "LEFT 12:34", fill=255, font=ImageFont.load_default(size=22))
    return written


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_made_of_an_image_is_near_it_and_of_no_other(change: str) -> None:
    images = [Image.fromarray(texture) for texture in textures(30, size=256)]
    changed = [CHANGES[change](image) for image in images[:10]]
    small = [image.resize((32, 32), Image.Resampling.BOX) for image in (*images, *changed)]
    pairs = near_pairs(np.stack([np.asarray(image) for image in small]), np.ones(40, bool))
    assert {(pair.a, pair.b) for pair in pairs} == {(k, 30 + k) for k in range(10)}


def test_few_constant_and_excluded_images() -> None:
    two = textures(2, size=32)
    assert near_pairs(np.stack([two[0], two[0]]), np.ones(2, bool))[0].correlation == pytest.approx(1)
    assert near_pairs(np.stack([two[0], two[0]]), np.array([True, False])) == []
    assert near_pairs(np.zeros((3, 32, 32), np.uint8), np.ones(3, bool)) == []
    assert near_pairs(np.zeros((0, 32, 32), np.uint8), np.ones(0, bool)) == []


def test_exact_copies_across_parts_block_and_near_ones_warn(tmp_path: Path) -> None:
    images = list(textures(12))
    images[1] = images[0]
    images[3] = np.clip(images[2].astype(int) + 3, 0, 255).astype(np.uint8)
    table = numbered(12, split=["train", "test"] * 6)
    audit = audit_cohort(write_cohort(tmp_path, table, images, targets=("label",)))
    exact = must_find(audit, "duplicate-across-splits")
    assert "1 image in train and test" in exact.message
    assert exact.examples == ("i000.png = i001.png",)
    assert must_find(audit, "near-duplicates").count == 1
    assert must_find(audit, "near-duplicates-across-classes").count == 1
    assert must_find(audit, "near-duplicates-across-splits").count == 1
    duplicates = audit.overview["duplicates"]
    assert isinstance(duplicates, dict)
    assert duplicates["near"][0] | {"correlation": 1} == {  # type: ignore[operator, index]
        "a": "i002.png", "b": "i003.png", "correlation": 1, "how": "alike", "same_patient": False, "same_class": False,
        "same_split": False,
    }  # fmt: skip


def test_near_copies_of_one_patient_alone_are_a_note(tmp_path: Path) -> None:
    images = list(textures(6))
    images[3] = np.clip(images[2].astype(int) + 3, 0, 255).astype(np.uint8)
    own = numbered(6, patient_id=["a", "b", "c", "c", "d", "e"])
    item = must_find(audit_cohort(write_cohort(tmp_path, own, images)), "near-duplicates")
    assert (item.severity, item.is_heeded) == ("note", True), "they have one patient id already"
    images[5] = images[2]
    item = must_find(audit_cohort(write_cohort(tmp_path, own, images)), "near-duplicates")
    assert (item.severity, item.is_heeded) == ("warning", False)


@pytest.mark.parametrize("said", [{}, {"patient": "none", "case": "scan"}])
def test_neighbouring_slices_may_bear_different_labels(tmp_path: Path, said: dict[str, str]) -> None:
    """Only the pair across patients is one whose label may be wrong."""
    images = list(textures(8))
    for copy, of in ((3, 2), (5, 4)):
        images[copy] = np.clip(images[of].astype(int) + 3, 0, 255).astype(np.uint8)
    owners = ["a", "b", "c", "c", "d", "e", "f", "g"]
    # Without a name of their scan the two are of no scan, and not of one.
    table = numbered(8, patient_id=owners, scan=["" if owner in "de" else owner for owner in owners])
    audit = audit_cohort(write_cohort(tmp_path, table, images, targets=("label",), **said))
    item = must_find(audit, "near-duplicates-across-classes")
    assert (item.count, item.examples[0].startswith("i004.png ~ i005.png")) == (1, True)
    message = must_find(audit, "near-duplicates").message
    assert message.endswith(" 1 of them, each of one patient or case, have different labels.")


def test_grey_stored_as_colour_is_the_same_image(tmp_path: Path) -> None:
    grey = textures(2)
    images = [grey[0], grey[1], np.repeat(grey[0][..., None], 3, axis=2)]
    audit = audit_cohort(write_cohort(tmp_path, numbered(3), images, targets=("label",)))
    assert must_find(audit, "exact-duplicates").examples == ("i000.png = i002.png",)


def test_broken_and_blank_images_are_findings(tmp_path: Path) -> None:
    images = list(textures(6))
    images[4] = np.full((48, 48), 7, np.uint8)
    cohort = write_cohort(tmp_path, numbered(6), images, targets=("label",))
    (tmp_path / "i002.png").write_bytes(b"not an image")
    audit = audit_cohort(cohort)
    assert "i002.png" in must_find(audit, "unreadable-image").examples[0]
    assert must_find(audit, "constant-image").examples == ("i004.png",)
    assert audit.overview["images"]["n_unreadable"] == 1  # type: ignore[index, call-overload]


def test_masks_that_cannot_be_laid_over_their_images_are_named_with_both_shapes(tmp_path: Path) -> None:
    masks = [f"m{k}.png" for k in range(5)] + [""]
    for k, shape in enumerate([(48, 48), (48, 49), (48, 48), (24, 24), (48, 48)]):
        cv2.imwrite(str(tmp_path / f"m{k}.png"), np.full(shape, 255, np.uint8))
    (tmp_path / "m2.png").write_bytes(b"no mask")
    cohort = write_cohort(tmp_path, numbered(6, mask=masks), textures(6), targets=("label",))
    item = must_find(audit_cohort(cohort), "mask-shape")
    assert (item.severity, item.count) == ("warning", 3)
    assert "m1.png: the mask has 48 x 49 pixels, and i001.png has 48 x 48" in item.examples[0]
    assert "m2.png: its content is none of" in item.examples[1]
    assert "m3.png" in item.examples[2]
    (tmp_path / "i003.png").write_bytes(b"")
    unread = must_find(audit_cohort(cohort), "mask-shape")
    assert unread.count == 2, "an image that cannot be read has a finding of its own"


def test_all_images_broken_is_still_an_audit(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, numbered(3), textures(3), targets=("label",))
    for file in cohort.files:
        file.write_bytes(b"")
    item = must_find(audit_cohort(cohort), "unreadable-image")
    assert item.count == 3
    assert item.message.startswith("3 images cannot be read (i000.png, i001.png, i002.png). Replace them")


def two_sources(folders: tuple[str, str], sizes: tuple[int, int]) -> tuple[pd.DataFrame, list[np.ndarray]]:
    rows, images = [], []
    for side, (folder, size) in enumerate(zip(folders, sizes, strict=True)):
        for k, image in enumerate(textures(40, seed=side, size=size)):
            rows.append({"path": f"{folder}/{k}.png", "label": ("well", "sick")[side]})
            images.append(image)
    return pd.DataFrame(rows), images


@pytest.mark.parametrize(
    ("folders", "sizes", "refused"),
    [
        (("archive_one", "archive_two"), (48, 48), "folder predicts label"),
        (("all", "all2"), (48, 64), "image size predicts label"),
        (("well", "sick"), (48, 48), None),
        (("0_normal", "1_abnormal"), (48, 48), None),
        (("no_sick", "sick"), (48, 48), None),
        (("well", "sick"), (48, 64), "image size predicts label"),
    ],
)
def test_a_source_that_gives_the_label_away_blocks_and_class_folders_do_not(
    tmp_path: Path, folders: tuple[str, str], sizes: tuple[int, int], refused: str | None
) -> None:
    table, images = two_sources(folders, sizes)
    audit = audit_cohort(write_cohort(tmp_path, table, images, targets=("label",), patient="none"))
    item = found(audit, "source-shortcut")
    assert (item is None) == (refused is None)
    assert item is None or refused is None or refused in item.message


def test_a_folder_per_patient_is_no_source(tmp_path: Path) -> None:
    table = numbered(60).assign(patient_id=[f"p{k // 10}" for k in range(60)], label=[k // 10 % 2 for k in range(60)])
    table["path"] = table["patient_id"] + "/" + table["path"]
    audit = audit_cohort(write_cohort(tmp_path, table, textures(60), targets=("label",)))
    assert found(audit, "source-shortcut") is None


def slices(n_patients: int, n_slices: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 12, (n_patients, n_slices, 48, 48))
    return np.clip(textures(n_patients)[:, None] + noise, 0, 255).astype(np.uint8).reshape(-1, 48, 48)


@pytest.mark.parametrize(("patient", "hidden"), [("none", True), ("patient_id", False)])
def test_slices_of_one_patient_in_neighbouring_rows_are_noticed(tmp_path: Path, patient: str, hidden: bool) -> None:
    table = numbered(120).assign(patient_id=[f"p{k // 4}" for k in range(120)], label=[k // 4 % 2 for k in range(120)])
    audit = audit_cohort(write_cohort(tmp_path, table, slices(30, 4), targets=("label",), patient=patient))
    assert (found(audit, "hidden-groups") is not None) == hidden


def test_slices_in_shuffled_rows_are_noticed_by_the_numbers_in_their_names(tmp_path: Path) -> None:
    table = numbered(120).assign(label=[k // 4 % 2 for k in range(120)])
    order = np.random.default_rng(3).permutation(120)
    shuffled = table.iloc[order].reset_index(drop=True)
    images = slices(30, 4)[order]
    audit = audit_cohort(write_cohort(tmp_path, shuffled, images, targets=("label",), patient="none"))
    assert "of images with neighbouring names of different images" in must_find(audit, "hidden-groups").message
    renamed = shuffled.assign(path=[f"x{k:03d}.png" for k in np.random.default_rng(4).permutation(120)])
    other = audit_cohort(write_cohort(tmp_path / "b", renamed, textures(120), targets=("label",), patient="none"))
    assert found(other, "hidden-groups") is None, "images that have nothing to do with each other"


def test_two_files_are_compared(tmp_path: Path) -> None:
    images = textures(8)
    first = write_cohort(tmp_path / "a", numbered(8)[:5], images[:5], targets=("label",))
    second = write_cohort(tmp_path / "b", numbered(8)[4:], images[4:], targets=("label",))
    patients, copies = audit_against(roster_of(first), roster_of(second))
    assert (patients.name, patients.examples) == ("patient-across-splits", ("p4",))
    assert (copies.name, copies.examples) == ("duplicate-across-splits", ("i004.png = i004.png",))
    assert patients.message == "1 patient stands both in a/labels.csv and in b/labels.csv."
    alone = audit_cohort(first)
    assert alone.blocking() == []
    assert alone.extended([patients, copies], ["patient-across-splits"]).blocking() == [copies]
    assert alone.extended([copies], ["duplicate-across-splits"]).accepted == ("duplicate-across-splits",)


def test_nearly_equal_images_of_two_files_are_found(tmp_path: Path) -> None:
    images = textures(12)
    twin = np.clip(images[0].astype(int) + np.random.default_rng(1).integers(-4, 5, images[0].shape), 0, 255)
    first = write_cohort(tmp_path / "a", numbered(12)[:6], images[:6], targets=("label",))
    second = write_cohort(tmp_path / "b", numbered(12)[6:], [twin.astype(np.uint8), *images[7:]], targets=("label",))
    (near,) = audit_against(roster_of(first), roster_of(second))
    assert (near.name, near.count) == ("near-duplicates-across-splits", 1)
    assert near.examples[0].startswith("i000.png ~ i006.png")


def test_another_file_needs_no_labels_and_no_images(tmp_path: Path) -> None:
    first = write_cohort(tmp_path / "a", numbered(6), textures(6), targets=("label",))
    (tmp_path / "other.csv").write_text("eye,patient_id\n1,p2\n2,p9\n")
    other = read_roster(tmp_path / "other.csv", first.study)
    assert compared_by(roster_of(first), other) == ["patients"]
    (patients,) = audit_against(roster_of(first), other)
    assert patients.examples == ("p2",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("eye\n1\n", "nothing can be compared"),
        ("eye,patient_id\n1,p1\n2,\n", "row 3: patient_id is empty"),
        ("path\n../a.png\n", "leaves the images folder"),
        ("path\nnone.png\n", "row 2: none.png"),
    ],
)
def test_another_file_that_cannot_be_compared_is_named(tmp_path: Path, text: str, message: str) -> None:
    first = write_cohort(tmp_path / "a", numbered(6), textures(6), targets=("label",))
    (tmp_path / "other.csv").write_text(text)
    with pytest.raises(FocusmapError, match=message) as caught:
        audit_against(roster_of(first), read_roster(tmp_path / "other.csv", first.study))
    assert "other.csv" in str(caught.value)


def test_several_processes_see_what_one_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_images, "POOL_SECONDS", 0.0)
    cohort = write_cohort(tmp_path, numbered(40), textures(40), targets=("label",))
    told: list[int] = []
    one = look_at_all(cohort.files, AuditOptions(workers=1, progress=lambda _doing, done, _total: told.append(done)))
    two = look_at_all(cohort.files, AuditOptions(workers=2))
    assert [look.digest for look in one.looks] == [look.digest for look in two.looks]
    np.testing.assert_array_equal(one.thumbnails, two.thumbnails)
    assert told == list(range(1, 41))


def test_the_phantom_is_not_refused(tmp_path: Path) -> None:
    from focusmap.study import read_cohort

    labels = write_phantom(make_phantom(PhantomOptions(n_patients=30, n_images=200)), tmp_path)
    cohort = read_cohort(labels)
    audit = audit_cohort(cohort, make_split(cohort))
    assert audit.blocking() == []
    assert found(audit, "near-duplicates-across-splits") is None
    assert found(audit, "hidden-groups") is None


@pytest.mark.parametrize(("options", "apart"), [([], 0), (["--no-group-near-duplicates"], 3)])
def test_twins_of_two_patients_stand_in_one_part_unless_the_user_parts_them(
    tmp_path: Path, options: list[str], apart: int, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [twin for texture in textures(30, size=64) for twin in (texture, texture[:, ::-1].copy())]
    labels = [("sick", "well")[k // 2 % 2] for k in range(60)]
    write_cohort(tmp_path, numbered(60).assign(label=labels), images)
    command = ["prepare", str(tmp_path / "labels.csv"), "--out", str(tmp_path / "run"), "--size", "32"]
    assert main([*command, "--model", "small-residual", *options]) == 0
    parts = pd.read_csv(tmp_path / "run/split.csv")["split"].to_numpy().reshape(30, 2)
    assert int((parts[:, 0] != parts[:, 1]).sum()) >= apart
    assert (parts[:, 0] == parts[:, 1]).all() or options
    warned = found_in(tmp_path / "run/audit.json", "near-duplicates-across-splits")
    assert warned == bool(options)
    assert ("with those like them, in 30 groups" in (tmp_path / "run/split.json").read_text()) != bool(options)


def found_in(audit: Path, name: str) -> bool:
    return name in {item["name"] for item in json.loads(audit.read_text())["findings"]}


def test_slices_that_are_shuffled_and_nameless_are_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    stacks = textures(20, seed=1, size=64).astype(float)
    others = textures(20, seed=2, size=64)
    slices = [
        (1 - t) * stack + t * other for stack, other in zip(stacks, others, strict=True) for t in np.linspace(0, 0.9, 8)
    ]
    order = rng.permutation(160)
    table = numbered(160).assign(path=[f"{rng.integers(1e9):x}.png" for _ in range(160)], label=["sick", "well"] * 80)
    shuffled = [slices[k].astype(np.uint8) for k in order]
    assert must_find(audit_cohort(write_cohort(tmp_path, table, shuffled, targets=("label",))), "hidden-groups")


def test_images_of_many_patients_are_no_slices(tmp_path: Path) -> None:
    audit = audit_cohort(write_cohort(tmp_path, numbered(160), textures(160, size=64), targets=("label",)))
    assert found(audit, "hidden-groups") is None
