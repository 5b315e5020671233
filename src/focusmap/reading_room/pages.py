"""The pages: the room itself, what is known of its model, one patient's sheet for the file, and how programs ask."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from focusmap.basics import Json, Language, MissingPartError, as_cell, branch, items, number, text
from focusmap.reading_room.shelf import Item, plane_of
from focusmap.report import DASH, Words, forests, headline, limitations, metric_tables, read_run, words_in
from focusmap.report.cohort_section import cohort_section
from focusmap.report.localisation_section import maps_above_mean_mask
from focusmap.report.page import data_uri, render_page, require_pdf, style_sheet, write_page, write_pdf
from focusmap.report.verdict_section import verdict_section

TEMPLATES, STATIC = Path(__file__).parent / "templates", Path(__file__).parent / "static"
SHEET_SIDE = 900
MOST_ON_SHEET = 6
Tree = Mapping[str, Json]


def room_page(run: Path, facts: Tree, words: Words) -> str:
    """Return the page on which images are answered."""
    facts = {**facts, "pdf": has_pdf(), "maps_note": _maps_note(run, words.language)}
    told = {
        **words.tables["room"],
        "units": words.tables["map_unit"],
        "why": words.tables["why"],
        "refusal": words.tables["refusal"],
    }
    told["comma"] = words("page.comma")
    context: dict[str, object] = {"title": _title(facts, words), "facts": facts, "told": told}
    return render_page("room.html", context, words, TEMPLATES)


@lru_cache
def _maps_note(run: Path, language: Language) -> str:
    """Return that the maps were not shown to find lesions, where that was measured; else nothing."""
    words = words_in(language)
    is_above = maps_above_mean_mask(read_run(run), words)
    return words("caution.maps_not_above") if is_above is False else ""


def _title(facts: Tree, words: Words) -> str:
    """Return the targets, or the classes where there is one target of several."""
    targets = [branch(target) for target in items(facts.get("targets"))]
    classes = texts(targets[0], "classes") if len(targets) == 1 else []
    named = classes if classes and classes != ["0", "1"] else [text(target.get("name")) for target in targets]
    return words.listed(named, 4)


def has_pdf() -> bool:
    """Return whether sheets can be made here, in English at least."""
    try:
        require_pdf("en")
    except MissingPartError:
        return False
    return True


def model_page(run: Path, facts: Tree, words: Words) -> str:
    """Return what is known of the model of a run: verdict, cohort, test, limits; its intended use is left to people."""
    context: dict[str, object] = {"title": _title(facts, words), "is_run": (run / "study.yaml").is_file()}
    page = render_page("model.html", context | (_of_run(run, words) if context["is_run"] else {}), words, TEMPLATES)
    # What is still to be done is told with the run's place, which is nobody's business but the server's.
    return page.replace(str(run), "RUN")


def _of_run(run: Path, words: Words) -> dict[str, object]:
    files = read_run(run)
    return {
        "verdict_of": verdict_section(files, words),
        "forests": forests(files, words),
        "sentences": headline(files, words),
        "limitations": limitations(files, words),
        "tables": metric_tables(files.metrics, words) if files.metrics else [],
        "cohort": cohort_section(files, words),
        "started": text(files.manifest.get("started"))[:10],
        "version": text(files.manifest.get("focusmap")),
    }


def page_style() -> str:
    """Return the style of the report's pages, as a file: pages of this site hold no style of their own."""
    return style_sheet()


def texts(facts: Tree, name: str) -> list[str]:
    """Return a list of texts among the facts of a model."""
    return [text(one) for one in items(facts.get(name))]


def classes_of(facts: Tree, target: str) -> list[str]:
    """Return the classes of a target; none of one that there is not, or of a number."""
    found = [branch(one) for one in items(facts.get("targets")) if branch(one).get("name") == target]
    return [text(name) for one in found for name in items(one.get("classes"))]


def programs_page(schema: Mapping[str, object], words: Words) -> str:
    """Return how programs ask: the paths of the OpenAPI description, with what each does."""
    return render_page("programs.html", {"paths": schema["paths"]}, words, TEMPLATES)


