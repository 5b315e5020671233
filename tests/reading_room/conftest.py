"""A tiny run behind the site, its answering process shared by the tests of a module, and what is sent to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra web is not installed")

from fastapi.testclient import TestClient

from focusmap.reading_room.desk import Desk
from focusmap.reading_room.site import site_of
from focusmap.verbs.requests import ServeRequest
from support.studies import evaluated_run

ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return evaluated_run(tmp_path_factory.mktemp("reading_room"), patients=30, images=90)


@pytest.fixture(scope="session")
def films(run: Path) -> list[Path]:
    return sorted((run.parent / "study" / "images").glob("*.png"))


@pytest.fixture(scope="session")
def desk(run: Path) -> Iterator[Desk]:
    opened = Desk(run, ServeRequest(largest=8, seconds=30))
    yield opened
    opened.close()


@pytest.fixture
def site(run: Path, desk: Desk) -> Iterator[TestClient]:
    with TestClient(site_of(run, desk), base_url=ADDRESS) as client:
        yield client
