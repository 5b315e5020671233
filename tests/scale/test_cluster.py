"""A table of any length, share by share on a cluster: the answers of one machine, whatever is killed on the way."""

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import focusmap
from focusmap.basics import InputError, MissingPartError
from focusmap.cli import main
from focusmap.scale import PARTS, Cluster, Share, Tally, connected, parts_in, shares_of, worked_through, write_share
from support.cluster import a_worker_killed, in_its_own_process, killed_in
from support.studies import phantom_study

SHARE, TWO = 16, focusmap.RunOptions(workers=2)
ON_RAY = ["--engine", "ray", "--workers", "2"]


def table(folder: Path, n: int, name: str = "table.csv") -> Path:
    rows = pd.DataFrame({" path": [f"images/{k:03d}.png" for k in range(n)], "note": ["", 'a "b", c'] * (n // 2)})
    (rows.to_csv if name.endswith(".csv") else rows.to_parquet)(folder / name, index=False)
    return folder / name


def test_a_table_comes_in_shares_that_are_named_by_rows_and_question(tmp_path: Path) -> None:
    file = table(tmp_path, 10)
    found = list(shares_of(file, "who", 4))
    assert [len(share.rows) for share in found] == [4, 4, 2]
    assert list(found[0].rows) == ["path", "note"]
    assert pd.concat([share.rows for share in found])["path"].tolist() == [f"images/{k:03d}.png" for k in range(10)]
    assert [share.name for share in found] == sorted(share.name for share in found)
    again = [share.name for share in shares_of(table(tmp_path, 10, "table.parquet"), "who", 4)]
    assert again == [share.name for share in found], "the same rows, whatever holds them"
    other = [share.name for share in shares_of(file, "somebody else", 4)]
    assert not set(other) & {share.name for share in found}
    changed = pd.read_csv(file, dtype=str, keep_default_na=False)
    changed.iloc[5, 1] = "other"
    changed.to_csv(tmp_path / "changed.csv", index=False)
    kept = [a == b.name for a, b in zip(again, shares_of(tmp_path / "changed.csv", "who", 4), strict=True)]
    assert kept == [True, False, True]


def test_other_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"rows\.xlsx: is streamed as \.csv, \.csv\.gz, \.parquet"):
        next(shares_of(tmp_path / "rows.xlsx", "who", SHARE))


def test_without_ray_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("focusmap.basics.installation.find_spec", lambda name: None if name == "ray" else object())
    with pytest.raises(MissingPartError, match=r"needs ray, not installed.*focusmap\[ray\]"):
        next(worked_through((), tmp_path, lambda: nothing))


def test_predict_names_the_call_that_answers_a_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"call focusmap\.predict_table"):
        focusmap.predict(tmp_path, focusmap.PredictRequest((tmp_path / "table.csv",), engine="ray"))


def nothing(share: Share) -> Tally:
    return Tally(len(share.rows), 0)


class Dying:
    """Notes who answers what; the process that is asked for the share `deadly` first is killed in the midst of it."""

    def __init__(self, out: Path, deadly: int = -1) -> None:
        self.out, self.deadly = out, deadly

    def __call__(self, share: Share) -> Tally:
        asked = sorted(self.out.glob(f"asked-{share.number}-*"))
        (self.out / f"asked-{share.number}-{os.getpid()}").touch()
        if share.number == self.deadly and not asked:
            os.kill(os.getpid(), signal.SIGKILL)
        return write_share(share, self.out, share.rows, [])


@pytest.fixture(autouse=True)
def known_to_workers() -> None:
    sent_to_workers()


def sent_to_workers() -> None:
    """Let what this file defines be sent to the workers, which cannot import it."""
    cloudpickle = pytest.importorskip("ray.cloudpickle")
    cloudpickle.register_pickle_by_value(sys.modules[__name__])


def answers_in(out: Path) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(file) for file in parts_in(out / PARTS)], ignore_index=True)


@pytest.mark.slow
@in_its_own_process
def test_a_killed_worker_s_share_is_done_again_and_once(tmp_path: Path) -> None:
    shares = shares_of(table(tmp_path, 96), "who", 8)
    found = list(worked_through(shares, tmp_path, lambda: Dying(tmp_path, deadly=3), Cluster(n_workers=2)))
    assert sum(tally.n_answered for tally in found) == 96
    assert answers_in(tmp_path)["path"].tolist() == [f"images/{k:03d}.png" for k in range(96)]
    assert len(list(tmp_path.glob("asked-3-*"))) > 1, "by two processes, the first of which was killed"


def tallies(file: Path, out: Path) -> Iterator[Tally]:
    return worked_through(shares_of(file, "who", 8), out, lambda: Dying(out), Cluster(n_workers=2))


def begin_and_die(file: Path, out: Path) -> None:
    sent_to_workers()
    next(tallies(file, out))
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
@in_its_own_process
def test_a_killed_driver_goes_on_where_it_was(tmp_path: Path) -> None:
    # 40 shares: about twice as many as workers are ahead of what is taken from them.
    file = table(tmp_path, 320)
    killed_in(begin_and_die, file, tmp_path)
    first = {path.name: path.stat().st_mtime_ns for path in parts_in(tmp_path / PARTS)}
    assert 0 < len(first) < 40
    assert 0 < len(list(tallies(file, tmp_path))) <= 40 - len(first)
    assert all((tmp_path / PARTS / name).stat().st_mtime_ns == written for name, written in first.items())
    assert len(answers_in(tmp_path)) == 320


