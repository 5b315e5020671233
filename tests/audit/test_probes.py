"""What tells a label without being the disease is named, and clean images are not blamed."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from focusmap.audit.findings import AuditOptions
from focusmap.audit.images import look_at_all
from focusmap.audit.probes import ProbeResult, probe_findings, run_probes
from focusmap.study import Cohort, Declaration, read_cohort
from support.audited import audit_cohort, found, must_find, textures, write_cohort
from support.dicom_files import a_dataset, saved

N = 120


def labelled(folder: Path, seed: int, images: list[np.ndarray], sick: np.ndarray, **said: object) -> Cohort:
    names = [f"p{seed}_{k:03d}.png" for k in range(N)]
    owners = [f"p{k}" for k in range(N)]
    table = pd.DataFrame({"path": names, "patient_id": owners, "label": np.where(sick, "sick", "well")})
    return write_cohort(folder, table, images, targets=("label",), **said)


def probed(cohort: Cohort) -> list[ProbeResult]:
    return run_probes(cohort, look_at_all(cohort.files, AuditOptions(workers=1)))


def marked(image: np.ndarray, corner: int) -> np.ndarray:
    """A mark of 4 pixels in one corner."""
    turned = np.rot90(image, corner).copy()
    turned[:4, :4] = 255
    return np.rot90(turned, -corner).copy()


@pytest.mark.slow
def test_a_mark_in_a_corner_of_95_percent_of_positives_is_found_20_of_20_times_and_no_clean_set_is_blamed(
    tmp_path: Path,
) -> None:
    n_found = n_blamed = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        sick, clean = rng.integers(0, 2, N) == 1, list(textures(N, seed=seed, size=64))
        n_blamed += bool(probe_findings(probed(labelled(tmp_path, seed, clean, sick))))
        has_mark = sick & (rng.random(N) < 0.95)
        images = [marked(image, seed % 4) if mark else image for image, mark in zip(clean, has_mark, strict=True)]
        n_found += bool(probe_findings(probed(labelled(tmp_path, seed, images, sick))))
    assert (n_found, n_blamed) == (20, 0)


def test_the_audit_says_it_with_numbers(tmp_path: Path) -> None:
    sick = np.arange(N) % 2 == 1
    images = [marked(image, 0) if mark else image for image, mark in zip(textures(N, size=64), sick, strict=True)]
    audit = audit_cohort(labelled(tmp_path, 0, images, sick))
    assert "border and corners: label (AUROC 1.00" in must_find(audit, "shortcut-probes").message
    probes = audit.overview["probes"]
    assert isinstance(probes, list)
    assert {"border and corners", "thumbnail of 16 x 16", "histogram"} == {item["probe"] for item in probes}  # type: ignore[call-overload, index]


def test_sizes_that_differ_a_little_are_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sick = np.arange(N) % 2 == 1
    sides = rng.normal(np.where(sick, 70, 60), 4).astype(int)
    images = [image[: sides[k], : sides[k]] for k, image in enumerate(textures(N, size=100))]
    by_size = [item for item in probed(labelled(tmp_path, 0, images, sick)) if item.probe == "size and format"]
    assert by_size[0].low > 0.8


def test_the_position_of_a_slice_is_found(tmp_path: Path) -> None:
    owners, places = np.divmod(np.arange(400), 10)
    label = np.where((places > 2) & (places < 7), "sick", "well")
    names = [f"{owner:02d}/slice_{place:02d}.png" for owner, place in zip(owners, places, strict=True)]
    table = pd.DataFrame({"path": names, "patient_id": [f"p{owner}" for owner in owners], "label": label})
    audit = audit_cohort(write_cohort(tmp_path, table, textures(400, size=32), targets=("label",)))
    assert "position among the slices: label (AUROC 1.00" in must_find(audit, "shortcut-probes").message


@pytest.mark.parametrize("n_sick", [3, 14])
def test_few_patients_are_not_asked(tmp_path: Path, n_sick: int) -> None:
    sick = np.arange(N) < n_sick
    audit = audit_cohort(labelled(tmp_path, 0, list(textures(N, size=64)), sick))
    assert found(audit, "shortcut-probes") is None
    assert audit.overview["probes"] == []


def made(image: np.ndarray, file: Path, kind: str, is_sick: bool, rng: np.random.Generator) -> None:
    """Write an image whose pixels say nothing, by another device, in another hour or by another program if sick."""
    if kind == "device":
        unlike = {
            "Manufacturer": "A" if is_sick else "B",
            "PatientID": f"Secret {file.stem}",
            "KVP": rng.integers(60, 99),
        }
    else:
        unlike = {"AcquisitionTime": f"{rng.integers(20, 24) if is_sick else rng.integers(8, 16):02d}1500"}
    saved(file.parent, a_dataset(image.astype(np.uint16), bits=8, **unlike), file.name)


@pytest.mark.parametrize("kind", ["device", "hour"])
def test_what_a_dicom_header_says_is_found_and_not_quoted(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    sick = rng.integers(0, 2, N) == 1
    names = [f"{k:03d}.dcm" for k in range(N)]
    for name, image, is_sick in zip(names, textures(N, size=32), sick, strict=True):
        made(image, tmp_path / name, kind, bool(is_sick), rng)
    rows = {"path": names, "label": np.where(sick, "sick", "well"), "patient_id": [f"p{k}" for k in range(N)]}
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    audit = audit_cohort(read_cohort(tmp_path / "labels.csv", Declaration(targets=("label",))))
    message = must_find(audit, "shortcut-probes").message
    assert "metadata: label (AUROC " in message
    assert "Secret" not in str(audit.to_dict())


def test_the_program_that_wrote_a_jpeg_is_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sick = rng.integers(0, 2, N) == 1
    names = [f"{k:03d}.jpg" for k in range(N)]
    for name, image, is_sick in zip(names, textures(N, size=64), sick, strict=True):
        Image.fromarray(image).save(tmp_path / name, quality=94 if is_sick else 95)
    rows = {"path": names, "label": np.where(sick, "sick", "well"), "patient_id": [f"p{k}" for k in range(N)]}
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    found_by = {
        one.probe: one.auroc for one in probed(read_cohort(tmp_path / "labels.csv", Declaration(targets=("label",))))
    }
    assert found_by["metadata"] == 1
    assert found_by["border and corners"] < 0.75


def test_headers_that_say_nothing_of_the_label_blame_nobody(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    sick = rng.integers(0, 2, N) == 1
    names = [f"{k:03d}.dcm" for k in range(N)]
    for name, image in zip(names, textures(N, size=32), strict=True):
        made(image, tmp_path / name, rng.choice(["device", "hour"]), bool(rng.integers(0, 2)), rng)
    rows = {"path": names, "label": np.where(sick, "sick", "well"), "patient_id": [f"p{k}" for k in range(N)]}
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    assert not probe_findings(probed(read_cohort(tmp_path / "labels.csv", Declaration(targets=("label",)))))
