"""Bytes of strangers: right files that are mutated, hostile ones, and the findings of the past."""

import pytest
from fuzz import seeds, targets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@st.composite
def mutated(draw, right):
    """A right file with pieces put in, taken out and changed, and perhaps its end cut off."""
    content = bytearray(draw(st.sampled_from(right)))
    for _ in range(draw(st.integers(0, 5))):
        place = draw(st.integers(0, len(content)))
        content[place : place + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_mutated_files_give_a_result_or_one_sentence(name, tmp_path):
    @settings(max_examples=60, derandomize=True, database=None, deadline=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(mutated(seeds.SEEDS[name]) | st.binary(max_size=60))
    def every(content):
        assert targets.finding(name, content, tmp_path) is None

    every()


@pytest.mark.parametrize("name", targets.TARGETS)
def test_right_files_are_read(name, tmp_path):
    target = targets.TARGETS[name]
    path = tmp_path / f"right{target.suffix}"
    path.write_bytes(seeds.SEEDS[name][0])
    target.read(path)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_hostile_files_and_findings_of_the_past(name, tmp_path):
    past = sorted((targets.CORPUS / name).glob("*"))
    found = {
        number: wrong
        for number, content in enumerate([*seeds.HOSTILE[name], *(p.read_bytes() for p in past)])
        if (wrong := targets.finding(name, content, tmp_path))
    }
    assert not found
