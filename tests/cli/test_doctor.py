"""What the doctor says of a machine that works, and may not be enough."""

import os
import resource
import subprocess
import sys
from functools import partial

import pytest


@pytest.mark.parametrize(
    ("files", "word", "said"),
    [
        (300, "warn", "may open 300, room for 172 connections; "),
        (1100, "warn", "room for 972 connections; "),
        (4096, "ok", "may open 4096, room for 3968 connections"),
    ],
)
def test_a_low_limit_of_open_files_is_told_with_what_to_do(tmp_path, files, word, said):
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < files:
        pytest.skip("this machine allows fewer")
    ended = subprocess.run(
        [sys.executable, "-m", "cli.main", "doctor", "--timeout", "0.1"],
        env=os.environ | {"ATTRIBUTION_DATA_DIR": str(tmp_path / "nothing")},
        preexec_fn=partial(resource.setrlimit, resource.RLIMIT_NOFILE, (200, files)),
        capture_output=True,
        text=True,
        timeout=120,
    )
    [line] = [line for line in ended.stdout.splitlines() if "open files" in line]
    assert line.split()[0] == word
    assert said in line
    assert all(("ulimit -Hn" in line, "LimitNOFILE=" in line, "nofile" in line)) is (word == "warn")
