"""Files as they are sent to the reading room."""

import io
import time
import zipfile
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from fastapi.testclient import TestClient


def png(pixels: np.ndarray) -> bytes:
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, format="png")
    return written.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return written.getvalue()


def finished(site: "TestClient", seconds: float = 300) -> list[dict]:
    """Return the worklist when all is answered and drawn."""
    for _ in range(int(seconds / 0.05)):
        items = site.get("/api/items").json()["items"]
        if all(item["state"] != "waiting" and item["maps"]["state"] not in ("drawing",) for item in items):
            done = [item for item in items if item["state"] == "refused" or item["maps"]["state"] == "drawn"]
            if len(done) == len(items):
                return items
        time.sleep(0.05)
    raise AssertionError("not finished")
