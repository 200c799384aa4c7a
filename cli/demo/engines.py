"""What the demonstration asks for: every method side by side, and some by themselves."""

from typing import Any, NamedTuple

from attribution_contracts.methods import METHODS
from cli.demo.exhibits import Exhibit

RENDER = {"clip_percentile": 98, "opacity": 0.75}
"""Bolder than the default, for the pictures on the page are small."""


class Shown(NamedTuple):
    """One picture of the result."""

    caption: str
    of: str | None
    """The quantity that it shows; nothing of sheets and charts."""
    quantity: str = "heatmap"


class Engine(NamedTuple):
    """A method as the demonstration shows it."""

    title: str
    question: str
    """What its maps answer; `{reference}` is what the exhibit compares its pictures with."""
    reading: str
    """How to read the colours."""
    parameters: dict[str, Any]
    """Sent as `explanation`, beside the method."""
    has_baseline: bool
    """Whether the method compares with a baseline."""
    ends: tuple[str, str]
    """What the ends of a signed scale mean."""
    shown: tuple[Shown, ...]
    """The pictures of each image; what the first is of is scored where the evidence is known."""
    has_fit: bool = False
    """Whether the method needs something that is fitted on a data set first."""
    method: str | None = None
    """The method, where that is not its key."""

    @property
    def is_wide(self) -> bool:
        """Whether its pictures are sheets and charts, which need the width of the page."""
        return self.shown[0].of is None

    def explanation(self, key: str, exhibit: Exhibit, fit: str | None = None) -> dict[str, Any]:
        """The explanation that a job asks for; `fit` is what was fitted on the exhibit's lessons."""
        baselines = {"baselines": [exhibit.baseline]} if self.has_baseline else {}
        fits = {"fit": fit} if self.has_fit else {}
        return {"method": self.method or key, **self.parameters, **baselines, **fits}


ENGINES: dict[str, Engine] = {
    "integrated_gradients": Engine(
        title="Integrated gradients",
        question="Which pixels speak for the predicted class, and which against it, compared with {reference}?",
        reading=(
            "Red pixels raise the logit of the predicted class, blue ones lower it. The values of a map add up to "
            "the difference between the two logits; what is missing is the completeness error."
        ),
        parameters={"tolerance": 0.01},
        has_baseline=True,
        ends=("against the class", "for the class"),
        shown=(Shown("heatmap", "attributions"), Shown("overlay", "attributions", "overlay")),
    ),
    "layer_shapley": Engine(
        title="Layer Shapley",
        question=(
            "What does every layer of the network contribute to the predicted class, compared with {reference}? "
            "One map a layer: its feature maps, summed."
        ),
        reading=(
            "Red places of a layer raise the logit of the predicted class, blue ones lower it; each layer has its own "
            "scale, from the image at the top left to the last convolution. Layers that everything runs through add "
            "up to the same difference of the logits; the chart shows by how much the feature maps of each layer "
            "work against each other."
        ),
        parameters={"n_steps": 32, "layers": ["input", "conv", "pooling", "linear"]},
        has_baseline=True,
        ends=("against the class", "for the class"),
        shown=(Shown("the layers", None, "layers"), Shown("by depth", None, "depth")),
    ),
    "multiclass_importance": Engine(
        title="Multi-class importance",
        question="Which pixels tell the classes apart, whichever class wins?",
        reading=(
            "The deviation (std) is bright where a pixel's contributions to the classes differ, and dark where it "
            "moves all of them alike. The silhouette keeps of it what stands out of its surroundings. The importance "
            "counts what pixels tell together: red ones help to separate the classes, blue ones blur them; its values "
            "add up to the variation of the classes that the attributions explain."
        ),
        parameters={},
        has_baseline=False,
        ends=("blurs the classes", "separates the classes"),
        shown=(Shown("deviation (std)", "std"), Shown("silhouette", "silhouette"), Shown("importance", "importance")),
    ),
    "decomposition": Engine(
        title="Decomposition of the final layer",
        question="Which few features of the last layer decide, and where does the network see them?",
        reading=(
            "For each class, five features were found that are most often among the five largest of its images, in a "
            "job over a data set. Red places are where those of the predicted class are strong; the bars are what "
            "each adds to the logit. Last features without places, as those of the digits, have bars alone."
        ),
        parameters={},
        has_baseline=False,
        has_fit=True,
        ends=("absent", "strong"),
        shown=(
            Shown("its five features", "influential", "overlay"),
            Shown("all others", "others", "overlay"),
            Shown("contributions", None, "contributions"),
        ),
    ),
}
"""Methods that have a part of the page to themselves, by id."""


_BUDGETS: dict[str, dict[str, Any]] = {
    "activation_maps": {"n_top": 2},
    "layer_shapley": {"n_steps": 16, "layers": "stages"},
    "rise": {"n_masks": 100},
    "segment_shapley": {"segments": {"kind": "grid", "rows": 5, "columns": 5}, "n_samples": 100},
    "xrai": {"n_steps": 16},
}
"""Less than the default of methods that need many passes, or have many maps: small pictures show as much."""


def explanation_of(method: str, exhibit: Exhibit, fit: str | None) -> dict[str, Any]:
    """What is asked for of any method that explains images."""
    if method in ENGINES:
        return ENGINES[method].explanation(method, exhibit, fit) | _BUDGETS.get(method, {})
    baselines = {"baselines": [exhibit.baseline]} if "baselines" in METHODS[method].model_fields else {}
    return {"method": method, **_BUDGETS.get(method, {}), **baselines}


SIDE_BY_SIDE = "side_by_side"
PARTS = (SIDE_BY_SIDE, *ENGINES)
"""What is shown of an exhibit unless it says so itself: all methods together, and some by themselves."""

STORIES: dict[str, Engine] = {
    SIDE_BY_SIDE: Engine(
        title="Every method, side by side",
        question="What does each method that applies to the classifier show of the same picture, for the same class?",
        reading=(
            "One sheet a picture, each map on a scale of its own, with its colours and their ends above it. Methods "
            "answer different questions, so their maps need not agree; those that have a part of their own below say "
            "what theirs is, the others in their guides."
        ),
        parameters={},
        has_baseline=False,
        ends=("against the class", "for the class"),
        shown=(Shown("every method", None, "maps-side-by-side"),),
    ),
    "why_wrong": Engine(
        title="Why wrong: the predicted class against the true one",
        question=(
            "What made the network choose the class that it chose, and not the true one? Not what both have in "
            "common: the difference of the two logits is explained, compared with {reference}."
        ),
        reading=(
            "Red pixels speak for the wrong class above the true one, blue ones for the true class. The values of a "
            "map add up to the change of the difference."
        ),
        parameters={"target": {"against": "label"}, "tolerance": 0.01},
        has_baseline=True,
        ends=("for the true class", "for the wrong class"),
        shown=(Shown("heatmap", "attributions"), Shown("overlay", "attributions", "overlay")),
        method="integrated_gradients",
    ),
}
"""Questions that are no method of their own."""

SHOWN: dict[str, Engine] = ENGINES | STORIES
