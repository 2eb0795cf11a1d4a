"""Trained weights as the beginning of another training: which go where, and which stay as they
are."""

import fnmatch
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tfrecon.base.errors import UserError, some
from tfrecon.base.weights import fingerprint
from tfrecon.layers.ridge import Ridge, Standardise
from tfrecon.models.base import ReconstructionModel
from tfrecon.training.start import Source
from tfrecon.training.state import kept_variables


class Start:
    """The weights of a `source`, in a model of their own.

    It is made before the model that starts from them: the random generators are then that one's.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.model, variables = source.weights()
        self.weights = _named(self.model, variables)
        self.hash = fingerprint(self.weights)

    def give(self, model: ReconstructionModel, mask: bool) -> dict[str, Any]:
        """Assigns the weights to the variables of the same names in `model`, which sees masks or
        not; prints what was done and returns it: what a run records.

        Raises UserError for another network, and for an array of another shape.
        """
        own = _named(model, kept_variables(model))
        if not self._fits(model):
            for name in _fitted(model, own):
                del own[name]
        taken = {name: variable for name, variable in own.items() if name in self.weights}
        self._check(taken, mask)
        for name, variable in taken.items():
            variable.assign(np.asarray(self.weights[name]))
        used = {id(v) for v in (*model.inference_variables, *model.optimized_variables)}
        new = {n: v for n, v in own.items() if n not in taken and id(v) in used}
        left_out = {n: v for n, v in self.weights.items() if n not in own}
        said = f"{len(taken)} of {len(taken) + len(new)} arrays"
        said += f", {len(new)} new ({some(_parts(model, new))})" if new else ""
        said += (
            f"; {len(left_out)} not used ({some(_parts(self.model, left_out))})" if left_out else ""
        )
        print(f"started from {self.source.name}: {said}")
        source = self.source
        return {
            "name": source.name, "path": str(source.path.absolute()), "arrays": len(taken),
            "from_state": source.from_state, "hash": self.hash, "new": list(new),
        }  # fmt: skip

    def leaves_to_fit(self, model: ReconstructionModel) -> bool:
        """Whether `model` has a part to fit to its data that these weights have not."""
        own = _fitted(model, _named(model, kept_variables(model)))
        return not self._fits(model) or any(name not in self.weights for name in own)

    def _fits(self, model: ReconstructionModel) -> bool:
        """Whether both read the same frozen features, so that what was fitted to them stays."""
        mine, theirs = self.model.extractor, model.extractor
        same = (mine and mine.sources) == (theirs and theirs.sources)
        return same and self.model.fingerprint == model.fingerprint

    def _check(self, taken: dict[str, Any], mask: bool) -> None:
        source, begun = self.source, self.source.option == "--from"
        what = f"{source.option} {source.name} ({source.tables['model']['name']})"
        remedy = "leave out --model and its options" if begun else "begin without, --set fit.start="
        remedy += ", or name another"
        if not taken:
            raise UserError(
                f"{what} is of another network: it shares no array with this one; {remedy}"
            )
        for name, variable in taken.items():
            here, there = tuple(variable.shape), tuple(self.weights[name].shape)
            if here == there:
                continue
            why = ""
            if mask != source.has_mask:
                saw = {True: "masks", False: "no masks"}
                why = f"; it was trained with {saw[source.has_mask]} and sees {saw[mask]} here"
                remedy = "choose data or data.damage accordingly"
            raise UserError(
                f"{what} does not fit: its {name!r} is {there} and should be {here}{why}; {remedy}"
            )


def freeze(model: ReconstructionModel, patterns: Sequence[str]) -> list[str]:
    """Lets the layers and networks of `model` whose names match one of the `patterns` keep their
    weights, statistics included; returns those names.

    Raises UserError for a pattern that matches nothing that is trained, and where all is frozen
    that the restored image depends on.
    """
    names, order = _layer_names(model), {id(v): n for n, v in enumerate(model.variables)}
    trained = [
        each for each in model._flatten_layers(include_self=False) if each.trainable_variables
    ]
    trained.sort(key=lambda layer: order[id(layer.trainable_variables[0])])
    layers = [(names[layer.name], layer) for layer in trained]
    frozen: list[str] = []
    for pattern in patterns:
        matching = [(name, layer) for name, layer in layers if fnmatch.fnmatchcase(name, pattern)]
        if not matching:
            there_are = ", ".join(dict.fromkeys(name for name, _ in layers))
            raise UserError(
                f"fit.freeze: no layer that is trained matches {pattern!r}; there are {there_are}"
            )
        for name, layer in matching:
            layer.trainable = False
            frozen.append(name)
    if patterns and not any(variable.trainable for variable in model.inference_variables):
        raise UserError(f"fit.freeze = {[*patterns]} leaves nothing to train; name fewer layers")
    return list(dict.fromkeys(frozen))


def _named(model: ReconstructionModel, variables: Iterable[Any]) -> dict[str, Any]:
    """The floats among a model's variables by name: ``layer/kernel``. Those of inference come
    first, so that names that occur twice are counted alike whatever else there is."""
    layers, seen, named = _layer_names(model), Counter[str](), {}
    own = {id(variable) for variable in variables}
    order = {id(v): v for v in (*model.inference_variables, *model.variables) if id(v) in own}
    for variable in order.values():
        if variable.dtype.startswith("float"):
            path = "/".join(layers.get(part, part) for part in variable.path.split("/"))
            seen[path] += 1
            named[path if seen[path] == 1 else f"{path}#{seen[path]}"] = variable
    return named


def _layer_names(model: ReconstructionModel) -> dict[str, str]:
    """The name of each layer: its own, or the one that Keras would have given it in a process that
    had built nothing before, for the automatic ones carry a counter."""
    names, automatic = {}, defaultdict[str, set[tuple[int, str]]](set)
    for layer in model._flatten_layers():
        kind, number = re.fullmatch(r"(.*?)(?:_(\d+))?", layer.name).groups()
        names[layer.name] = layer.name
        if kind.replace("_", "") == type(layer).__name__.lower():
            automatic[kind].add((int(number or 0), layer.name))
    for kind, found in automatic.items():
        for place, (_, name) in enumerate(sorted(found)):
            names[name] = f"{kind}_{place}" if place else kind
    return names


def _fitted(model: ReconstructionModel, named: dict[str, Any]) -> list[str]:
    """The names of those variables that `adapt` assigns."""
    layers = (layer for layer in model._flatten_layers() if isinstance(layer, Standardise | Ridge))
    fitted = {id(variable) for layer in layers for variable in layer.variables}
    return [name for name, variable in named.items() if id(variable) in fitted]


def _parts(model: ReconstructionModel, named: dict[str, Any]) -> list[str]:
    """What the variables make up: the networks of which they are all, else single layers."""
    left, parts = {id(variable): name for name, variable in named.items()}, []
    for network in model.layers:
        inside = {id(v) for v in network.trainable_variables}
        if inside and inside <= left.keys():
            parts.append(network.name)
            for variable in network.variables:
                left.pop(id(variable), None)
    return [*parts, *dict.fromkeys(name.rpartition("/")[0] for name in left.values())]
