"""Classifiers of torchvision and timm with random weights, none of whose parts is the identity."""

import timm
import torch
import torchvision
from torch import nn

N_CLASSES = 5
#: More than 150 million parameters.
TOO_LARGE = ("convnext_large", "regnet_y_128gf", "vit_h_14", "vit_l_16", "vit_l_32")
_CONVOLUTIONAL = """
    resnet18d resnet50_gn resnext50_32x4d res2net50_26w_4s resnest14d seresnet18 skresnet18 ecaresnet26t resnetv2_50
    legacy_seresnet18 dla34 densenet121 ese_vovnet19b_dw hrnet_w18_small hardcorenas_a efficientnet_lite0
    tf_efficientnetv2_b0 mobilenetv2_050 mobilenetv3_small_050 mobilenetv4_conv_small_050 ghostnet_050
    ghostnetv2_100 tinynet_e mnasnet_small fbnetc_100 mixnet_s repvgg_a0 mobileone_s0 regnety_002 regnetz_005
    dm_nfnet_f0 nf_regnet_b0 rexnet_100 legacy_xception xception41p inception_v4 inception_resnet_v2 dpn68
    selecsls42b cspdarknet53 convnext_atto convnextv2_atto repghostnet_050 lcnet_050 starnet_s1 hgnetv2_b0 tresnet_m
    gernet_s fasternet_t0 inception_next_atto convmixer_768_32 vgg11_bn
"""
#: And mixers and hybrids.
_TRANSFORMERS = """
    vit_tiny_patch16_224 deit_tiny_distilled_patch16_224 swin_tiny_patch4_window7_224 mixer_s16_224 poolformer_s12
    levit_128s coatnet_pico_rw_224 efficientformer_l1 mobilevit_xxs fastvit_t8 convit_tiny xcit_nano_12_p16_224
    davit_tiny pvt_v2_b0 repvit_m0_9
"""
#: What constructors and forward passes raise at a size that they do not take.
_UNFIT = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def networks() -> list[tuple[str, str]]:
    """All of them, by library and name."""
    names = torchvision.models.list_models(module=torchvision.models)
    own = [("torchvision", name) for name in names if name not in TOO_LARGE]
    return own + [("timm", name) for name in (_CONVOLUTIONAL + _TRANSFORMERS).split()]


def constructed(library: str, name: str, side: int) -> nn.Module:
    """A module for images of a size, where its constructor asks for one.

    Raises:
        ValueError: They would be a single patch, which has nothing to attend to.
    """
    if library == "torchvision":
        options = {"image_size": side} if name.startswith("vit_") else {}
        if options and side < 2 * int(name.rpartition("_")[2]):
            raise ValueError(f"{side} pixels are a single patch")
        if name in ("googlenet", "inception_v3"):
            options["init_weights"] = True
        return torchvision.models.get_model(name, num_classes=N_CLASSES, **options)  # type: ignore[no-any-return]
    try:
        module: nn.Module = timm.create_model(name, num_classes=N_CLASSES, img_size=side)
    except TypeError:
        module = timm.create_model(name, num_classes=N_CLASSES)
    return module


def draw_constants(module: nn.Module) -> None:
    """Draws parameters whose values are all alike: scales of one, biases, layer scales and heads of zero."""
    for parameter in module.parameters():
        values = parameter.data
        if values.numel() and bool((values == values.flatten()[0]).all()):
            small = float(values.abs().max()) < 1e-3
            values.copy_(torch.randn_like(values) / 10 if small else values * (0.5 + torch.rand_like(values)))


def draw_statistics(module: nn.Module, shape: tuple[int, int, int]) -> None:
    """Gives batch norms the mean of noise, and for a variance its second moment.

    With the variance alone deep networks are chaotic: each norm amplifies what little images differ in.
    """
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train().momentum = 1.0
    with torch.no_grad():
        module(torch.randn(64, *shape, dtype=torch.float64))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval().momentum = momentum
        mean, variance = norm.running_mean, norm.running_var
        if mean is not None and variance is not None:
            variance.add_(mean.square())


def built(library: str, name: str) -> tuple[nn.Module, tuple[int, int, int]]:
    """A network with random weights, and the smallest images that it takes.

    Raises:
        RuntimeError: It takes none.
    """
    failure: Exception | None = None
    for side in range(32, 257, 32):
        torch.manual_seed(0)
        shape = (3, side, side)
        try:
            module = constructed(library, name, side).double().eval()
            draw_constants(module)
            draw_statistics(module, shape)
            with torch.no_grad():
                outputs = module(torch.randn(2, *shape, dtype=torch.float64))
        except _UNFIT as error:
            failure = error
            continue
        if outputs.shape == (2, N_CLASSES) and bool(outputs.isfinite().all()):
            return module, shape
    raise RuntimeError(f"no size up to 256 fits {name}") from failure
