"""The gate that the guide gives to CI jobs lets nothing through that it could not judge."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

API = Path(__file__).parents[2] / "docs" / "api.md"
SOUND, CHANCE, MUTE, OTHER = (
    {"warnings": [{"code": code}] if code else []}
    for code in (None, "no_better_than_random", "curves_uninformative", "relevance_absorbed")
)
BROKEN = {"error": {"code": "invalid_image"}, "warnings": []}


def passes(images):
    [program] = re.findall(r"^jq -e '(.*)' gate/result.json$", API.read_text(), re.MULTILINE)
    done = subprocess.run(["jq", "-e", program], input=json.dumps({"images": images}), text=True, capture_output=True)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode == 0


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ([SOUND] * 11 + [CHANCE] * 9, True),
        ([OTHER] * 20, True),
        ([SOUND] * 10 + [CHANCE] * 10, False),
        ([MUTE] * 20, False),
        ([SOUND] * 7 + [BROKEN] * 13, False),
        ([SOUND] * 9 + [MUTE] * 6 + [BROKEN] * 5, False),
        ([], False),
    ],
)
def test_it_passes_where_most_images_are_sound_alone(images, expected):
    assert passes(images) is expected
