"""A model whose passes are counted, to hold the cost of figures against."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from torch.nn.modules.module import register_module_forward_hook

from attribution_contracts.identity import ModelIdentity
from attribution_contracts.models import ModelSpec, Preprocessing, Weights
from service.gateway.ready_models import ReadyModel
from workers.models.report import report_on

SIDE = 8
SEEN = Preprocessing(color="grey", size=(SIDE, SIDE), mean=[0.0], std=[1.0])
SPEC = ModelSpec(name="m", architecture="cifar_resnet20", weights=Weights(part="weights"), preprocessing=SEEN)


def ready(network) -> ReadyModel:
    """The network as the gateway knows a model that was checked."""
    return ReadyModel(ModelIdentity(name="m", version="1", sha256="0" * 64), {}, report_on(network, SPEC), {})


@contextmanager
def counted() -> Iterator[Counter]:
    """Counts the images that pass forward and backward through a network whose first layer alone has one channel."""
    passes = Counter()

    def count(module, _, output) -> None:
        if getattr(module, "in_channels", None) != 1:  # the first layer sees every image
            return
        passes["forward"] += len(output)
        if output.requires_grad:
            output.register_hook(lambda gradient: passes.update(backward=len(gradient)))

    hook = register_module_forward_hook(count)
    try:
        yield passes
    finally:
        hook.remove()
