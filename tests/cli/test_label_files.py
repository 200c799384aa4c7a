"""Files of class names: what can be read in one way only is read, the rest is refused by line."""

from pathlib import Path

import click
import pytest

from cli.options import labels_of

NAMES = ["tench", "goldfish", "shark"]
LINES = "tench\ngoldfish\nshark\n"


def read(tmp_path: Path, content: str | bytes) -> list[str]:
    file = tmp_path / "labels.txt"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return labels_of(str(file))


def refused(tmp_path: Path, content: str | bytes) -> str:
    with pytest.raises(click.BadParameter) as caught:
        read(tmp_path, content)
    return caught.value.message.partition(": ")[2]


@pytest.mark.parametrize(
    "content",
    [
        LINES,
        "tench\ngoldfish\nshark",
        "tench\r\ngoldfish\r\nshark\r\n\r\n",
        "tench\rgoldfish\rshark\r",
        " tench \n\tgoldfish\nshark",
        "\ufeff" + LINES,
        LINES.encode("utf-16"),
        "\ufefftench\r\ngoldfish\r\nshark".encode("utf-16-be"),
        LINES.encode("utf-32"),
        "0,tench\n1,goldfish\n2,shark\n",
        "2: shark\n0: tench\n1: goldfish\n",
        "0\ttench\n1\tgoldfish\n2\tshark",
        '0,"tench"\n1,"goldfish"\n2,shark',
        "tench,0\ngoldfish,1\nshark,2",
        '["tench", "goldfish", "shark"]',
        "['tench', 'goldfish', 'shark',]",
        "[\n 'tench',  # a fish\n 'goldfish',\n 'shark']",
        '{"0": "tench", "2": "shark", "1": "goldfish"}',
        "{0: 'tench',\n 1: 'goldfish',\n 2: 'shark'}",
        '{"tench": 0, "shark": 2, "goldfish": 1}',
        '{"0": ["n01440764", "tench"],\n "1": ["n01443537", "goldfish"],\n "2": ["n01484850", "shark"]}',
        '[["n01440764", "tench"], ["n01443537", "goldfish"], ["n01484850", "shark"]]',
        '{"architectures": ["X"], "id2label": {"0": "tench", "1": "goldfish", "2": "shark"}, "label2id": {"shark": 2}}',
        b"\xef\xbb\xbf" + b'["tench", "goldfish", "shark"]',
    ],
)
def test_the_same_names(tmp_path: Path, content: str | bytes) -> None:
    assert read(tmp_path, content) == NAMES


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("tench, Tinca tinca\nshark, Carcharodon\n", ["tench, Tinca tinca", "shark, Carcharodon"]),
        ('0,"tench, Tinca tinca"\n1,shark, white\n', ["tench, Tinca tinca", "shark, white"]),
        ("Zoë\n東京\u2028spezial\n", None),
        ("Zoë\n東京\n", ["Zoë", "東京"]),
        ("3 wheeler\n2 wheeler\n", ["3 wheeler", "2 wheeler"]),
        ("crane\nkite\ncrane\n", ["crane", "kite", "crane"]),
        ("0\n1\n10\n2\n", ["0", "1", "10", "2"]),
    ],
)
def test_names_as_they_stand(tmp_path: Path, content: str, names: list[str] | None) -> None:
    if names is None:
        assert "is '東京\\u2028spezial': expected text in one line" in refused(tmp_path, content)
    else:
        assert read(tmp_path, content) == names


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("tench\ngoldfish\nrequin \xe9\n".encode("latin-1"), "line 3 is no UTF-8 (byte 0xe9): save the file as UTF-8"),
        (LINES.encode("utf-16-le"), "it has zero bytes, as UTF-16 without a byte-order mark"),
        (LINES.encode("utf-16")[:-1], "line 3 is no UTF-16"),
        ("", "it has no names"),
        ("\n \r\n", "it has no names"),
        ("[]", "it has no names"),
        ("{}", "it has no names"),
        ("tench\n\nshark\n", "line 2 is empty"),
        ("\ntench\nshark", "line 1 is empty"),
        (
            "0,tench\n1,goldfish\n3,shark",
            "line 3, number 3 ('shark') is none of 3 classes: expected the",
        ),
        ("1,tench\n2,goldfish\n3,shark", "line 3, number 3 ('shark') is none of 3 classes"),
        ("0,tench\n1,goldfish\n1,shark", "line 3, number 1 ('shark') comes twice"),
        ("index,label\n0,tench\n1,shark", "line 1 is 'index,label', without the number that other lines have"),
        ("0,tench\n1,goldfish\nshark", "line 3 is 'shark', without the number"),
        ("tench,goldfish,shark", "line 1 is the only one and has commas"),
        ('["tench", "shark"', "it begins like a list or map and is none in JSON or Python: line 1:"),
        ('["tench", 3]', "entry 1 is 3: expected a name"),
        ('[["tench", "fish"]]', "entry 0 is ['tench', 'fish']: expected a name"),
        ('["tench", ""]', "the name of class 1 is ''"),
        ('["tench\\nshark"]', r"the name of class 0 is 'tench\nshark': expected text in one line"),
        ('{"0": "tench", "0": "shark"}', "the key 0 ('shark') comes twice"),
        ('{"1": "tench", "2": "shark"}', "the key 2 ('shark') is none of 2 classes"),
        ('{"0": 1, "1": 0}', "the keys and values of the map are both numbers"),
        ('{"a": "tench", "b": "shark"}', "the keys and values of the map are numbers on neither side"),
        ("{0: 'tench', 1: shark}", "it begins like a list or map and is none"),
        ("{'tench', 'shark'}", "expected names in the list"),
        ("[" * 5000, "it"),
        ("{" * 5000, "it"),
        ("[__import__('os').system('true')]", "it begins like a list or map and is none"),
    ],
)
def test_refused(tmp_path: Path, content: str | bytes, said: str) -> None:
    assert refused(tmp_path, content).startswith(said)


def test_names_between_commas() -> None:
    assert labels_of("tench, shark") == ["tench", "shark"]
    for given, said in (("tench", "there is no file 'tench'"), ("tench,,shark", "the name of class 1 is empty")):
        with pytest.raises(click.BadParameter, match=said):
            labels_of(given)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(click.BadParameter, match="it cannot be read: Is a directory"):
        labels_of(str(tmp_path))