@dataclass(frozen=True)
class Line:
    """What is said of one target: its name, the answer in a word, the numbers behind it, and how it did on test."""

    name: str
    said: str
    tone: str
    detail: str
    tested: str


def lines_of(answer: Tree, words: Words) -> list[Line]:
    """Return what is said of each target in words."""
    return [_line(branch(target), words) for target in items(answer.get("targets"))]


def _line(target: Tree, words: Words) -> Line:
    answer, why = text(target.get("answer")), text(target.get("why"))
    said = words.name("room", answer) if answer in ("yes", "no", "unsure", "none") else answer
    if answer == "yes" and target.get("positive"):
        said = words("room.yes_class", name=target["positive"])
    detail = words.name("why", why) if why else _probabilities(target, words)
    return Line(text(target.get("name")), said, answer, detail, tested_in_words(branch(target, "test"), words))


def _probabilities(target: Tree, words: Words) -> str:
    classes = [branch(one) for one in items(target.get("classes"))]
    values = [number(one.get("probability")) for one in classes]
    if target.get("kind") == "continuous":
        ends = [text(end) for end in items(target.get("members"))]
        return words("room.ends", low=ends[0], high=ends[1]) if ends else text(target.get("unit"))
    if target.get("kind") == "binary":
        shown = f"{values[0] or 0:.2f}"
        if items(target.get("members")):
            return words("room.probability_alone", p=shown)
        return words("room.probability_of", p=shown, threshold=f"{number(target.get('threshold')) or 0:.2f}")
    ordered = sorted(zip(values, classes, strict=True), key=lambda one: -(one[0] or 0))
    return words("page.comma").join(f"{one['name']} {value or 0:.2f}" for value, one in ordered[:4])


def tested_in_words(tested: Tree, words: Words) -> str:
    """Return how a label did on test, in words."""
    if not tested:
        return words("room.untested")
    if "value" not in tested:
        return words("room.unjudged")
    value, low, high = (number(tested.get(key)) for key in ("value", "low", "high"))
    shown = f"{value:.2f}" if value is not None else DASH
    if low is not None and high is not None:
        shown += f" ({words('page.interval', low=f'{low:.2f}', high=f'{high:.2f}')})"
    positives = number(tested.get("n_positive"))
    if tested.get("metric") == "mae":
        return words("room.tested_value", value=shown)
    if positives is None:
        return words("room.tested_classes", value=shown, n=f"{number(tested.get('n')) or 0:.0f}")
    return words("room.tested", value=shown, n=f"{positives:.0f}")


def sheet(shown: Sequence[Item], facts: Tree, words: Words) -> bytes:
    """Return a one-page PDF of images of one patient: answers first, then image and map side by side.

    Raises
    ------
    MissingPartError
        If a PDF in this language cannot be made here.
    """
    require_pdf(words.language)
    images = [
        {"name": item.sent.name, "lines": lines_of(item.answer, words), "unlike": text(item.answer.get("unlike")),
         "blank": item.answer.get("blank"),
         "shown": _shown(item, texts(facts, "names"), words), "corrected": item.corrected}
        for item in shown[:MOST_ON_SHEET]
    ]  # fmt: skip
    context: dict[str, object] = {
        "images": images,
        "n_more": max(len(shown) - MOST_ON_SHEET, 0),
        "model": text(facts.get("model")),
    }
    with TemporaryDirectory(prefix="focusmap-sheet-") as folder:
        page = write_page("sheet.html", context, Path(folder) / "sheet.html", words, TEMPLATES)
        return write_pdf(page).read_bytes()


def _shown(item: Item, names: Sequence[str], words: Words) -> list[tuple[str, str]]:
    """Return the image, and under its map the label that most is to be seen of, each as a data URI with a caption."""
    from focusmap.figures import blend

    image = branch(item.answer, "image")
    if not image:
        return []
    slices = int(number(items(image.get("shape"))[0]) or 1)
    label, position = _strongest(item, slices)
    plane = plane_of(item.sent.folder / "shown.npy", 0, position)
    grey = _windowed(plane, image)
    found = [(_jpeg(grey), item.sent.name)]
    if label is not None:
        level = _level(item, label, position)
        found.append((_jpeg(blend(grey, level, 1.0)), words("room.map_of", name=names[label])))
    return found


