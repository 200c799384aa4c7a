"""What the demonstration asks for: one entry for each method."""

from typing import Any, NamedTuple

from cli.demo.exhibits import Exhibit

RENDER = {"clip_percentile": 98, "opacity": 0.9}
"""Bolder than the default, for the pictures on the page are small."""


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

    def explanation(self, method: str, exhibit: Exhibit) -> dict[str, Any]:
        """The explanation that a job asks for."""
        baselines = {"baselines": [exhibit.baseline]} if self.has_baseline else {}
        return {"method": method, **self.parameters, **baselines}


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
    ),
}
"""By method id. A new method joins the demonstration with an entry here."""
