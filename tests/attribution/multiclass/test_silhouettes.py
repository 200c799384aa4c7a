import pytest
import torch

from attribution.multiclass.silhouettes import silhouette
from tests.attribution.methods.slow_multiclass_importance import algorithm_1


@pytest.mark.parametrize("radius", [1, 3, 9])
@pytest.mark.parametrize("threshold", [1.01, 3.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_silhouette_equals_algorithm_1(radius, threshold, dtype):
    maps = torch.rand(2, 2, 7, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    maps[0, 0, 2:4, 1:3] = 0
    maps[1, 1] = 0
    maps[1, 0, 0, 0] = maps[1, 0, -1, -1] = 40
    found = silhouette(maps, radius, threshold)
    for row in range(2):
        assert torch.equal(found[row].double(), algorithm_1(maps[row].double(), radius, threshold))
    assert 0 < int((found > 0).sum()) < int((maps > 0).sum()) or radius == 9
