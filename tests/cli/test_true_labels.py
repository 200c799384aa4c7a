"""True classes of images, from their folders and from tables like those of data sets."""

from pathlib import Path

import click
import pytest

from cli.true_labels import true_labels

IMAGES = [Path("flowers/rose/1.jpg"), Path("flowers/7/1.jpg")]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "labels.csv"


def test_from_the_folders() -> None:
    assert true_labels(IMAGES, (), "folder") == [
        ("rose", "--label-from folder, of flowers/rose/1.jpg"),
        (7, "--label-from folder, of flowers/7/1.jpg"),
    ]


def test_a_relative_file_lies_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tulip").mkdir()
    monkeypatch.chdir(tmp_path / "tulip")
    [found] = true_labels([Path("1.jpg")], (), "folder")
    assert found is not None
    assert found.label == "tulip"


def test_from_a_table_by_the_longest_name(table: Path) -> None:
    table.write_text("\ufefffile,label,by\n1.jpg,daisy,me\nrose/1.jpg,rose,me\nother.jpg,x,me\n", encoding="utf-8")
    assert true_labels(IMAGES, (), str(table)) == [
        ("rose", f"--label-from {table}, line 3"),
        ("daisy", f"--label-from {table}, line 2"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,label\nrose/1.jpg,rose\n", "1 of 2 images are not in"),
        ("name,class\n1.jpg,rose\n", r"labels\.csv, line 1: the columns are 'name, class': expected file,label"),
        (
            "file,label\n1.jpg,rose\n1.jpg,daisy\n",
            r"labels\.csv, line 3: '1\.jpg' is of the class 'daisy', and in line 2 of 'rose': expected one class",
        ),
        ("file,label\n1.jpg\n", r"labels\.csv, line 2: expected a file and its class, given '1\.jpg' and ''"),
        (b"file,label\n1.jpg,\xff\n", r"labels\.csv, line 2: byte 0xff is no UTF-8: expected CSV in UTF-8"),
        (b"file,label\n1.jpg," + b"x" * 200_000, r"labels\.csv, line 2: field larger than field limit"),
    ],
)
def test_a_table_that_does_not_say_it(table: Path, text: str | bytes, said: str) -> None:
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(click.BadParameter, match=said):
        true_labels(IMAGES, (), str(table))


def test_no_table_and_no_folder() -> None:
    with pytest.raises(click.BadParameter, match="'folders' is no file; expected folder, or a CSV file"):
        true_labels(IMAGES, (), "folders")


def test_said_twice() -> None:
    with pytest.raises(click.UsageError, match="both say the true classes"):
        true_labels(IMAGES, ("rose",), "folder")
