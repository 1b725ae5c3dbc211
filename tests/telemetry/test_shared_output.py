"""One output of several processes: whole lines, whoever is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LINES = 400
WRITER = """
import sys
from gateway.telemetry.records import SharedOutput
out = SharedOutput(1, int(sys.argv[1]))
name = sys.argv[2].encode()
for number in range(int(sys.argv[3])):
    sizes = (10, 700, 9_000) if number % 20 == 0 else (10, 700)
    out.write(b"".join(b"<" + name * size + b">\\n" for size in sizes))
"""


def test_a_file_takes_lines_of_several_too(tmp_path: Path) -> None:
    lock = os.memfd_create("turns")
    with (tmp_path / "records").open("ab") as out:
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(lock), name, "100"], stdout=out, pass_fds=[lock], env=os.environ
            )
            for name in "abc"
        ]
        assert [writer.wait(20) for writer in writers] == [0, 0, 0]
    os.close(lock)
    lines = (tmp_path / "records").read_bytes().split(b"\n")[:-1]
    assert len(lines) == 3 * (2 * 100 + 100 // 20)
    assert all(line[:1] == b"<" and line[-1:] == b">" and len(set(line[1:-1])) == 1 for line in lines)


def test_no_line_stands_inside_of_another_and_none_is_lost() -> None:
    lock = os.memfd_create("turns")
    reading, writing = os.pipe()
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(lock), name, str(LINES)], stdout=writing, pass_fds=[lock], env=os.environ
        )
        for name in "abc"
    ]
    os.close(writing)
    with os.fdopen(reading, "rb") as out:
        lines = out.read().split(b"\n")[:-1]
    assert [writer.wait(20) for writer in writers] == [0, 0, 0]
    os.close(lock)
    assert len(lines) == 3 * (2 * LINES + LINES // 20)
    assert all(line[:1] == b"<" and line[-1:] == b">" and len(set(line[1:-1])) == 1 for line in lines)
