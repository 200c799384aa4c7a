"""Values of libraries that no test process loads, recorded by `benchmarks/peers.py --print`."""

import pytest
import torch

import attribution
from attribution import Network, segments
from tests.attribution.tiny_models import SHAPE, images, tiny_model

TARGET = torch.tensor([0, 2, 1])
#: pytorch-grad-cam 1.5.7, before any rectifier or scaling: the diagonal of each image's map of `conv2` of the residual
#: network. Grad-CAM++ is left out, for there it adds 1e-6 to a divisor that is hardly larger.
OF_GRAD_CAM = {
    "grad_cam": [
        [0.00157163656247, 0.00426795615826, 0.00566542075387, 0.00436916251307, 0.00350352978947, 0.00162357220425],
        [
            -0.00171811721109,
            -0.00183870164193,
            -0.0018902997987,
            -0.00305082917124,
            -0.00213013908722,
            -0.00116506016022,
        ],
        [
            0.000350468231877,
            -0.000973595939171,
            0.000853985729579,
            -0.000145471329295,
            0.00012737702602,
            -0.000850980230341,
        ],
    ],
    "hires_cam": [
        [-0.00141910008058, 0.0225917547878, 0.0623490086968, 0.000295875621484, -0.01802213415, -0.00624608181745],
        [
            -0.00524095723195,
            -0.00448550324741,
            -0.00338479617633,
            -0.00165324981171,
            -0.0228007833839,
            -0.0188788259647,
        ],
        [-0.0219430246492, -0.000444804367758, -0.00790853848647, 0.0200356698944, 0.0120495976391, -0.0127296082322],
    ],
    "layer_cam": [
        [0, 0.0160582787456, 0.0322810087587, 0.0137436664439, -0.0118261326139, -0.00624608181745],
        [0, -0.00448550324741, -0.00338479617633, -0.00165324981171, 0, -0.00841453770482],
        [-0.0168201210877, -0.000444804367758, 0, 0.0196923127095, 0.0120495976391, 0.000825309301697],
    ],
    "x_grad_cam": [
        [0.0015031420887, 0.0053183131115, 0.00695943759474, 0.00359687789457, 0.00427498206824, 0.00133671013536],
        [
            0.000592761935561,
            -0.00113049322657,
            7.09582035269e-05,
            -0.00178399077816,
            0.000354154606963,
            -0.00153239994946,
        ],
        [
            -0.00422100015143,
            -0.00161949589331,
            -0.00329137876396,
            -0.00157849960888,
            -0.00493091621897,
            -0.000753855646746,
        ],
    ],
}
#: shap 0.51.0, its exact explainer: nine segments of each image, all of them hidden as reference.
OF_SHAP = [
    [
        -0.0146655555523,
        -0.0799208757663,
        -0.0714236258591,
        0.0325830592522,
        -0.215530102594,
        0.00320712139506,
        -0.029975231232,
        0.0732622231131,
        0.136470011028,
    ],
    [
        -0.0479441441902,
        -0.0652772547448,
        0.0612311491738,
        0.149958203111,
        0.0535569989119,
        0.0642821236572,
        0.0626126503929,
        0.113618870977,
        0.0112262551146,
    ],
    [
        0.0258770767999,
        -0.0110200651421,
        0.0658703826612,
        -0.0771365547763,
        -0.045748327462,
        -0.0138270512475,
        0.0212039875626,
        0.0268350030168,
        0.0570300218521,
    ],
]


@pytest.mark.parametrize("variant", OF_GRAD_CAM)
def test_cam_is_that_of_pytorch_grad_cam(variant):
    network = Network(tiny_model("residual"), SHAPE)
    found = attribution.cam(network, images(), TARGET, variants=[variant], layers=["conv2"]).maps[variant]["conv2"]
    expected = torch.tensor(OF_GRAD_CAM[variant], dtype=torch.float64)
    torch.testing.assert_close(found.diagonal(dim1=1, dim2=2), expected, rtol=1e-6, atol=1e-10)


def test_values_of_segments_are_those_of_shap():
    inputs = images()
    found = attribution.segment_shapley(
        Network(tiny_model("smooth"), SHAPE),
        inputs,
        TARGET,
        segments=segments.grid(6, 6, 3, 3).unsqueeze(0),
        baseline=torch.zeros_like(inputs[:1]),
    )
    torch.testing.assert_close(found.values, torch.tensor(OF_SHAP, dtype=torch.float64), rtol=1e-8, atol=1e-11)
