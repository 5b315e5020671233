"""DICOM files of one small image, with any element changed."""

import warnings

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from support.images import smooth

STORED = smooth(40, 30).astype(np.uint16) * 16 + 7


def a_dataset(stored=STORED, bits=12, **elements):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = stored.itemsize * 8, bits, bits - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.PixelData = stored.tobytes()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def saved(tmp_path, dataset, name="image.dcm"):
    path = tmp_path / name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(path, enforce_file_format=True)
    return path


def a_series(folder, *, n=5, rows=24, columns=20, order=1, gap=0, seed=0):
    """Write the slices of an oblique CT series, in the files' order or backwards; `gap` widens the last step (mm)."""
    from pydicom.uid import CTImageStorage, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    turn = np.array([[0.8, 0.6, 0.0], [-0.36, 0.48, 0.8]])
    across, generator = np.cross(*turn), np.random.default_rng(seed)
    study, series, frame = (generate_uid(entropy_srcs=[f"{name}{seed}"]) for name in "abc")
    paths = []
    for k in range(n):
        stored = (generator.integers(0, 300, (rows, columns)) + 40 * k).astype(np.uint16)
        height = 2.5 * k + (gap if k == n - 1 else 0)
        dataset = a_dataset(
            stored, Modality="CT", StudyInstanceUID=study, SeriesInstanceUID=series, FrameOfReferenceUID=frame,
            SOPClassUID=CTImageStorage, SOPInstanceUID=generate_uid(entropy_srcs=[f"{seed}-{k}"]),
            PatientID="ID-4711", PatientName="Secret^Person", StudyDate="20240301", InstanceNumber=k + 1,
            ImageOrientationPatient=list(turn.ravel().round(6)), PixelSpacing=[0.7, 0.9], SliceThickness=2.5,
            ImagePositionPatient=list((np.array([11.0, -7.5, 30.25]) + height * across).round(6)),
            RescaleIntercept=-1024, RescaleSlope=1, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], PatientSex="F",
            PositionReferenceIndicator="", Laterality="", StudyTime="", StudyID="", AccessionNumber="A1",
            ReferringPhysicianName="Doctor^Secret", PatientBirthDate="19500102", InstitutionName="Secret Hospital",
        )  # fmt: skip
        dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.add_new(0x00091010, "LO", "private Secret")
        paths.append(saved(folder, dataset, f"{k if order > 0 else n - k:03d}.dcm"))
    return paths


def without(dataset, *keywords):
    for keyword in keywords:
        delattr(dataset, keyword)
    return dataset
