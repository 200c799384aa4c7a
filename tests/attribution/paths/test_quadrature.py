import pytest
import torch

from attribution.errors import InvalidOption
from attribution.paths.quadrature import QUADRATURES, quadrature_rule


@pytest.mark.parametrize("quadrature", QUADRATURES)
@pytest.mark.parametrize("n_steps", [2, 5, 50])
def test_weights_are_those_of_a_mean(quadrature, n_steps):
    rule = quadrature_rule(quadrature, n_steps)
    assert rule.nodes.dtype == rule.weights.dtype == torch.float64
    assert len(rule.nodes) == len(rule.weights) == n_steps
    assert float(rule.weights.sum()) == pytest.approx(1.0, abs=1e-12)
    assert (rule.weights > 0).all()
    assert (rule.nodes.diff() > 0).all()
    assert 0 <= float(rule.nodes[0]) <= float(rule.nodes[-1]) <= 1


@pytest.mark.parametrize(
    ("quadrature", "degree"), [("gauss_legendre", 9), ("trapezoid", 1), ("midpoint", 1), ("right", 0)]
)
def test_exact_up_to_its_degree_and_no_further(quadrature, degree):
    nodes, weights = quadrature_rule(quadrature, 5)
    for power in range(degree + 1):
        assert float((weights * nodes**power).sum()) == pytest.approx(1 / (power + 1), abs=1e-12)
    assert abs(float((weights * nodes ** (degree + 1)).sum()) - 1 / (degree + 2)) > 1e-7


def test_a_trapezoid_has_two_ends():
    with pytest.raises(InvalidOption, match="at least 2"):
        quadrature_rule("trapezoid", 1)
