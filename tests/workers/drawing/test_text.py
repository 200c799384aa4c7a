"""Text is made to fit: nothing is wider than its place, and nothing is left out."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workers.drawing.text import font, inches, shortened, wrapped

LAYER = "features.denseblock1.denselayer12.conv2"


def test_a_layer_breaks_behind_its_dots():
    lines = wrapped(LAYER, 160, 12)
    assert lines == ["features.denseblock1.", "denselayer12.conv2"]


def test_words_break_at_spaces_first():
    assert wrapped("sulphur-crested cockatoo", 130, 12) == ["sulphur-crested", "cockatoo"]
    assert wrapped("one\ntwo", 500, 12) == ["one", "two"]


@settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.text("abc ./_-é", max_size=60), st.integers(30, 300))
def test_lines_are_no_wider_than_told_and_hold_everything(text, width):
    lines = wrapped(text, width, 12)
    assert all(font(12).getlength(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_the_ends_of_a_name_stay():
    assert shortened(LAYER, 21) == "features.d…er12.conv2"
    assert shortened(LAYER, 60) == LAYER


def test_a_line_in_a_chart_is_as_wide_as_matplotlib_draws_it():
    from matplotlib.figure import Figure

    figure = Figure(dpi=288)
    text = figure.text(0, 0, LAYER, fontsize=20)
    drawn = text.get_window_extent(figure._get_renderer()).width / 288
    assert abs(inches(LAYER, 20) - drawn) < 0.03 * drawn
