"""``focusmap doctor``: what is installed, what is missing, how to get it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import focusmap

if TYPE_CHECKING:
    from focusmap.installation import Diagnosis, OptionalPart

EXAMPLE = "example: focusmap doctor"


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """It is told nothing."""

    def __call__(self) -> None:
        """Run the command."""
        print("\n".join(_lines(focusmap.doctor())))


def _lines(found: "Diagnosis") -> list[str]:
    width = max(map(len, found.libraries), default=0)
    versions = [f"  {name:<{width}}  {version or 'MISSING'}" for name, version in sorted(found.libraries.items())]
    missing = [name for name, version in found.libraries.items() if version is None]
    remedy = [f"  get what is missing with: pip install {' '.join(missing)}"] if missing else []
    return [
        f"focusmap  {found.focusmap}",
        f"python    {found.python}",
        f"system    {found.system}",
        "devices",
        *(f"  {device}" for device in found.devices),
        "libraries",
        *(versions or ["  unknown: focusmap is not installed"]),
        *remedy,
        "optional parts",
        *(line for part in found.optional for line in _part(part)),
    ]


def _part(part: "OptionalPart") -> list[str]:
    lines = [f"  {part.name:<16}  {part.state:<7}  {part.purpose}"]
    return lines if part.state == "present" else [*lines, f"  {'':<16}  get it with: {part.remedy}"]