QUICK = ["--model", "small-residual", "--weights", "none", "--size", "28", "--epochs", "1"]


@pytest.mark.slow
@in_its_own_process
def test_folds_and_seeds_in_parallel_predict_as_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = phantom_study(tmp_path / "study", patients=24, images=48, size=28)
    asked = [str(labels), *QUICK, "--folds", "3", "--ensemble", "2", "--out"]
    with a_worker_killed(monkeypatch, lambda: any((tmp_path / "ray/folds").glob("**/last.safetensors"))):
        assert main(["run", *asked, str(tmp_path / "ray"), *ON_RAY]) == 0
    assert main(["train", *asked, str(tmp_path / "one"), "--workers", "1"]) == 0
    for name in ("predictions/test.csv", "folds/1/predictions/tune.csv"):
        one, ray = (pd.read_csv(tmp_path / place / name) for place in ("one", "ray"))
        pd.testing.assert_frame_equal(one, ray[list(one)], atol=1e-4)
    assert (tmp_path / "ray/report.html").is_file()


@pytest.mark.slow
@in_its_own_process
def test_folds_of_a_search_in_parallel_give_the_scores_of_one_after_the_other(tmp_path: Path) -> None:
    labels = phantom_study(tmp_path / "study", patients=24, images=48, size=28)
    asked = ["tune", str(labels), *QUICK, "--trials", "2", "--out"]
    assert main([*asked, str(tmp_path / "ray"), *ON_RAY]) == 0
    assert main([*asked, str(tmp_path / "one"), "--workers", "1"]) == 0
    one, ray = (pd.read_csv(tmp_path / place / "trials.csv") for place in ("one", "ray"))
    assert one["folds"].tolist() == ray["folds"].tolist()
    assert not (tmp_path / "ray/trial").exists()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scale")
    labels = phantom_study(folder / "study", patients=24, images=96, size=28)
    recipe = focusmap.Recipe(model="small-residual", weights="none", epochs=1, size=28)
    options = focusmap.RunOptions(recipe=recipe)
    focusmap.train(focusmap.read_cohort(labels), folder / "run", options)
    return folder


@pytest.mark.slow
@in_its_own_process
def test_a_cluster_answers_as_one_machine_does(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("focusmap.study.streamed.ROWS", SHARE)
    labels = run / "study/labels.csv"
    rows = pd.read_csv(labels, dtype=str, keep_default_na=False)
    broken = rows.iloc[[5]].assign(**{rows.columns[0]: "images/broken.png"})
    (run / "study/images/broken.png").write_bytes(b"no image")
    more = pd.concat([rows.iloc[:40], broken, rows.iloc[40:]])
    more.to_csv(run / "study/more.csv", index=False)
    asked = focusmap.PredictRequest((run / "study/more.csv",), tmp_path / "many")
    with connected(Cluster(n_workers=2)):
        answer = focusmap.predict_table(run / "run", asked, TWO)
        again = focusmap.predict_table(run / "run", replace(asked, resume=True), TWO)
    assert (again.n_images, again.n_before) == (0, 7)
    assert (answer.n_images, answer.n_failed, answer.n_before) == (96, 1, 0)
    focusmap.predict(run / "run", replace(asked, out=tmp_path / "one.csv"))
    one = pd.read_csv(tmp_path / "one.csv", keep_default_na=False)
    many = answers_in(tmp_path / "many")
    assert many["image_id"].tolist() == one["image_id"].tolist()
    assert list(many) == list(one)
    pd.testing.assert_frame_equal(many.fillna(""), one, check_dtype=False, atol=1e-4)
    failed = pd.read_parquet(tmp_path / "many/failures.parquet")
    assert failed["path"].tolist() == ["images/broken.png"]
    assert str(run) not in failed["reason"].iloc[0]
    with pytest.raises(InputError, match="holds parts already"):
        focusmap.predict_table(run / "run", asked, TWO)


@pytest.mark.slow
@in_its_own_process
def test_images_come_from_an_address(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("focusmap.study.streamed.ROWS", SHARE)
    rows = pd.read_csv(run / "study/labels.csv", dtype=str, keep_default_na=False).iloc[:20]
    rows = pd.concat([rows, rows.iloc[:1].assign(path="images/gone.png")])
    rows.to_csv(tmp_path / "some.csv", index=False)
    command = ["predict", str(run / "run"), str(tmp_path / "some.csv"), "--engine", "ray", "--workers", "2"]
    with connected(Cluster(n_workers=2)):
        assert main([*command, "--images", f"file://{run}/study", "--out", str(tmp_path / "far")]) == 2
        assert main([*command, "--images", str(run / "study"), "--out", str(tmp_path / "near")]) == 2
    far, near = answers_in(tmp_path / "far"), answers_in(tmp_path / "near")
    pd.testing.assert_frame_equal(far, near)
    assert len(far) == 20
    failed = [pd.read_parquet(tmp_path / name / "failures.parquet") for name in ("far", "near")]
    assert failed[0]["path"].tolist() == failed[1]["path"].tolist() == ["images/gone.png"]
    assert "focusmap-" not in failed[0]["reason"].iloc[0], "where it was to lie for a while says nothing"
