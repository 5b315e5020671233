"""Two machines, played by two programs on one, train a prepared run together."""

import os
import socket
import subprocess
import sys

import pandas as pd
import pytest

from focusmap.cli import main
from support.options import NET, quick

QUICK = quick(NET, epochs=2)
PROGRAM = "import sys; from focusmap.cli import main; sys.exit(main(sys.argv[1:]))"


def test_a_run_that_is_not_prepared_is_not_trained_on_several_nodes(study, tmp_path, capsys):
    assert main(["train", str(study), "--out", str(tmp_path / "run"), "--nodes", "2", *QUICK]) == 2
    assert "focusmap train --resume" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_nodes_train_one_prepared_run(study, tmp_path):
    run = tmp_path / "run"
    assert main(["prepare", str(study), "--out", str(run), *QUICK]) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    typed = [sys.executable, "-c", PROGRAM, "train", "--resume", str(run), "--devices", "cpu", "--nodes", "2"]
    nodes = [
        subprocess.Popen(
            typed,
            env={**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": str(rank)},
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    said = [node.communicate(timeout=500)[1].decode() for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    assert len(pd.read_csv(run / "history.csv")) == 2
    assert (run / "model/model.json").is_file()
    assert main(["evaluate", str(run)]) == 0
