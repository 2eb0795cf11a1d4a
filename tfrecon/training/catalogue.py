"""What there is to choose from, as text: the answer of ``python -m tfrecon.fit --list KIND``."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tfrecon.base import cards, facts
from tfrecon.base.errors import unknown


def catalogue(kind: str) -> str:
    """One entry a line, or a few: name, what it is, its options. Raises UserError for an unknown
    `kind`."""
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    return "\n".join(KINDS[kind]())


def _backbones() -> Iterable[str]:
    from tfrecon.backbones import BACKBONES, describe

    return map(describe, BACKBONES)


def _models() -> Iterable[str]:
    from tfrecon.models import CONTEXT, MODELS, builder

    return _builders({name: builder(name) for name in MODELS}, CONTEXT)


def _metrics() -> Iterable[str]:
    from tfrecon.metrics.logged import METRICS
    from tfrecon.metrics.perceptual import available

    here = "which are here" if available("alex") else "not in $TFRECON_WEIGHTS or the cache now"
    yield from (f"{name}: {_first_sentence(metric)}" for name, metric in METRICS.items())
    yield "lpips_alex: LPIPS on AlexNet of each image pair, (B,); 0 means equal."
    yield f"  in reports only, and only with its weights, {here}"


def _recipes() -> Iterable[str]:
    from tfrecon.data import recipes

    for name in recipes.names():
        recipe = recipes.find(name)
        yield f"{name}: {_first_sentence(recipe)}\n  splits: {', '.join(recipe.SPLITS)}"
    # A user's own are named, not run.
    yield from (f"{name}: {path}" for name, path in facts.of_user(facts.RECIPES).items())


def _configs() -> Iterable[str]:
    return (f"{name}: {facts.purpose(path)}" for name, path in facts.configurations().items())


def _presets() -> Iterable[str]:
    return map(str, cards.presets())


def _listed(table: str, context: str = "") -> Callable[[], Iterable[str]]:
    """Lists the builders of a table, less the arguments of a context, both by their dotted path:
    importing them starts TensorFlow."""
    return lambda: _builders(
        facts.imported(table, "table"), facts.imported(context, "context") if context else ()
    )


_OF_INVERSION = "tfrecon.models.feature_inversion.CONTEXT"

KINDS: dict[str, Callable[[], Iterable[str]]] = {
    "backbones": _backbones,
    "models": _models,
    "decoders": _listed("tfrecon.networks.decoders.DECODERS", _OF_INVERSION),
    "fusions": _listed("tfrecon.networks.fusion.FUSIONS", _OF_INVERSION),
    "defences": _listed("tfrecon.layers.defences.DEFENCES"),
    "damages": _listed("tfrecon.data.damage.DAMAGES"),
    "losses": _listed("tfrecon.losses.LOSSES"),
    "metrics": _metrics,
    "recipes": _recipes,
    "configs": _configs,
    "presets": _presets,
}


def _builders(
    table: Mapping[str, Callable[..., Any]], context: Iterable[str] = ()
) -> Iterable[str]:
    """Name, first sentence, and each option with its default."""
    for name, builder in table.items():
        yield f"{name}: {_first_sentence(builder)}"
        options = [
            parameter.name
            if parameter.default is parameter.empty
            else f"{parameter.name} = {parameter.default!r}"
            for parameter in inspect.signature(builder).parameters.values()
            if parameter.name not in context
        ]
        if options:
            yield f"  options: {', '.join(options)}"


def _first_sentence(thing: Any) -> str:
    """Up to the first full stop before a capital that ends no abbreviation."""
    text = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    return re.split(r"(?<!e\.g)(?<!i\.e)(?<!et al)\.(?:\s+(?=[A-Z`])|$)", text)[0] + "."
