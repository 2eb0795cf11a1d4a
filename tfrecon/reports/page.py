"""The folder of a comparison: report.html, which needs no other file, and its tables as CSV and
Markdown."""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tfrecon.base import files, images
from tfrecon.base.config import DataConfig
from tfrecon.base.errors import UserError
from tfrecon.base.shown import uri
from tfrecon.metrics.measures import leading_columns
from tfrecon.reports import atlas, costs, leaderboard, plots, statistics, svg
from tfrecon.reports import sentences as plain
from tfrecon.reports.comparison import Comparison
from tfrecon.reports.pictures import LEADING, Picture, Strip, leading_pictures, tap_strip
from tfrecon.reports.tables import escaped
from tfrecon.training.run import ANIMATION

THREADS = ("intra_op_threads", "inter_op_threads")
VERSIONS = ("tensorflow", "keras", "numpy", "python", "processor")
CAUTIONS = {
    "training photos": "not all results were trained on the same photos",
    "machine": "not all results were evaluated on the same machine and versions",
    "threads": "results had different shares of the cores: images/s of them cannot be compared",
}
"""What to say of that in which the results differ."""
FILES = ("report.html", "report.md", "leaderboard.csv", "pairs.csv", "ablations.csv")


def write(
    comparison: Comparison, folder: Path, config: DataConfig, split: str,
    options: Mapping[str, Any] | None = None,
) -> list[str]:  # fmt: skip
    """Writes `FILES` into `folder` and returns the summary's sentences. `config`, `split` and
    `options` are those of the evaluation, for the pictures."""
    sentences = plain.sentences(comparison)
    notes = costs.notes({result.name: result.cost for result in comparison.results})
    notes += [f"{name} is left out: not every result has it." for name in comparison.dropped]
    pictures: dict[str, list[Picture]] = {}
    photos: Strip = {}
    try:
        pictures = leading_pictures(comparison, config, split, options or {})
        photos = tap_strip(comparison, [*atlas.best_of_taps(comparison).values()], config, split)
    except (UserError, OSError) as error:
        notes.append(f"Pictures are left out: {error}.")
    contents = (
        page(
            comparison, sentences=sentences, notes=notes, pictures=pictures,
            environment=environment(comparison), strip=photos,
        ),
        markdown(comparison, sentences),
        leaderboard.leaderboard_csv(comparison),
        leaderboard.pairs_csv(comparison),
        leaderboard.ablations_csv(comparison),
    )  # fmt: skip
    for name, content in zip(FILES, contents, strict=True):
        with files.replacing(folder / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return sentences


def page(
    comparison: Comparison, *, sentences: Sequence[str], notes: Sequence[str],
    pictures: Mapping[str, Sequence[Picture]], environment: Mapping[str, str],
    strip: Strip | None = None,
) -> str:  # fmt: skip
    """The HTML document. Sections without content are left out. `environment`: name → version or
    fact. `strip`: the photos of the atlas."""
    count, pairs = len(comparison.results), statistics.pairs(comparison, comparison.metric)
    configs = [
        {"name": result.name, "config": result.runs[0].settings} for result in comparison.results
    ]
    subtitle = (
        f"{count} result{'s' * (count > 1)} on the same {len(comparison.ids)} images, ranked by "
        f"{comparison.measure.region_label}"
    )
    leading = leading_columns(comparison.columns, comparison.metric)
    return document(
        title=comparison.title, subtitle=subtitle, sentences=sentences, notes=notes,
        leaderboard=leaderboard.leaderboard(comparison),
        tests=leaderboard.tests(comparison), ablations=leaderboard.ablations(comparison),
        ranks=plots.rank_diagram(comparison),
        distributions=[*filter(None, (plots.distributions(comparison, c) for c in leading))],
        cost=plots.pareto(comparison), curves=plots.curves(comparison), tested_pairs=len(pairs),
        atlas=atlas.atlas(comparison, strip),
        progress=_progress(comparison), pictures=pictures, configs=configs,
        missing=comparison.missing, environment=environment,
    )  # fmt: skip


def document(**sections: Any) -> str:
    """The HTML document of a title, a subtitle and the `sections` by the names that the template
    has for them; those without content are left out."""
    return _template().render(alpha=statistics.ALPHA, **sections)


def markdown(comparison: Comparison, sentences: Sequence[str]) -> str:
    """Sentences, leaderboard, all tests of neighbours and of the winner, and ablations."""
    sections = {
        "Leaderboard": [leaderboard.leaderboard(comparison)],
        "Paired tests": leaderboard.tests(comparison, most=None),
    }
    axes = statistics.all_ablations(comparison)
    for axis, table in zip(axes, leaderboard.ablations(comparison), strict=True):
        sections[f"{axis}, against {table.rows[0][0]}"] = [table]
    blocks = [f"# {escaped(comparison.title)}", *(f"- {escaped(said)}" for said in sentences)]
    for title, tables in sections.items():
        blocks += ["", f"## {escaped(title)}"] if tables else []
        blocks += [line for table in tables for line in ("", table.markdown())]
    return "\n".join(blocks) + "\n"


def _template() -> Any:
    """The template, whose texts are escaped. Style and script go in as they are."""
    import jinja2

    loader = jinja2.PackageLoader("tfrecon.reports", "")
    place = jinja2.Environment(loader=loader, autoescape=True)  # what is not given is empty
    place.filters |= {"data_uri": _data_uri, "svg_title": svg.title}
    place.policies["json.dumps_kwargs"] = {"default": str}
    return place.get_template("page.html.j2")


def _data_uri(image: Any) -> str:
    """(H,W,3) in [0,1] as PNG within a URI."""
    file = io.BytesIO()
    Image.fromarray(images.to_uint8(image)).save(file, format="PNG", optimize=True)
    return uri("png", file.getvalue())


def _progress(comparison: Comparison) -> dict[str, str]:
    """The animation of each leading result's first training, as a URI; of those that have one."""
    of_runs = {r.name: r.runs[0].path / ANIMATION for r in comparison.results[:LEADING] if r.runs}
    shown = {name: path for name, path in of_runs.items() if path.is_file()}
    return {name: uri("webp", path.read_bytes()) for name, path in shown.items()}


def environment(comparison: Comparison) -> dict[str, str]:
    """What the numbers depend on: data, seeds, code, versions, machine."""
    every = [result.facts for result in comparison.results]
    facts, runs = every[0], [run for result in comparison.results for run in result.runs]

    def different(values: Iterable[object]) -> list[str]:
        return sorted({str(value) for value in values})

    of_machines = [facts.get("machine") or {} for facts in every]
    machines = different({**machine, **dict.fromkeys(THREADS)} for machine in of_machines)
    threads = different([machine.get(name, "?") for name in THREADS] for machine in of_machines)
    photos = different((run.facts.get("data") or {}).get("train", "not recorded") for run in runs)
    used = different(run.facts.get("machine", {}).get("intra_op_threads", "?") for run in runs)
    shown = {
        "data": f"{facts.get('recipe', {}).get('name')}, split {facts.get('split')!r}, "
        f"{facts.get('images')} images, {facts.get('image_size')} pixels a side",
        "data fingerprint": f"{facts.get('data')} (hash over ids and file contents)",
        "seeds": ", ".join(map(str, sorted({run.config.fit.seed for run in runs}))),
        "trained by code": "; ".join(different(_code(run.facts) for run in runs)),
        "evaluated by code": "; ".join(different(map(_code, every))),
        "date of evaluation": str(facts.get("date")),
        **{name: str(of_machines[0][name]) for name in VERSIONS if name in of_machines[0]},
        "threads of a training": ", ".join(used),
        "training photos": ", ".join(photos) + " (hash over ids and file contents)",
    }
    begun = [run.facts["started_from"] for run in runs if "started_from" in run.facts]
    if begun:  # the folder of a run is nobody's business
        weights = different(f"{Path(b['name']).name} (hash {b['hash'][:12]})" for b in begun)
        shown["began with the weights of"] = ", ".join(weights)
    seen = {"training photos": photos, "machine": machines, "threads": threads}
    return shown | {f"caution: {k}": CAUTIONS[k] for k, values in seen.items() if len(values) > 1}


def _code(facts: Mapping[str, Any]) -> str:
    code = facts.get("code") or {}
    if not code.get("revision"):
        return "of no known git revision"
    states = {True: "clean", False: "with uncommitted changes"}
    return f"{str(code['revision'])[:12]}, {states.get(code.get('clean'), 'unknown state')}"
