"""From the name of an architecture to a network without weights."""

import contextlib
import functools
import importlib
import inspect
import math
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType

import torch
import torchvision
from torch import nn
from torch.overrides import TorchFunctionMode

from attribution.architectures import cifar_resnet, mnist_cnn, small_vit, two_class_head
from attribution_contracts.hints import closest
from attribution_contracts.models import ModelSpec, Preprocessing
from storage.operator_config import where_to_mend
from workers.problems import InvalidModel

Factories = Mapping[str, str]
"""The operator's own architectures: name -> `package.module:function`."""

MAX_PARAMETERS = 700_000_000
REFUSED = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a builder raises over a value that it cannot use."""


def build(spec: ModelSpec, factories: Factories, *, max_parameters: int = MAX_PARAMETERS) -> nn.Module:
    """The network of a specification, its parameters on the `meta` device where nothing is allocated.

    Only what an operator's factory builds is allocated, for its code may read what it made.

    Raises:
        InvalidModel: The architecture or an option does not exist, the builder refuses the options, or the network
            has more parameters than allowed.
    """
    family, _, name = spec.architecture.partition(":")
    if family == "factory":
        module = _called(_factory(name, factories), spec.options)
    else:
        with _Unallocated():
            builder = _torchvision(name) if family == "torchvision" else _ours(family, spec.preprocessing)
            module = _called(builder, spec.options)
    if not isinstance(module, nn.Module):
        raise InvalidModel(f"{spec.architecture} must build a torch.nn.Module, it returned {type(module).__name__}")
    return _modest(module, max_parameters)


class _Unallocated(TorchFunctionMode):
    """Makes parameters on the `meta` device and leaves other tensors alone.

    `torch.device("meta")` moves every tensor, and builders that read a number from one (RegNet's) fail under it.
    """

    PARAMETERS = frozenset({torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn})

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Iterable[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        placed = {"device": "meta"} if func in self.PARAMETERS else {}
        return func(*args, **{**(kwargs or {}), **placed})


def torchvision_builder(name: str) -> Callable[..., nn.Module]:
    """The builder of a classifier of torchvision.

    Raises:
        InvalidModel: There is no such classifier.
    """
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise InvalidModel(f"torchvision has no classifier {name!r}: {closest(name, sorted(known))}")
    builder: Callable[..., nn.Module] = torchvision.models.get_model_builder(name)
    return builder


def _torchvision(name: str) -> Callable[..., nn.Module]:
    builder = torchvision_builder(name)
    network = inspect.signature(builder).return_annotation
    # Weights are loaded afterwards: initial values, which some networks take long to draw, would be thrown away.
    given = {"init_weights": False} if "init_weights" in inspect.signature(network).parameters else {}
    bare = functools.partial(builder, weights=None, **given)
    scalars = {option: kinds for option, kinds in _scalar_keywords(network).items() if option not in given}
    fixed = {option for option in scalars if _is_fixed(bare, option)}
    taken = {option: kinds for option, kinds in scalars.items() if option not in fixed}
    ours = ", or of small_vit, whose size follows the image's" if name.startswith("vit_") else ""
    other = f"a network of another structure is one of a factory that the operator adds (`factory:NAME`){ours}"
    return _described(bare, taken, dict.fromkeys(fixed, f"torchvision's {name} sets it itself; {other}"))


class _BuildingError(Exception):
    """A builder has come as far as its first tensor."""


class _Unbuilt(TorchFunctionMode):
    """Ends a builder before anything is made."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Iterable[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        raise _BuildingError


def _is_fixed(builder: Callable[..., nn.Module], option: str) -> bool:
    """Whether a builder that hands its keywords on says one of them itself, so that nobody else can."""
    try:
        with contextlib.suppress(_BuildingError), _Unbuilt():
            builder(**{option: 1})
    except REFUSED as error:
        return isinstance(error, TypeError) and "multiple values" in str(error)
    return False


def _mnist_cnn(preprocessing: Preprocessing, num_classes: int = 10) -> nn.Module:
    return mnist_cnn(preprocessing.channels, num_classes, preprocessing.size)


def _cifar_resnet(depth: int, preprocessing: Preprocessing, num_classes: int = 10) -> nn.Module:
    return cifar_resnet(depth, preprocessing.channels, num_classes)


def _small_vit(preprocessing: Preprocessing, num_classes: int = 10) -> nn.Module:
    height, width = preprocessing.size
    if height != width:
        raise InvalidModel(f"small_vit looks at squares; size is {height} x {width}: give the same side twice")
    found: nn.Module = small_vit(preprocessing.channels, num_classes, height)
    return found


def _two_class_head(
    preprocessing: Preprocessing, backbone: str = "vgg19", hidden: int = 64, dropout: float = 0.5
) -> nn.Module:
    input_shape = (preprocessing.channels, *preprocessing.size)
    return two_class_head(_torchvision(backbone)(), input_shape, hidden, dropout)


OURS: dict[str, Callable[..., nn.Module]] = {
    "mnist_cnn": _mnist_cnn,
    "cifar_resnet20": functools.partial(_cifar_resnet, 20),
    "cifar_resnet32": functools.partial(_cifar_resnet, 32),
    "cifar_resnet44": functools.partial(_cifar_resnet, 44),
    "cifar_resnet56": functools.partial(_cifar_resnet, 56),
    "small_vit": _small_vit,
    "two_class_head": _two_class_head,
}
"""Our architectures: what their builders take after the preprocessing are the options of a specification."""


def _ours(name: str, preprocessing: Preprocessing) -> Callable[..., nn.Module]:
    if name not in OURS:
        raise InvalidModel(f"there is no architecture {name!r}: {closest(name, sorted(OURS))}")
    return _described(functools.partial(OURS[name], preprocessing), _scalar_keywords(OURS[name]))


def broken_factories(factories: Factories) -> Iterator[str]:
    """What is said of factories that cannot be imported here, which are all imported to find out."""
    for name in factories:
        try:
            _imported(name, factories)
        except InvalidModel as error:
            yield str(error)


def _factory(name: str, factories: Factories) -> Callable[..., nn.Module]:
    factory = _imported(name, factories)
    keywords: dict[str, frozenset[type]] = dict.fromkeys(inspect.signature(factory).parameters, frozenset())
    return _described(factory, keywords | _scalar_keywords(factory))


def _imported(name: str, factories: Factories) -> Callable[..., nn.Module]:
    """The function of a factory; another worker, set up otherwise, may have what this one has not."""
    if name not in factories:
        raise InvalidModel(
            f"the worker's ATTRIBUTION_CONFIG_FILE has no factory {name!r}: {closest(name, sorted(factories))}; the "
            "operator starts gateways and workers with the same file",
            retryable=True,
        )
    module, _, function = factories[name].partition(":")
    try:
        imported = importlib.import_module(module)
    except Exception as error:
        remedy = where_to_mend(module) if isinstance(error, ModuleNotFoundError) else f"mend the module {module!r}"
        reason = f"{type(error).__name__}: {error}"
        said = f"the factory {name!r} cannot be imported by the worker ({reason}): {remedy}"
        raise InvalidModel(said, retryable=True) from error
    found: Callable[..., nn.Module] | None = getattr(imported, function, None)
    if found is None:
        raise InvalidModel(
            f"the factory {name!r} cannot be imported by the worker: the module {module!r} has no {function!r}; "
            f"{closest(function, [one for one in vars(imported) if not one.startswith('_')])}: mend `factories` in "
            "ATTRIBUTION_CONFIG_FILE, or the module",
            retryable=True,
        )
    return found


_KINDS: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def _described(
    builder: Callable[..., nn.Module],
    keywords: Mapping[str, frozenset[type]],
    fixed: Mapping[str, str] = MappingProxyType({}),
) -> Callable[..., nn.Module]:
    """The builder, refusing keywords that it does not have, and values that are of no kind that they take.

    Args:
        builder: What builds.
        keywords: What may be said, and of which kinds.
        fixed: What is said of keywords that nobody may say, though the network has them.
    """

    def refuse_unknown(**options: object) -> nn.Module:
        for name, value in options.items():
            if name in fixed:
                takes = ", ".join(map(repr, sorted(keywords)))
                raise InvalidModel(f"option {name!r} of the architecture is no choice: {fixed[name]}; it takes {takes}")
            if name not in keywords:
                raise InvalidModel(f"the architecture has no option {name!r}: {closest(name, sorted(keywords))}")
            if (kinds := keywords[name]) and type(value) not in kinds | ({int} if float in kinds else set()):
                expected = " or ".join(sorted(_KINDS[kind] for kind in kinds))
                raise InvalidModel(f"option {name!r} of the architecture: expected {expected}, given {value!r}")
        return builder(**options)

    return refuse_unknown


def _called(builder: Callable[..., nn.Module], options: Mapping[str, object]) -> nn.Module:
    try:
        return builder(**options)
    except REFUSED as error:
        raise InvalidModel(f"the architecture cannot be built with the options {dict(options)}: {error}") from error


def _scalar_keywords(builder: Callable[..., object]) -> dict[str, frozenset[type]]:
    """The parameters of a builder that a JSON scalar can be, and which kinds of it."""
    parameters = inspect.signature(builder).parameters.values()
    kinds = {one.name: {one.annotation, *typing.get_args(one.annotation)} & set(_KINDS) for one in parameters}
    return {name: frozenset(found) for name, found in kinds.items() if found}


def _modest(module: nn.Module, max_parameters: int) -> nn.Module:
    count = sum(math.prod(parameter.shape) for parameter in module.parameters())
    if count > max_parameters:
        raise InvalidModel(f"the network has {count:,} parameters, at most {max_parameters:,} are allowed")
    return module
