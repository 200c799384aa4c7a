"""A module made ready to be explained: copied, traced, run on probes and measured; once for all that it explains."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress

import torch
from torch import fx, nn

from attribution.errors import NetworkError, OutOfMemory, OverBudget
from attribution.memory import is_out_of_memory
from attribution.networks.agreement import agreement, in_parts, repeats
from attribution.networks.copies import FrozenCopy, evaluating, frozen_copy, require_unchanged, shared_copy, unwrapped
from attribution.networks.estimates import activation_bytes
from attribution.networks.forms import (
    Form,
    NetworkRefuses,
    first_apart,
    form_of,
    graph_agreement,
    outputs_of,
    require_logits,
    with_placements,
)
from attribution.networks.graph import NotTraceable, tolerate_layouts, traced
from attribution.networks.hooks import forward_hooks, without_hooks
from attribution.networks.inplace import make_out_of_place
from attribution.networks.lattices import Placement
from attribution.networks.layers import named_layers, observed, rows_first, whole_batch
from attribution.networks.link import Link
from attribution.networks.measures import Check, measured
from attribution.networks.norms import StoredStatistics, rewrite_batch_norms
from attribution.networks.outputs_only import OutputsOnly
from attribution.networks.places import unmoved_dice
from attribution.networks.probes import RANGES, probes

#: What the measures take, and what a forward and backward pass takes, of what a forward pass of one image computes.
_MEASURES, _ONE_PASS = 6, 2
#: Sides of smaller images are a multiple of this, which pools and windows like.
_MULTIPLE = 32


class Prepared:
    """A frozen copy of a module, what it is for inputs of each size, and what it was measured to do.

    Attributes:
        copied: The copy, and what became of its hooks and computed weights.
        dtype: Of its first parameter, or the one that a module known by its outputs takes; nothing where it has none.
        device: The same.
        form: What the network is for inputs of the size that was met last.
        link: What makes probabilities of its outputs, once that was told or found out.
        checks: What was measured.
        no_gradients: Why there are no gradients to explain with, of the size that was met last.
    """

    def __init__(
        self, module: nn.Module, link: Link | None, checks: Sequence[Check] | None, budget: int | None
    ) -> None:
        """Copies and traces a module; nothing of it is run yet."""
        self._budget = budget
        # Kept until it has run, for what its hooks do and what it computes is seen by running it.
        self._original: nn.Module | None = unwrapped(module)
        self.form: Form
        self._forms: dict[tuple[int, ...], Form] = {}
        self._values: str | None = None
        # With hooks that compute weights still in place, to see whether they compute others for images of another size.
        self._hooked: nn.Module | None = None
        self.link, self.checks = link, None if checks is None else tuple(checks)
        self.no_gradients = next((check.detail for check in checks or () if check.verdict == "refused"), None)
        # What others have measured of the same weights is believed, for all sizes.
        self._measures = checks is None
        self._take()
        weights = [tensor for tensor in self.module.parameters() if tensor.is_floating_point()]
        # Most of the weights decide: a single scale may be kept in more digits.
        sizes = Counter[tuple[torch.dtype, torch.device]]()
        for tensor in weights:
            sizes[tensor.dtype, tensor.device] += tensor.numel()
        own = self.module.dtype if isinstance(self.module, OutputsOnly) else None
        most = next((kind for kind, _ in sizes.most_common(1)), (own, None))
        self.dtype: torch.dtype | None = most[0]
        self.device: torch.device | None = most[1]

    @property
    def module(self) -> nn.Module:
        """The frozen copy."""
        return self.copied.module

    @property
    def graph(self) -> fx.GraphModule | None:
        """The graph for inputs of the size that was met last."""
        return self.form.graph

    @property
    def names(self) -> dict[fx.Node, str]:
        """The layer's name of each node that is one."""
        return {node: layer.name for node, layer in self.form.layers.items()}

    def run(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the raw outputs ``(batch, classes)`` by the graph, or by the copy where there is none.

        The copy takes one image after another: what it does may depend on all that it is given at once.
        """
        if self.graph is not None:
            return require_logits(outputs_of(self.graph.forward, inputs), inputs)
        if len(inputs) < 2:
            return self.run_copy(inputs)
        return torch.cat([self.run_copy(image) for image in torch.split(inputs, 1)])

    def run_copy(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the raw outputs of the copy for inputs all at once."""
        # In-place operations must not reach the caller's tensor, and views may need its ordinary layout.
        own = inputs.clone(memory_format=torch.contiguous_format)
        with StoredStatistics():
            return require_logits(outputs_of(self.module, own), inputs)

    def meet(self, shape: tuple[int, ...], dtype: torch.dtype | None, device: torch.device | None) -> Form:
        """Returns what the network is for inputs of a shape, which is ``form`` from now on.

        Raises:
            NetworkError: It does not compute what the module does, is random, or its rows meet; or its weights have
                changed since it was copied.
        """
        require_unchanged(self.copied)
        if shape not in self._forms:
            if any(tensor.is_meta for tensor in self.module.parameters()):
                raise NetworkError("the weights are on the device 'meta', which holds no values: load them first")
            before = self.form
            try:
                # Gradients need ordinary tensors, also where the caller is in inference mode.
                with torch.inference_mode(False), torch.no_grad(), unmoved_dice():
                    dtype, device = self.dtype or dtype, self.device or device
                    n_examples = self._meet_smaller(shape, dtype, device)
                    self._meet(shape, self._probes(shape, dtype, device, n_examples))
            except BaseException:
                # What is refused is refused the next time too.
                self._forms.pop(shape, None)
                self.form = before
                raise
        self.form = self._forms[shape] = self._forms[shape]._replace(shape=shape)
        self.no_gradients = self.form.no_gradients
        return self.form

    def _meet_smaller(
        self, shape: tuple[int, ...], dtype: torch.dtype | None, device: torch.device | None
    ) -> int | None:
        """Measures the network on smaller images where it takes them and the measures do not fit into the budget.

        Returns:
            How many examples of the shape itself to run; nothing for all of them.

        Raises:
            OverBudget: Not even a pass of one image fits.
        """
        if self._budget is None or self._original is None:
            return None
        needed = activation_bytes(self.module, shape)
        if needed is None or _MEASURES * needed <= self._budget:
            return None
        if _ONE_PASS * needed > self._budget:
            share = (self._budget / (_ONE_PASS * needed)) ** 0.5
            fitting = " x ".join(str(int(side * share)) for side in shape[1:])
            raise OverBudget(
                f"a pass of one image of {tuple(shape)} computes {needed / 2**30:.1f} GiB and needs about"
                f" {_ONE_PASS * needed / 2**30:.1f}, allowed are {self._budget / 2**30:.1f}: use a smaller size (some"
                f" {fitting} would fit), or allow more"
            )
        scale = (self._budget / (_MEASURES * needed)) ** 0.5
        smaller = (shape[0], *(max(1, int(side * scale) // _MULTIPLE * _MULTIPLE) for side in shape[1:]))
        with suppress(NetworkRefuses):
            self._meet(smaller, self._probes(smaller, dtype, device))
        return 1

    def _meet(self, shape: tuple[int, ...], examples: torch.Tensor) -> None:
        examples, original, checks = self._fitting(examples), self._original, list[Check]()
        if original is None:
            self._require_same_weights(shape, examples)
        else:
            checks.append(self._copied(original, examples))
        checks.append(self._settle(shape, examples))
        if self._measures:
            with torch.enable_grad():
                found = measured(self, examples, self.link, checks)
            if self.checks is None:
                self.checks, self.link = found.checks, found.link
            # Of a single image gradients are not measured, and what is known of them stays.
            if len(examples) > 1:
                self.no_gradients = found.no_gradients
        self._require_rows(shape)
        self.form = self._forms[shape] = self.form._replace(no_gradients=self.no_gradients)
        if original is not None and self.copied.baked and forward_hooks(original):
            self._hooked = frozen_copy(original).module
        self._original = None

    def examples(self) -> torch.Tensor:
        """Returns the probes of the size that was met last."""
        assert self.form.shape is not None  # noqa: S101 - one was met
        return probes(self.form.shape, self.dtype, self.device, self._values or RANGES[0])

    def placements(self) -> Mapping[str, Placement]:
        """Returns where the units of each layer lie in images of the size that was met last, and those of the image."""
        found = self.form.placements
        if found is None:
            self.form = with_placements(self.form, self.examples())
            self._forms |= {} if self.form.shape is None else {self.form.shape: self.form}
        return found or self.placements()

    def _probes(
        self,
        shape: tuple[int, ...],
        dtype: torch.dtype | None,
        device: torch.device | None,
        count: int | None = None,
    ) -> torch.Tensor:
        """Returns probes, so many at most, with values that the network takes, which are noted for other sizes.

        Raises:
            NetworkError: It gives nothing finite for any.
        """  # noqa: DOC501, DOC502 - running out of memory is found again where it is dealt with
        failure: NetworkError | None = None
        for values in RANGES if self._values is None else (self._values,):
            examples = probes(shape, dtype, device, values)[:count]
            try:
                outputs = self._of_original(examples)
            except (RuntimeError, MemoryError) as error:
                if is_out_of_memory(error):
                    return examples
                raise
            except NetworkRefuses as error:
                failure = failure or error
                continue
            if bool(outputs.isfinite().any(1).all()):
                self._values = values
                return examples
        raise failure or NetworkError(
            "the network's outputs are not finite, neither for images with values around 0 nor for those between 0 and"
            " 1 or 255"
        )

    def _of_original(self, examples: torch.Tensor) -> torch.Tensor:
        """Returns what the caller's module gives, in place and with its hooks; later what the copy gives."""
        if self._original is None:
            return in_parts(self.run_copy, examples)
        with evaluating(self._original) as module:
            return in_parts(lambda part: require_logits(outputs_of(module, part.clone()), part), examples)

    def _copied(self, original: nn.Module, examples: torch.Tensor) -> Check:
        """Settles the copy's hooks and holds it against the module; hooks that its forward pass reads from stay.

        Returns:
            How they were seen to agree.
        """  # noqa: DOC501 - the check that it calls raises
        if not forward_hooks(original):
            return self._held_against(original, examples)
        self._take(examples)
        try:
            return self._held_against(original, examples)
        except NetworkError:
            if not self.copied.dropped:
                raise
        self._take(examples, keep=True)
        return self._held_against(original, examples)

    def _require_same_weights(self, shape: tuple[int, ...], examples: torch.Tensor) -> None:
        """Accepts images of another size if what hooks compute of the weights is for them what it was before.

        Raises:
            NetworkError: It is not.
        """
        if self._hooked is None:
            return
        hooked, images = self._hooked, examples.clone()
        with torch.no_grad(), StoredStatistics():
            figure, bound = agreement(in_parts(self.run_copy, images), in_parts(hooked, images))
        if figure > bound:
            raise NetworkError(
                f"for images of {shape} hooks compute other weights than for those before ({self.copied.baked[0]};"
                f" outputs differ by {100 * figure:.2g} %): wrap the module anew for this size"
            )

    def _require_rows(self, shape: tuple[int, ...]) -> None:
        """Gives the graph up where it takes one value of a whole batch: images are then run one after another."""
        name = self.form.whole_batch
        if name is None:
            return
        reason = (
            f"layer {name!r} gives one value for all images of a batch, which are therefore run one after another;"
            " take it of each image to have layers: x.amax((1, 2, 3), keepdim=True) in place of x.max()"
        )
        self.form = self._forms[shape] = form_of(None, reason, n_classes=self.form.n_classes)
        if self.checks is not None:
            noted = Check("graph", None, None, "noted", reason)
            self.checks = tuple(noted if check.name == "graph" else check for check in self.checks)

    def _fitting(self, examples: torch.Tensor) -> torch.Tensor:
        """Returns the examples, or the first alone where two of them do not fit into memory.

        Raises:
            OutOfMemory: One does not.
        """  # noqa: DOC501 - other failures go on as they are
        for count in (1, 2):
            try:
                self.run_copy(examples[:count])
            except NetworkRefuses as error:
                # The module itself has run on the first.
                if self._original is None or not (hooks := forward_hooks(self._original)):
                    raise
                names = ", ".join(hook.description for hook in hooks[:3])
                raise NetworkError(
                    f"a copy fails where the module does not ({error}): its forward hooks ({names}) seem to belong to"
                    " the module itself; let forward() keep what they collect"
                ) from error
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if count == 2:
                    return examples[:1]
                raise OutOfMemory(
                    f"one image of {tuple(examples.shape[1:])} does not fit into memory; use smaller images, another"
                    " device, or free what else runs there"
                ) from error
        return examples

    def _take(self, examples: torch.Tensor | None = None, *, keep: bool = False) -> None:
        """Copies the module and traces the copy; with examples, its hooks are settled, or all kept."""
        assert self._original is not None  # noqa: S101 - it goes once the network has run
        seen = () if examples is None else torch.split(examples, 1)
        self.copied: FrozenCopy = frozen_copy(self._original, seen, keep_hooks=keep)
        if isinstance(self.module, OutputsOnly):
            self.form = form_of(None, self.module.why)
            return
        # Another copy, for tracing changes flags and rewriting changes what in-place modules do. Hooks that nobody
        # has seen at work yet may do anything to what tracing hands them.
        own = shared_copy(self.module)
        try:
            graph = traced(without_hooks(own) if examples is None else own)
            rewritten = make_out_of_place(graph)
        except NotTraceable as error:
            self.form = form_of(None, str(error))
            return
        graph.graph.eliminate_dead_code()
        rewrite_batch_norms(graph)
        layers = named_layers(graph)
        tolerate_layouts(graph)
        names = {node.name: layer.name for node, layer in layers.items()}
        self.form = form_of(graph, None, layers, tuple(names.get(name, name) for name in rewritten))

    def _held_against(self, original: nn.Module, examples: torch.Tensor) -> Check:
        """Holds the copy against the module itself, in place and with its hooks.

        Returns:
            What was seen.

        Raises:
            NetworkError: The copy computes something else.
        """
        expected = self._of_original(examples)
        figure, bound = agreement(in_parts(self.run_copy, examples), expected)
        if figure > bound and repeats(self.run_copy, examples):
            raise NetworkError(
                f"a frozen copy of {type(original).__name__} computes something else than the module itself (outputs"
                f" differ by {100 * figure:.2g} %): hooks, computed weights or state that is no parameter or buffer"
                " are not copied with it, or it has changed since. Make them part of the module"
            )
        return Check("same_function", figure, bound, "right", "")

    def _settle(self, shape: tuple[int, ...], examples: torch.Tensor) -> Check:
        """Notes what the network is for inputs of one size; gives its graph up where that computes something else.

        Returns:
            How the graph was seen to agree.
        """
        known = next((form for form in self._forms.values() if form.graph is not None), self.form)
        expected = in_parts(self.run_copy, examples)
        n_classes = expected.shape[1]
        if known.graph is None:
            self.form = self._forms[shape] = known._replace(n_classes=n_classes)
            return Check("graph", None, None, "unknown", known.reason or "")
        figure, bound = graph_agreement(known.graph, examples, expected)
        if figure > bound and repeats(self.run_copy, examples):
            place = first_apart(known, self.module, examples[:1])
            where = "" if place is None else f", from layer {place!r} on"
            reason = (
                f"for inputs of {shape} the traced graph gives other outputs than the module{where}: what it does there"
                " depends on more than the values of tensors"
            )
            self.form = self._forms[shape] = form_of(None, reason, n_classes=n_classes)
            return Check("graph", figure, bound, "noted", reason)
        seen = rows_first(known.graph, observed(known.graph, examples))
        for node, one in seen.items():
            node.meta["width"] = one.shape[0] if one.shape is not None and len(one.shape) == 1 else None
        layers = named_layers(known.graph, seen)
        form = form_of(known.graph, None, layers, known.in_place, n_classes)
        shared = whole_batch(known.graph, seen, examples) if len(examples) > 1 else None
        if shared is not None:
            form = form._replace(whole_batch=layers[shared].name if shared in layers else shared.name)
        self.form = self._forms[shape] = form
        return Check("graph", figure, bound, "right", "")