def _level(item: Item, label: int, position: int) -> np.ndarray:
    levels = np.load(item.sent.folder / "maps.npy", mmap_mode="r")
    return np.asarray(levels[label, position], dtype=np.float32) / 255


def _strongest(item: Item, slices: int) -> tuple[int | None, int]:
    """Return the label with evidence that is most probable, and the slice in which its map is strongest."""
    if item.map_state != "drawn":
        return None, slices // 2
    told = [branch(one) for one in items(item.maps.get("labels"))]
    probable = [
        number(branch(one).get("probability")) or 0
        for target in items(item.answer.get("targets"))
        for one in items(branch(target).get("classes"))
    ]
    with_evidence = [k for k, one in enumerate(told) if one.get("has_evidence")]
    if not with_evidence:
        return None, slices // 2
    label = max(with_evidence, key=lambda k: probable[k])
    levels = np.load(item.sent.folder / "maps.npy", mmap_mode="r")[label]
    return label, int(levels.sum(axis=(1, 2), dtype=np.int64).argmax())


def _windowed(plane: np.ndarray, image: Tree) -> np.ndarray:
    """Return ``(rows, columns, 3) float32`` between 0 and 1, as the page first shows it."""
    if plane.dtype == np.uint8:
        levels = plane.astype(np.float32) / 255
    else:
        low, high = (number(image.get(key)) or 0.0 for key in ("low", "high"))
        start, end = (number(value) or 0.0 for value in items(image.get("window")))
        values = low + plane.astype(np.float32) * ((high - low) / (2**16 - 1))
        levels = np.clip((values - start) / ((end - start) or 1.0), 0, 1)
    return np.broadcast_to(levels[..., None], (*levels.shape, 3)) if levels.ndim == 2 else levels


def _jpeg(colour: np.ndarray) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    drawn = Image.fromarray(np.rint(colour * 255).astype(np.uint8))
    factor = SHEET_SIDE / max(drawn.size)
    drawn = drawn.resize((max(round(drawn.width * factor), 1), max(round(drawn.height * factor), 1)))
    drawn.save(buffer, format="jpeg", quality=88)
    return data_uri("image/jpeg", buffer.getvalue())


def answers_csv(found: Sequence[Item], words: Words) -> str:
    """Return a table of what was said of images: name, state, answers, probabilities, what readers corrected."""
    written = io.StringIO()
    answered = [item for item in found if item.state == "answered"]
    names = [text(branch(one).get("name")) for item in answered[:1] for one in items(item.answer.get("targets"))]
    labels = [
        text(branch(one).get("label"))
        for item in answered[:1]
        for target in items(item.answer.get("targets"))
        for one in items(branch(target).get("classes"))
    ]
    answers, readers = [f"{name}.answer" for name in names], [f"{name}.reader" for name in names]
    table = csv.DictWriter(written, ["image", "state", "flags", *answers, *labels, *readers, "reason", "notice"])
    table.writerow({name: as_cell(name) for name in table.fieldnames})
    for item in found:
        targets = [branch(one) for one in items(item.answer.get("targets"))]
        row: dict[str, object] = {f"{one['name']}.answer": one["answer"] for one in targets}
        row |= {text(branch(k)["label"]): branch(k)["probability"] for one in targets for k in items(one["classes"])}
        row |= {f"{name}.reader": label for name, label in item.corrected.items()}
        flags = [text(item.answer.get("unlike")), *map(text, items(item.answer.get("flags")))]
        row |= {"image": item.sent.name, "state": item.state, "reason": item.reason}
        row |= {"flags": "; ".join(filter(None, flags)), "notice": words("page.notice")}
        table.writerow({name: as_cell(value) if isinstance(value, str) else value for name, value in row.items()})
    return written.getvalue()
