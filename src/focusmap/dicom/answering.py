"""From DICOM images to the objects that a model's answer is stored as: predict, explain, segment, write."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from focusmap import heatmaps
from focusmap.api import answer_of, can_segment
from focusmap.basics import FocusmapError, InputError, Json, command_line, read_json, read_table
from focusmap.dicom import objects
from focusmap.dicom.objects import Author, Codes
from focusmap.dicom.request import OBJECT_KINDS
from focusmap.dicom.sources import Sources, sources_of
from focusmap.evaluation import IN_WORDS, SHOWN
from focusmap.images import read_mask

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from focusmap.api import LoadedModel


@dataclass(frozen=True)
class Answered:
    """What was made of one image or series: its objects by kind, and why one of them is missing."""

    sources: Sources
    answer: Mapping[str, Json]
    objects: Sequence["Dataset"]
    missing: Mapping[str, str]


@dataclass(frozen=True)
class Answering:
    """A model that answers DICOM images with DICOM objects.

    Parameters
    ----------
    model
        Of single images or volumes.
    codes
        How findings are coded, by label.
    kinds
        Which objects are made: of `OBJECT_KINDS`.
    """

    model: "LoadedModel"
    codes: Codes
    kinds: Sequence[str] = OBJECT_KINDS

    @property
    def takes_volumes(self) -> bool:
        """Whether a series of slices is one image."""
        return len(self.model.model.preparations[0].input_shape) == 4

    def answer(self, sources: Sources) -> Answered:
        """Return what the model says of an image, as objects.

        Raises
        ------
        UnreadableImageError
            If the image cannot be read.
        """
        author = Author(str(self.model.card.architecture.get("model")), self.codes)
        answer = self._answer(sources)
        made: list[Dataset] = [objects.report(sources, answer, author)] if "sr" in self.kinds else []
        missing: dict[str, str] = {}
        if {"map", "sc"} & set(self.kinds):
            made += self._maps(sources, author, missing)
        if "seg" in self.kinds:
            made += self._masks(sources, author, missing)
        return Answered(sources, answer, made, missing)

    def _answer(self, sources: Sources) -> Mapping[str, Json]:
        answers = self.model.predict(sources.image)
        if not len(answers):
            raise InputError(answers.failures[0].reason if answers.failures else f"{sources.name}: cannot be read.")
        return answer_of(answers, 0, {})

    def _maps(self, sources: Sources, author: Author, missing: dict[str, str]) -> list["Dataset"]:
        """Return maps and overlays of the labels that may be shown: colours that say nothing would say something."""
        from PIL import Image

        view = self.model.model.explainable()
        if view is None:
            missing["map"] = "the model has no heat maps"
            return []
        unit, made = heatmaps.unit_of(view.check(None)).words, []
        maps = self.model.explain(sources.image).maps
        allowed = [heat_map for heat_map in maps if not heat_map.why]
        if not allowed:
            missing |= dict.fromkeys(
                sorted({"map", "sc"} & set(self.kinds)), _withheld([heat_map.why for heat_map in maps])
            )
        for heat_map in allowed:
            if "map" in self.kinds:
                made.append(objects.parametric_map(sources, heat_map.values, heat_map.label, unit, author))
            if "sc" in self.kinds and heat_map.overlay:
                pixels = np.asarray(Image.open(io.BytesIO(heat_map.overlay)).convert("RGB"))
                made.append(objects.secondary_capture(sources, pixels, heat_map.label, author))
        return made

    def _masks(self, sources: Sources, author: Author, missing: dict[str, str]) -> list["Dataset"]:
        from focusmap.verbs.requests import SegmentRequest
        from focusmap.verbs.segment import segment

        if not can_segment(self.model):
            first = command_line("segment", self.model.folder)
            missing["seg"] = f"nothing was learnt to draw masks with. First: {first}"
            return []
        with TemporaryDirectory(prefix="focusmap-dicom-") as place:
            out = Path(place) / "masks"
            try:
                segment(self.model.folder, SegmentRequest((sources.image,), out))
            except FocusmapError as error:
                missing["seg"] = str(error)
                return []
            rows = read_table(out / "index.csv").to_dict("records")
            masks = {str(row["target"]): read_mask(out / str(row["mask"])) for row in rows if row["shown"] == SHOWN}
        if not masks:
            missing["seg"] = _withheld([str(row["shown"]) for row in rows])
            return []
        if not any(mask.any() for mask in masks.values()):
            missing["seg"] = "no lesion was drawn"
            return []
        return [objects.segmentation(sources, masks, author)]


def _withheld(whys: Sequence[str]) -> str:
    return f"nothing may be shown: {', '.join(dict.fromkeys(IN_WORDS[why] for why in whys))}"


def write_objects(answering: Answering, places: Sequence[Path], out: Path) -> list[Answered]:
    """Write the objects of all images in files and folders below `out`, a folder per study; return what was made.

    Raises
    ------
    InputError
        If no image is found, or `out` holds files already.
    """
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty. Choose another --out.")
    answers = []
    with TemporaryDirectory(prefix="focusmap-dicom-") as folder:
        for sources in sources_of(places, Path(folder), volumes=answering.takes_volumes):
            answered = answering.answer(sources)
            for made in answered.objects:
                file = out / str(made.StudyInstanceUID) / f"{made.Modality}-{made.SOPInstanceUID}.dcm"
                file.parent.mkdir(parents=True, exist_ok=True)
                made.save_as(file, enforce_file_format=True)
            answers.append(answered)
    return answers


def read_codes(path: Path | None) -> Codes:
    """Return how findings are coded, from a JSON file ``{"LABEL": ["VALUE", "SCHEME", "MEANING"]}``.

    Raises
    ------
    MissingFileError, InputError
        If the file is not there, or a code is not three texts.
    """
    if path is None:
        return {}
    codes: dict[str, tuple[str, str, str]] = {}
    for label, code in read_json(path).items():
        if not (isinstance(code, list) and len(code) == 3 and all(isinstance(part, str) for part in code)):
            raise InputError(
                f'{path}: {label}: a code of three texts was expected, such as ["27925004", "SCT", "Nodule"].'
            )
        codes[label] = (str(code[0]), str(code[1]), str(code[2]))
    return codes
