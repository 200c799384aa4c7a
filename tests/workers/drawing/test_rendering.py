"""Heatmaps: colours mean what the result says they mean."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attribution.networks.lattices import Lattice
from attribution_contracts.render import RenderOptions
from workers.drawing.colormaps import COLORMAPS, colors
from workers.drawing.overlays import Scene
from workers.drawing.planes import limits, plane_of
from workers.drawing.rendering import RENDERERS, RenderedFile, Shown, render
from workers.images.preprocessing import View

SMALL = RenderOptions(min_side=1, clip_percentile=100)


def picture(file: RenderedFile) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(file.content)).convert("RGB"))


def one_row(*values: float) -> np.ndarray:
    """A map of one channel and one row."""
    return np.array([[values]], dtype=np.float32)


def image_for(values: np.ndarray, color=(100, 150, 200)) -> Image.Image:
    return Image.new("RGB", values.shape[:0:-1], color)


def scene_of(image: Image.Image) -> Scene:
    """An image that the network saw whole."""
    return Scene(image, View.whole(image.height, image.width), lambda: image)


def files(
    values: np.ndarray, options: RenderOptions = SMALL, kind="signed", limit: float | None = None, scene=None, **more
):
    end = limits([values], kind, options)[0] if limit is None else limit
    shown = Shown("attributions", kind, values, scene or scene_of(image_for(values)), **more)
    return {file.quantity: file for file in render(shown, end, options)}


def rgb(text: str) -> list[int]:
    return [int(text[place : place + 2], 16) for place in (1, 3, 5)]


@pytest.mark.parametrize("name", ["red_blue", "purple_green", "brown_teal"])
def test_diverging_maps_are_centred_on_zero(name):
    low, middle, high = (rgb(text) for text in colors(name, 3))
    options = SMALL.model_copy(update={"signed_colormap": name})
    heatmap = files(one_row(-2, 0, 1, 2), options)["heatmap"]
    drawn = picture(heatmap)[0].tolist()
    assert (drawn[0], drawn[1], drawn[3]) == (low, middle, high)
    assert heatmap.colormap == name
    assert heatmap.range == (-2.0, 2.0)
    assert min(middle) > 240, "zero is nearly white"


def test_red_is_for_and_blue_against():
    against, _, for_it = picture(files(one_row(-1, 0, 1))["heatmap"])[0].astype(int)
    assert for_it[0] > for_it[2] + 50
    assert against[2] > against[0] + 50


def test_every_name_of_the_contract_has_a_map_of_the_expected_shape():
    for name in COLORMAPS:
        luminance = np.array([rgb(text) for text in colors(name, 9)]) @ [0.2126, 0.7152, 0.0722]
        if name in {"viridis", "inferno", "grey"}:
            assert (np.diff(luminance) > 0).all(), "sequential: always lighter"
        else:
            assert (np.diff(luminance[:5]) > 0).all(), "diverging: lightest in the middle"
            assert (np.diff(luminance[4:]) < 0).all()


def test_channels_are_summed():
    values = np.array([[[1.0, -3.0]], [[1.0, 1.0]], [[2.0, -2.0]]], dtype=np.float32)
    assert limits([values], "signed", SMALL) == [4.0]
    np.testing.assert_array_equal(picture(files(values)["heatmap"]), picture(files(one_row(4, -4))["heatmap"]))


def test_raw_map_comes_back_as_it_was():
    values = np.random.default_rng(0).normal(size=(3, 5, 7)).astype(np.float32)
    raw = files(values)["attributions"]
    loaded = np.load(io.BytesIO(raw.content), allow_pickle=False)
    np.testing.assert_array_equal(loaded, values)
    assert loaded.dtype == np.float32
    assert (raw.name, raw.media_type, raw.shape) == ("attributions.npy", "application/x-npy", [3, 5, 7])
    assert (raw.colormap, raw.range) == (None, None)


@pytest.mark.parametrize(
    ("polarity", "expected", "ends"),
    [("positive", [0.0, 0.0, 0.5, 1.0], (0.0, 4.0)), ("negative", [1.0, 0.0, 0.0, 0.0], (0.0, -3.0))],
)
def test_one_polarity_is_drawn_with_the_sequential_map(polarity, expected, ends):
    options = SMALL.model_copy(update={"polarity": polarity, "magnitude_colormap": "grey"})
    heatmap = files(one_row(-3, 0, 2, 4), options)["heatmap"]
    np.testing.assert_allclose(picture(heatmap)[0, :, 0] / 255, expected, atol=1 / 254)
    assert (heatmap.colormap, heatmap.range) == ("grey", ends)


def test_magnitudes_ignore_polarity():
    options = SMALL.model_copy(update={"polarity": "negative", "magnitude_colormap": "grey"})
    heatmap = files(one_row(0, 1, 2), options, kind="magnitude")["heatmap"]
    assert picture(heatmap)[0, :, 0].tolist() == [0, 128, 255]
    assert heatmap.range == (0.0, 2.0)


def test_values_beyond_the_percentile_are_drawn_at_the_end():
    values = np.arange(101, dtype=np.float32).reshape(1, 1, 101)
    options = RenderOptions(min_side=1, clip_percentile=90)
    assert limits([values], "signed", options) == [90.0]
    drawn = picture(files(values, options)["heatmap"])[0]
    assert (drawn[90:] == drawn[100]).all()
    assert (drawn[80] != drawn[100]).any()


def test_a_job_shares_its_largest_limit_and_an_image_has_its_own():
    maps = [one_row(1, -2), one_row(8, 3), one_row(0, 0)]
    assert limits(maps, "signed", SMALL) == [8.0, 8.0, 8.0]
    assert limits(maps, "signed", SMALL.model_copy(update={"scale": "image"})) == [2.0, 8.0, 0.0]
    assert limits([], "signed", SMALL) == []


def test_a_sparse_map_still_has_a_scale():
    values = np.zeros((1, 100, 100), dtype=np.float32)
    values[0, 0, 0] = -5
    assert limits([values], "signed", RenderOptions(clip_percentile=99, smooth=0.0)) == [5.0]


MAGNITUDES = {"magnitude", "ranks", "layer_magnitude"}


@pytest.mark.parametrize("kind", sorted(RENDERERS.keys() - {"picture", "values"}))
@pytest.mark.parametrize("value", [0.0, 1e-45, -1e-45, 3e38])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 2)])
def test_degenerate_maps_are_drawn(kind, value, shape):
    values = np.full(shape, value, dtype=np.float32)
    heatmap = files(values, kind=kind)["heatmap"]
    assert picture(heatmap).shape == (*shape[1:], 3)
    assert heatmap.range is not None
    assert np.isfinite(heatmap.range).all()
    if value == 0:
        middle_or_low = colors("red_blue", 3)[1] if kind not in MAGNITUDES else colors("viridis", 3)[0]
        assert (picture(heatmap) == rgb(middle_or_low)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="not finite"):
        limits([one_row(1, bad)], "signed", SMALL)


def test_a_map_of_another_size_than_its_image_is_refused():
    with pytest.raises(ValueError, match=r"\[1, 1, 3\] does not fit an image of 1 x 2"):
        files(one_row(1, 2, 3), scene=scene_of(Image.new("RGB", (2, 1))))


@pytest.mark.parametrize(
    ("size", "min_side", "expected"),
    [
        ((28, 28), 224, [224, 224]),
        ((30, 40), 224, [240, 320]),
        ((224, 224), 224, [224, 224]),
        ((32, 32), 1, [32, 32]),
        ((1, 4096), 2048, [1, 4096]),
        ((2, 1000), 2048, [8, 4000]),
    ],
)
def test_small_maps_are_enlarged_by_a_whole_factor(size, min_side, expected):
    values = np.random.default_rng(1).normal(size=(1, *size)).astype(np.float32)
    plain, large = files(values), files(values, SMALL.model_copy(update={"min_side": min_side}))
    factor = expected[0] // size[0]
    for quantity in ("heatmap", "overlay"):
        assert large[quantity].shape == expected
        repeated = picture(plain[quantity]).repeat(factor, 0).repeat(factor, 1)
        np.testing.assert_array_equal(picture(large[quantity]), repeated)


def below(values: np.ndarray, overlay: str, color=(100, 150, 200)) -> np.ndarray:
    """The photograph as it lies below a signed map: of few shades."""
    shown = image_for(values, color).convert("RGB" if overlay in {"color", "mask"} else "L").convert("RGB")
    pixels = np.asarray(shown, dtype=float)
    return pixels if overlay == "mask" else 90 + pixels * 100 / 255


@pytest.mark.parametrize("overlay", ["original", "color", "grey", "mask"])
def test_overlays_show_the_image_where_the_map_is_silent(overlay):
    options = SMALL.model_copy(update={"overlay": overlay, "opacity": 1.0})
    values = one_row(0, 1)
    silent, strong = picture(files(values, options)["overlay"])[0].tolist()
    shown = below(values, overlay)[0, 0]
    if overlay == "mask":
        assert silent in ([176] * 3, [208] * 3), "the checks of nothing"
        assert strong == shown.tolist()
    else:
        np.testing.assert_allclose(silent, shown, atol=0.51)
        assert strong == rgb(colors("red_blue", 3)[2]), "the colour of the bar"


def test_weak_values_are_more_transparent():
    options = SMALL.model_copy(update={"overlay": "color", "opacity": 1.0})
    weak, strong = picture(files(one_row(0.5, -1), options, limit=1.0)["overlay"])[0].astype(int)
    of_half, strongest = (np.array(rgb(colors("red_blue", 5)[place])) for place in (3, 0))
    np.testing.assert_allclose(weak, 0.25 * below(one_row(0.5), "color")[0, 0] + 0.75 * of_half, atol=2)
    np.testing.assert_array_equal(strong, strongest)


@pytest.mark.parametrize("overlay", ["original", "color", "grey", "mask"])
def test_opacity_zero_shows_the_image(overlay):
    options = SMALL.model_copy(update={"overlay": overlay, "opacity": 0.0})
    values = one_row(-1, 0, 1)
    np.testing.assert_allclose(picture(files(values, options)["overlay"]), below(values, overlay), atol=0.51)


def test_overlay_none_leaves_it_out():
    assert set(files(one_row(1), SMALL.model_copy(update={"overlay": "none"}))) == {"attributions", "heatmap"}


def test_grey_images_are_drawn_over():
    values = one_row(0, 1)
    rendered = files(values, scene=scene_of(Image.new("L", (2, 1), 80)))
    assert picture(rendered["overlay"])[0, 0].tolist() == [121, 121, 121]


def test_the_same_map_gives_the_same_bytes():
    values = np.random.default_rng(2).normal(size=(3, 16, 16)).astype(np.float32)
    assert files(values) == files(values.copy())


def test_the_guide_names_every_option_and_every_colour_map():
    guide = (Path(__file__).parents[3] / "docs" / "heatmaps.md").read_text(encoding="utf-8")
    for name in [*RenderOptions.model_fields, *COLORMAPS]:
        assert f"`{name}`" in guide or f'"{name}"' in guide, name
    for example in re.findall(r"`(\{.*?\})`", guide):
        RenderOptions.model_validate_json(example)


def test_a_layer_is_drawn_at_its_own_size_and_over_the_image():
    values = np.zeros((1, 2, 2), dtype=np.float32)
    values[0, 0, 0] = 1
    image = Image.new("RGB", (8, 8), (100, 100, 100))
    found = files(values, kind="per_layer", scene=scene_of(image))
    assert found["heatmap"].shape == [2, 2]
    over = picture(found["overlay"])
    assert over.shape == (8, 8, 3)
    assert over[0, 0].tolist() != [129, 129, 129]
    assert over[7, 7].tolist() == [129, 129, 129]
    assert {file.of for file in found.values()} == {None, "attributions"}
    assert found["overlay"].units == "stretched"


def test_values_are_stored_and_not_drawn():
    [file] = render(Shown("layer_values", "values", one_row(1, 2)), 1.0, SMALL)
    assert (file.name, file.media_type, file.shape) == ("layer_values.npy", "application/x-npy", [1, 1, 2])


@pytest.mark.parametrize("image", [0, 255])
def test_a_layers_units_are_drawn_at_the_middle_of_what_they_see(image):
    """Of a stride of 8 from 0.5 on, as a ResNet has it, and not where stretching would put them."""
    values = np.zeros((1, 4, 4), dtype=np.float32)
    values[0, 2, 1] = 1
    lattice = Lattice((0.5, 0.5), (8.0, 8.0), (15.0, 15.0))
    scene = scene_of(Image.new("RGB", (32, 32), (image,) * 3))
    overlay = files(values, kind="per_layer", scene=scene, lattice=lattice)["overlay"]
    to_the_end = np.abs(picture(overlay).astype(int) - rgb(colors("red_blue", 2)[1])).sum(2)
    assert np.unravel_index(to_the_end.argmin(), to_the_end.shape) == (16, 8)
    assert overlay.units == "placed"


@pytest.mark.parametrize(
    ("size", "expected"), [((28, 28), 0.0), ((32, 32), 0.0), ((80, 80), 1.5), ((224, 224), 3.0), ((300, 224), 3.0)]
)
def test_larger_maps_are_smoothed_unless_told_otherwise(size, expected):
    values = np.random.default_rng(3).normal(size=(1, *size)).astype(np.float32)
    automatic, plain = files(values), files(values, SMALL.model_copy(update={"smooth": 0.0}))
    assert (automatic["heatmap"].smooth, automatic["overlay"].smooth) == (expected, expected)
    assert plain["heatmap"].smooth == 0
    assert automatic["attributions"] == plain["attributions"], "raw maps are as they were"
    assert (automatic["heatmap"].content == plain["heatmap"].content) == (expected == 0)
    assert files(values, kind="per_layer")["heatmap"].smooth == 0


def test_smoothing_keeps_the_sum_and_the_place():
    values = np.zeros((1, 65, 65), dtype=np.float32)
    values[0, 20, 40] = 7
    options = SMALL.model_copy(update={"smooth": 2.0})
    plane = plane_of(values, "signed", options)
    assert np.unravel_index(plane.argmax(), plane.shape) == (20, 40)
    np.testing.assert_allclose([plane.sum(), plane.max()], [7, 7 / (2 * np.pi * 4)], rtol=1e-3)


def luminance(pixel) -> float:
    """Relative luminance as the Web Content Accessibility Guidelines define it."""
    parts = np.asarray(pixel, dtype=float) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one, other) -> float:
    darker, brighter = sorted((luminance(one), luminance(other)))
    return (brighter + 0.05) / (darker + 0.05)


COLOURED = [("signed", name) for name in ("red_blue", "purple_green", "brown_teal")] + [
    ("magnitude", name) for name in ("viridis", "inferno", "grey")
]


def drawn_over(kind: str, colormap: str, overlay: str, *values: float) -> list[np.ndarray]:
    """The values over black, middle grey and white."""
    option = "signed_colormap" if kind == "signed" else "magnitude_colormap"
    options = SMALL.model_copy(update={"overlay": overlay, option: colormap})
    row = one_row(*values)
    scenes = (scene_of(image_for(row, (grey,) * 3)) for grey in (0, 128, 255))
    return [picture(files(row, options, kind, 1.0, scene)["overlay"])[0].astype(int) for scene in scenes]


@pytest.mark.parametrize("overlay", ["original", "color", "grey"])
@pytest.mark.parametrize(("kind", "colormap"), COLOURED)
def test_a_value_has_the_colour_of_the_bar_wherever_it_lies(overlay, kind, colormap):
    values = [1, 0.8, 0.5, *((-0.5, -0.8, -1) if kind == "signed" else ())]
    bar = np.array([rgb(text) for text in colors(colormap, 21)])
    expected = [bar[round(10 + 10 * value if kind == "signed" else 20 * value)] for value in values]
    on_black, on_grey, on_white = drawn_over(kind, colormap, overlay, *values)
    for place, value in enumerate(values):
        most, off = (30, 62) if abs(value) == 1 else (60, 78)
        assert np.abs(on_black[place] - on_white[place]).max() <= most
        assert np.ptp(on_white[place] - on_black[place]) <= 2, "lighter or darker, and no other colour"
        for drawn in (on_black, on_grey, on_white):
            assert np.abs(drawn[place] - expected[place]).max() <= off, (value, drawn[place], expected[place])


@pytest.mark.parametrize(("kind", "colormap"), COLOURED[:-1])  # grey on grey is told apart by nothing
def test_a_map_stands_out_from_black_as_from_white(kind, colormap):
    """Distance in colour from the image beside it, at weak and strong values of either sign."""
    values = [0, 0.3, 0.6, 1, *((-0.3, -0.6, -1) if kind == "signed" else ())]
    for row in drawn_over(kind, colormap, "grey", *values):
        for place in range(1, len(values)):
            assert np.linalg.norm(row[place] - row[0]) > 12, (values[place], row[place], row[0])


def test_colours_of_a_photograph_do_not_compete():
    for overlay in ("grey", "original"):
        options = SMALL.model_copy(update={"overlay": overlay})
        drawn = picture(files(one_row(0), options, scene=scene_of(Image.new("RGB", (1, 1), (220, 20, 30))))["overlay"])
        assert np.ptp(drawn) == 0


def test_a_mask_tells_a_black_image_from_nothing():
    options = SMALL.model_copy(update={"overlay": "mask"})
    values = np.zeros((1, 8, 8), dtype=np.float32)
    values[0, 2:4, 2:4] = 1
    drawn = picture(files(values, options, scene=scene_of(Image.new("RGB", (8, 8))))["overlay"])
    assert (drawn[2:4, 2:4] == 0).all(), "black of the image"
    assert min(contrast(drawn[0, 0], (0, 0, 0)), contrast(drawn[0, 1], (0, 0, 0))) > 4
    assert drawn[0, 0].tolist() != drawn[0, 1].tolist(), "a pattern, and no colour of an image"


@pytest.mark.parametrize(
    ("photograph", "box"),
    [((500, 333), (104, 21, 395, 312)), ((60, 40), (10, 0, 50, 40)), ((3000, 5000), (0, 1000, 3000, 4000))],
)
def test_a_map_lies_on_the_photograph_where_its_pixels_come_from(photograph, box):
    """Planted at one pixel of the map; the photograph is enlarged or shrunk so that the map can be seen whole."""
    values = np.zeros((1, 64, 64), dtype=np.float32)
    values[0, 10, 50] = 1
    width, height = photograph
    whole = Image.new("RGB", photograph, (250, 250, 250))
    scene = Scene(Image.new("RGB", (64, 64)), View((height, width), box), lambda: whole)
    options = SMALL.model_copy(update={"overlay": "original", "smooth": 0.0})
    file = files(values, options, scene=scene)["overlay"]
    drawn = picture(file).astype(int)
    factor = drawn.shape[1] / width
    assert max(drawn.shape) <= 2048
    assert file.frame == pytest.approx([edge * factor for edge in box], rel=0.01)
    left, top, right, bottom = file.frame
    change = np.abs(drawn - 188).sum(2)  # the photograph's shade below a signed map
    change[drawn.max(2) - drawn.min(2) < 10] = 0  # grey outside
    rows, columns = change.nonzero()
    weight = change[rows, columns] / change.sum()
    x, y = (columns + 0.5) @ weight, (rows + 0.5) @ weight
    unit = (right - left) / 64
    assert (x, y) == pytest.approx((left + 50.5 * unit, top + 10.5 * (bottom - top) / 64), abs=0.5)
    outside = drawn[0, 0].tolist()
    assert (outside == [158, 158, 158]) == (left > 1 or top > 1), "dimmed where the network saw nothing"


def test_a_legend_says_what_a_map_is_of_and_leaves_it_as_it_was():
    values = np.random.default_rng(4).normal(size=(1, 96, 96)).astype(np.float32)
    title = ("a class with quite a long name, which takes more than one line", "integrated_gradients, attributions")
    plain, told = (files(values, SMALL.model_copy(update={"legend": legend}), title=title) for legend in (False, True))
    for quantity in ("heatmap", "overlay"):
        assert plain[quantity].frame is None
        left, top, right, bottom = (int(edge) for edge in told[quantity].frame)
        page = picture(told[quantity])
        assert list(page.shape[:2]) == told[quantity].shape
        np.testing.assert_array_equal(page[top:bottom, left:right], picture(plain[quantity]))
        assert page.shape[1] >= 224
        assert (page[:top] < 100).any(), "letters above"
        ends = [tuple(rgb(color)) for color in colors("red_blue", 2)]
        below = {tuple(pixel) for pixel in page[bottom:].reshape(-1, 3).tolist()}
        assert below.issuperset(ends), "the colour bar below"


def test_a_picture_keeps_its_pixels_and_is_enlarged_whole():
    values = np.array([[[0.0, 0.2], [1.0, 1.7]]] * 3, dtype=np.float32)
    found = {file.quantity: file for file in render(Shown("seen", "picture", values), 1.0, SMALL)}
    drawn = np.asarray(Image.open(io.BytesIO(found["picture"].content)))
    assert found["picture"].of == "seen"
    assert drawn[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [[0] * 3, [51] * 3, [255] * 3, [255] * 3]
    np.testing.assert_array_equal(np.load(io.BytesIO(found["seen"].content)), values)
