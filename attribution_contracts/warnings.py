"""Warnings: how far the result of an image is to be trusted, where that is less than it looks."""

from enum import StrEnum

from attribution_contracts.base import Wire


class WarningCode(StrEnum):
    """What a warning is about, as a word that programs can act on."""

    COMPLETENESS_LARGE = "completeness_large"
    TOLERANCE_MISSED = "tolerance_missed"
    BASELINE_OF_CLASS = "baseline_of_class"
    NO_BETTER_THAN_RANDOM = "no_better_than_random"
    CURVES_UNINFORMATIVE = "curves_uninformative"
    LAYERS_LEFT_OUT = "layers_left_out"
    RELEVANCE_ABSORBED = "relevance_absorbed"
    MAP_SHOWS_LITTLE = "map_shows_little"
    FAILS_SANITY_CHECKS = "fails_sanity_checks"
    MOSTLY_NOISE = "mostly_noise"
    CLASS_NOT_FITTED = "class_not_fitted"
    MODEL_NOTED = "model_noted"


class ResultWarning(Wire):
    """One reason to trust the result of an image less than it looks."""

    code: WarningCode
    target: int | None
    """The class whose map it is about; null where it is about all of them."""
    layer: str | None = None
    """The layer whose map it is about; null where it is about none, or about several."""
    detail: str
    """What was seen, in figures."""
    advice: str
    """What to do about it."""


WARNING_TITLES: dict[WarningCode, str] = {
    WarningCode.COMPLETENESS_LARGE: "The map does not add up",
    WarningCode.TOLERANCE_MISSED: "The tolerance was not reached",
    WarningCode.BASELINE_OF_CLASS: "The baseline is of the class already",
    WarningCode.NO_BETTER_THAN_RANDOM: "The map orders pixels no better than chance",
    WarningCode.CURVES_UNINFORMATIVE: "The prediction does not move, whichever pixels go",
    WarningCode.LAYERS_LEFT_OUT: "Layers without finite values are left out",
    WarningCode.RELEVANCE_ABSORBED: "Most of the relevance does not reach the image",
    WarningCode.MAP_SHOWS_LITTLE: "The map of a layer shows less than half of what the layer says",
    WarningCode.FAILS_SANITY_CHECKS: "The method fails published sanity checks",
    WarningCode.MOSTLY_NOISE: "The map is mostly noise",
    WarningCode.CLASS_NOT_FITTED: "The fit knows nothing of the class",
    WarningCode.MODEL_NOTED: "The model's check let something pass",
}
