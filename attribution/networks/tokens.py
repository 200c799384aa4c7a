"""Which tokens of a transformer are patches of the image, operation by operation.

Where the rows and columns of feature maps are merged into one axis, tokens begin; what is put in front of them has no
place. Attention leaves each token where it is, and lets it see all of the image.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from torch import fx, nn

from attribution.networks.grids import Grid, Step, is_pointwise


class Tokens(NamedTuple):
    """The ``axis`` of a tensor, with its batch, along which tokens lie, ``length`` of them.

    From ``first`` on the patches follow, row by row of ``grid``, whose own axes no longer count. ``sees_all`` says
    that attention has mixed them.
    """

    axis: int
    length: int
    first: int
    grid: Grid
    sees_all: bool = False

    @property
    def patches(self) -> int:
        """How many tokens are patches."""
        return self.grid.sizes[0] * self.grid.sizes[1]


def merged_grid(step: Step, grid: Grid, before: tuple[int, ...]) -> Tokens | None:
    """Returns the tokens that a step makes of maps of the shape ``before`` by merging their rows and columns."""
    if step.name not in ("flatten", "reshape", "view") or step.shape is None:
        return None
    axis, last = grid.axes
    if last != axis + 1 or step.shape != (*before[:axis], before[axis] * before[last], *before[last + 1 :]):
        return None
    return Tokens(axis, step.shape[axis], 0, grid)


def tokens_behind(step: Step, sources: Sequence[fx.Node], known: Mapping[fx.Node, Tokens]) -> Tokens | None:
    """Returns the tokens of what a step gives, or nothing where their places are unknown.

    Args:
        step: The operation.
        sources: The tensors of the image that it takes, in order.
        known: Tokens of tensors.
    """
    given = [known[source] for source in sources if source in known]
    if not given:
        return None
    rule = _RULES.get(step.name)
    if rule is not None:
        return rule(step, sources, known)
    # Anything else that the image decides and that has a value for each token may have them in another order.
    unknown = [step.shapes[source] for source in sources if source not in known and source in step.shapes]
    if any(_has_tokens(shape, one) for shape in unknown for one in given):
        return None
    if step.name == "linear" or isinstance(step.module, nn.Linear):
        return _same(step, given[0]) if given[0].axis < len(step.shape or ()) - 1 else None
    dims = {len(step.shapes[source]) for source in sources if source in known and source in step.shapes}
    return _alike(step, given) if is_pointwise(step) and dims == {len(step.shape or ())} else None


def unmerged_grid(step: Step, tokens: Tokens) -> Grid | None:
    """Returns the grid of maps that a step makes of tokens without a prefix by parting rows and columns again."""
    if step.shape is None or step.name not in ("reshape", "view", "unflatten"):
        return None
    axis, sides = tokens.axis, tokens.grid.sizes
    if tokens.length != tokens.patches or len(step.shape) < axis + 2 or step.shape[axis : axis + 2] != sides:
        return None
    return None if tokens.sees_all else tokens.grid._replace(axes=(axis, axis + 1))


def _has_tokens(shape: tuple[int, ...], tokens: Tokens) -> bool:
    return tokens.length in shape[1:]


def _same(step: Step, tokens: Tokens) -> Tokens | None:
    """Returns the tokens behind a step that leaves their axis as it is."""
    if step.shape is None or len(step.shape) <= tokens.axis or step.shape[tokens.axis] != tokens.length:
        return None
    return tokens


def _alike(step: Step, given: Sequence[Tokens]) -> Tokens | None:
    """Returns the tokens of values taken together, which must be the same everywhere."""
    if not all(are_alike(one, given[0]) for one in given):
        return None
    mixes = step.name in ("softmax", "layernorm") and given[0].axis == len(step.shape or ()) - 1
    return _same(step, given[0]._replace(sees_all=mixes or any(one.sees_all for one in given)))


def are_alike(one: Tokens, other: Tokens) -> bool:
    """Returns whether two tensors have the same tokens along the same axis."""
    return _identity(one) == _identity(other)


def _identity(tokens: Tokens) -> tuple[object, ...]:
    grid = tokens.grid
    return tokens.axis, tokens.length, tokens.first, grid.start, grid.stride, grid.sizes


def _first(sources: Sequence[fx.Node], known: Mapping[fx.Node, Tokens]) -> Tokens | None:
    return known.get(sources[0])


def _reshaped(step: Step, sources: Sequence[fx.Node], known: Mapping[fx.Node, Tokens]) -> Tokens | None:
    """Returns the tokens behind a reshape of what lies behind their axis."""
    tokens, before = _first(sources, known), step.shapes.get(sources[0])
    if tokens is None or before is None or step.shape is None:
        return None
    stop = tokens.axis + 1
    return tokens if step.shape[:stop] == before[:stop] else None


def _moved(order: Sequence[int], tokens: Tokens) -> Tokens:
    return tokens._replace(axis=[axis % len(order) for axis in order].index(tokens.axis))


def _permuted(step: Step, sources: Sequence[fx.Node], known: Mapping[fx.Node, Tokens]) -> Tokens | None:
    tokens, order = _first(sources, known), step.says("dims")
    if tokens is None or not isinstance(order, list | tuple) or not all(isinstance(one, int) for one in order):
        return None
    return _moved(order, tokens)


def _swapped(step: Step, sources: Sequence[fx.Node], known: Mapping[fx.Node, Tokens]) -> Tokens | None:
    one, other = step.says("dim0"), step.says("dim1")
    tokens = _first(sources, known)
    if tokens is None or step.shape is None or not isinstance(one, int) or not isinstance(other, int):
        return None
    order = list(range(len(step.shape)))
    order[one], order[other] = order[other], order[one]
    return _moved(order, tokens)


def _axis_moved(step: Step, sources: Sequence[fx.Node], known: Mapping[fx.Node, Tokens]) -> Tokens | None:
    source, destination = step.says("source"), step.says("destination")
    tokens = _first(sources, known)
    if tokens is None or step.shape is None or not isinstance(source, int) or not isinstance(destination, int):
        return None
    order = list(range(len(step.shape)))
    order.insert(destination % len(order), order.pop(source % len(order)))
    return _moved(order, tokens)


def _concatenated(step: Step, sources: Sequence[fx.Node], known: Mapping[fx.Node, Tokens]) -> Tokens | None:
    """Returns the tokens with others in front or behind, which have no place."""
    parts, axis = step.says("tensors"), step.says("dim", 0)
    given = [known[source] for source in sources if source in known]
    if len(given) != 1 or not isinstance(parts, list | tuple) or not isinstance(axis, int) or step.shape is None:
        return None
    tokens = given[0]
    if axis % len(step.shape) != tokens.axis:
        return None
    before = 0
    for part in parts:
        if part in known:
            return tokens._replace(length=step.shape[tokens.axis], first=before + tokens.first)
        shape = step.shapes.get(part)
        if shape is None:
            return None
        before += shape[tokens.axis]
    return None


def _sliced(step: Step, sources: Sequence[fx.Node], known: Mapping[fx.Node, Tokens]) -> Tokens | None:
    """Returns the tokens of a part, as ``x[:, 1:]``, or of one of several tensors."""
    tokens, index = _first(sources, known), step.says("index")
    if tokens is None or step.shape is None:
        return None
    if isinstance(index, int):
        # One of several tensors; of a single one it would take an image, or its first axis.
        return None if sources[0] in step.shapes else _same(step, tokens)
    one = index if isinstance(index, tuple) else (index,)
    dropped = 0
    for axis, part in enumerate(one):
        if isinstance(part, int) and axis < tokens.axis:
            dropped += 1
        elif not isinstance(part, slice) or part.step not in (None, 1):
            return None
        elif axis == tokens.axis:
            start, stop, _ = part.indices(tokens.length)
            if start > tokens.first or stop < tokens.first + tokens.patches:
                return None
            tokens = tokens._replace(first=tokens.first - start, length=stop - start)
    return tokens._replace(axis=tokens.axis - dropped)


def _parted(step: Step, sources: Sequence[fx.Node], known: Mapping[fx.Node, Tokens]) -> Tokens | None:
    """Returns the tokens of each of several parts along another axis."""
    tokens, axis = _first(sources, known), step.says("dim", 0)
    before = step.shapes.get(sources[0])
    if tokens is None or before is None or not isinstance(axis, int):
        return None
    axis %= len(before)
    if axis == tokens.axis:
        return None
    return tokens._replace(axis=tokens.axis - (step.name == "unbind" and axis < tokens.axis))


def _attended(_: Step, sources: Sequence[fx.Node], known: Mapping[fx.Node, Tokens]) -> Tokens | None:
    """Returns the tokens behind attention: those that ask, where what they ask are the same."""
    given = [known.get(source) for source in sources[:3]]
    query = given[0]
    if query is None or any(one is None or not are_alike(one, query) for one in given):
        return None
    return query._replace(sees_all=True)


def _multiplied(step: Step, sources: Sequence[fx.Node], known: Mapping[fx.Node, Tokens]) -> Tokens | None:
    """Returns the tokens that are the rows of a product of matrices: those of its first factor, by the same others."""
    tokens = _first(sources, known)
    if tokens is None or step.shape is None or tokens.axis != len(step.shape) - 2:
        return None
    others = [known.get(source) for source in sources[1:]]
    if any(other is None or _identity(other)[1:] != _identity(tokens)[1:] for other in others):
        return None
    return tokens._replace(sees_all=True) if step.shape[tokens.axis] == tokens.length else None


_Rule = Callable[[Step, Sequence[fx.Node], Mapping[fx.Node, Tokens]], Tokens | None]
_RULES: dict[str, _Rule] = {
    "reshape": _reshaped,
    "view": _reshaped,
    "flatten": _reshaped,
    "unflatten": _reshaped,
    "permute": _permuted,
    "transpose": _swapped,
    "swapaxes": _swapped,
    "movedim": _axis_moved,
    "cat": _concatenated,
    "concat": _concatenated,
    "getitem": _sliced,
    "chunk": _parted,
    "split": _parted,
    "unbind": _parted,
    "scaleddotproductattention": _attended,
    "multiheadattention": _attended,
    "matmul": _multiplied,
    "bmm": _multiplied,
}
