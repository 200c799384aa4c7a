"""How each method is asked of each library: ``(module, images, baseline, target)`` to a map of the images."""

import contextlib
import importlib.util
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import captum.attr
import torch
from support.trap_networks import N_CLASSES, SHAPE
from support.trap_truths import NODES, second_convolution
from torch import nn

import attribution
from attribution import Network

Explain = Callable[[nn.Module, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
EPSILON = 1e-10
_PACKAGES = {"torch": "torch", "Captum": "captum", "Zennit": "zennit", "grad-cam": "pytorch_grad_cam", "shap": "shap"}
_DISTRIBUTIONS = {"grad-cam": "grad-cam"}


def installed() -> dict[str, str]:
    """The libraries that are there, with their versions."""
    found = [name for name, package in _PACKAGES.items() if importlib.util.find_spec(package) is not None]
    return {name: version(_DISTRIBUTIONS.get(name, _PACKAGES[name])) for name in found}


def _ours(method: str, **options: Any) -> Explain:
    def explain(module: nn.Module, images: torch.Tensor, baseline: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        compared = dict.fromkeys(_COMPARED.get(method, ()), baseline)
        found = getattr(attribution, method)(Network(module, SHAPE), images, target, **compared, **options)
        return found[0]  # type: ignore[no-any-return]

    return explain


_COMPARED = {"integrated_gradients": ["baseline"], "deeplift": ["background"]}


def _our_cam(module: nn.Module, images: torch.Tensor, _: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    network = Network(module, SHAPE)
    layer = [layer.name for layer in network.report().layers if layer.kind == "conv"][1]
    return attribution.cam(network, images, target, layers=[layer]).maps["grad_cam"][layer][:, None]


def _captum(name: str, **options: Any) -> Explain:
    """One that is asked with a target alone."""

    def explain(module: nn.Module, images: torch.Tensor, _: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return getattr(captum.attr, name)(module).attribute(images.requires_grad_(), target=target, **options)  # type: ignore[no-any-return]

    return explain


def _captum_against(name: str, **options: Any) -> Explain:
    """One that compares with a baseline."""

    def explain(module: nn.Module, images: torch.Tensor, baseline: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        found = getattr(captum.attr, name)(module)
        return found.attribute(images, baseline.expand_as(images).clone(), target=target, **options)  # type: ignore[no-any-return]

    return explain


def _captum_cam(module: nn.Module, images: torch.Tensor, _: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    peer = captum.attr.LayerGradCam(module, second_convolution(module))
    return peer.attribute(images, target=target, relu_attributions=False)  # type: ignore[no-any-return]


def _zennit(composite: Callable[[], Any], *, of_value: bool = False) -> Explain:
    """Relevance begins with the output's value, a gradient with one."""

    def explain(module: nn.Module, images: torch.Tensor, _: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        from zennit.attribution import Gradient

        chosen = torch.eye(N_CLASSES, dtype=images.dtype)[target]
        with Gradient(model=module, composite=composite()) as peer:
            return peer(images, lambda output: chosen * (output if of_value else 1))[1]  # type: ignore[no-any-return]

    return explain


def _epsilon() -> Any:
    from zennit.composites import LayerMapComposite
    from zennit.rules import Epsilon, Pass
    from zennit.torchvision import SequentialMergeBatchNorm
    from zennit.types import Activation, Linear

    return LayerMapComposite([(Activation, Pass()), (Linear, Epsilon(EPSILON))], [SequentialMergeBatchNorm()])


def _named(name: str) -> Callable[[], Any]:
    def composite() -> Any:
        import zennit.composites

        return getattr(zennit.composites, name)()

    return composite


def _grad_cam(module: nn.Module, images: torch.Tensor, _: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Its raw map, before the rectifier and the scaling of each image."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    kept = list[torch.Tensor]()
    with GradCAM(model=module, target_layers=[second_convolution(module)]) as peer:
        whole = peer.get_cam_image

        def keep(*given: Any, **named: Any) -> Any:
            kept.append(torch.from_numpy(whole(*given, **named)))
            return whole(*given, **named)

        peer.get_cam_image = keep
        peer(images, [ClassifierOutputTarget(int(of)) for of in target])
    return kept[0][:, None]


def _shap_deep(module: nn.Module, images: torch.Tensor, baseline: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    import shap

    with contextlib.redirect_stdout(None):
        found = shap.DeepExplainer(module, baseline).shap_values(images)
    values = torch.from_numpy(found)
    return values[torch.arange(len(images)), ..., target]


METHODS: dict[str, dict[str, Explain]] = {
    "saliency": {"ours": _ours("saliency", signed=True), "Captum": _captum("Saliency", abs=False)},
    "input_x_gradient": {"ours": _ours("input_x_gradient"), "Captum": _captum("InputXGradient")},
    "integrated_gradients": {
        "ours": _ours("integrated_gradients", n_steps=NODES, quadrature="gauss_legendre"),
        "Captum": _captum_against("IntegratedGradients", n_steps=NODES, method="gausslegendre"),
    },
    "guided_backprop": {
        "ours": _ours("guided_backprop"),
        "Captum": _captum("GuidedBackprop"),
        "Zennit": _zennit(_named("GuidedBackprop")),
    },
    "deconvolution": {
        "ours": _ours("deconvolution"),
        "Captum": _captum("Deconvolution"),
        "Zennit": _zennit(_named("DeconvNet")),
    },
    "deeplift": {"ours": _ours("deeplift"), "Captum": _captum_against("DeepLift"), "shap": _shap_deep},
    "lrp": {
        "ours": _ours("lrp", rule="epsilon", epsilon=EPSILON),
        "Captum": _captum("LRP"),
        "Zennit": _zennit(_epsilon, of_value=True),
    },
    "cam": {"ours": _our_cam, "Captum": _captum_cam, "grad-cam": _grad_cam},
}
"""By id of the method and name of the library."""
