"""Any classifier of timm as an architecture, for the operator's configuration file beside it."""

import timm
from torch import nn


def classifier(name: str, num_classes: int = 1000) -> nn.Module:
    """A network of timm by its name, without weights: these come from the file that is registered.

    Raises:
        ValueError: timm has no network of that name; names of hubs, which would fetch one, are none.
    """
    if name not in timm.list_models():
        raise ValueError(f"timm has no network {name!r}; timm.list_models() names those that there are")
    module: nn.Module = timm.create_model(name, num_classes=num_classes, pretrained=False)
    return module
