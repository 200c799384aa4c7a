"""Decisions told by pictures, over HTTP: a sheet for each method, right and wrong decisions, the talk's experiment.

Starts the service with one worker and four parts, each by itself with `--part`:

- `sheets`: for each method a sheet of the digits, of the planted evidence (by a CNN and by a transformer) and, with the
  development data, of scikit-image's photographs by two ImageNet classifiers.
- `decisions`: a right and a wrong decision of an ImageNet classifier and of an emotion classifier by four methods, the
  wrong one against the true class too.
- `talk`: a head on VGG-16's features for cats and dogs (Banerjee & Chu 2022), how often it is right on photographs
  that it did not learn, and what the layers that the talk shows contribute.
- `learned`: pictures that excite feature maps of VGG-16, of its first four convolutions and 90 of the last, by plain
  ascent and by fixed magnitudes, held against photographs.

Prints one JSON line for each sheet, decision and claim; writes the pictures to a folder that git ignores, for those
made of the development data may not be shown. What they tell is in `docs/stories.md`.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from support.processes import service
from support.stories.asking import Asked
from support.stories.decisions import decisions
from support.stories.learned import learned
from support.stories.sheets import sheets
from support.stories.talk import talk

from attribution_client import Client

Part = Callable[[Asked, Path, Path], Iterator[dict[str, Any]]]
PARTS: dict[str, Part] = {"sheets": sheets, "decisions": decisions, "talk": talk, "learned": learned}
CONFIGURATION = """[factories]
mobilenet = "support.factories:mobilenet_with_relu"
emotions = "support.factories:emotions"
"""


def main() -> None:
    """Reads the options and tells every story that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("ATTRIBUTION_SHARED_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(default), help="development data; told where it is absent")
    parser.add_argument("--out", type=Path, default=Path("build/stories"), help="where the pictures go")
    parser.add_argument("--part", choices=PARTS, action="append", help="default: all of them")
    parser.add_argument("--method", action="append", help="of `sheets`, this alone; may be given again")
    parser.add_argument("--exhibit", action="append", help="of `sheets`, this alone, such as planted-vit; again too")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    configuration = options.out / "attribution.toml"
    configuration.write_text(CONFIGURATION)
    code = [str(Path(__file__).parent), str((options.data / "weights").resolve())]
    more = {
        "ATTRIBUTION_CONFIG_FILE": str(configuration.resolve()),
        "PYTHONPATH": os.pathsep.join([*code, os.environ.get("PYTHONPATH", "")]),
    }
    with service(workers=1, more=more) as running, Client(running.url) as client:
        asked = Asked(client, sys.stderr, options.method, options.exhibit)
        for name in options.part or PARTS:
            for line in PARTS[name](asked, options.data, options.out / name):
                print(json.dumps({"benchmark": "stories", "part": name, **line}), flush=True)


if __name__ == "__main__":
    main()
