"""Where a training got to, as tensors from which it goes on as if it had never stopped."""

from collections.abc import Sequence

import torch
from torch import nn

from attribution.errors import InvalidInput

_MODULE, _RANDOM = "module.", "random."


def checkpoint(
    module: nn.Module, optimiser: torch.optim.Optimizer, losses: Sequence[float], accuracies: Sequence[float]
) -> dict[str, torch.Tensor]:
    """Returns weights, the optimiser's state, the history and the state of torch's generators, copied to the CPU.

    Every value has a name and is contiguous, as safetensors wants it.
    """
    found = {_MODULE + name: tensor for name, tensor in module.state_dict().items()}
    for number, state in optimiser.state_dict()["state"].items():
        found |= {f"{_kind(optimiser)}{number}.{name}": value for name, value in state.items() if value is not None}
    found |= {_RANDOM + device: state for device, state in _random_states(module).items()}
    found["losses"] = torch.tensor(losses, dtype=torch.float64)
    found["accuracies"] = torch.tensor(accuracies, dtype=torch.float64)
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in found.items()}


def resume(
    stored: dict[str, torch.Tensor], module: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[list[float], list[float]]:
    """Puts module, optimiser and torch's generators into the state that a checkpoint holds.

    Returns:
        The losses and accuracies so far.

    Raises:
        InvalidInput: It is no checkpoint of this module and optimiser.
    """
    try:
        module.load_state_dict(_named(stored, _MODULE))
        state = _optimiser_state(stored, optimiser)
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
        history = stored["losses"].tolist(), stored["accuracies"].tolist()
        for device, value in _named(stored, _RANDOM).items():
            _set_random_state(device, value, module)
    except (LookupError, ValueError, RuntimeError) as error:
        raise InvalidInput(f"the checkpoint does not fit this training: {error}") from error
    return history


def _kind(optimiser: torch.optim.Optimizer) -> str:
    return f"{type(optimiser).__name__}."


def _optimiser_state(
    stored: dict[str, torch.Tensor], optimiser: torch.optim.Optimizer
) -> dict[int, dict[str, torch.Tensor]]:
    """Returns the state of each parameter by number.

    Raises:
        ValueError: It is that of other parameters, which torch would only find out in the next step.
    """
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    found: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in _named(stored, _kind(optimiser)).items():
        number, _, own = name.partition(".")
        shape = parameters[int(number)].shape
        if value.dim() and value.shape != shape:
            raise ValueError(f"{own} of parameter {number} has shape {tuple(value.shape)}, expected {tuple(shape)}")
        found.setdefault(int(number), {})[own] = value
    if not found:
        raise ValueError(f"there is no state of {type(optimiser).__name__}")
    return found


def _named(stored: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in stored.items() if name.startswith(prefix)}


def _random_states(module: nn.Module) -> dict[str, torch.Tensor]:
    device = next(module.parameters()).device
    return {"cpu": torch.get_rng_state()} | (
        {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
    )


def _set_random_state(kind: str, state: torch.Tensor, module: nn.Module) -> None:
    """Sets a generator's state; that of a device which this training does not use has no meaning here."""
    device = next(module.parameters()).device
    if kind == "cpu":
        torch.set_rng_state(state)
    elif device.type == kind:
        torch.cuda.set_rng_state(state, device)
