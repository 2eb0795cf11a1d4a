"""How every test runs: two logical CPU devices, small graphs, and where the time goes."""

import collections
import gc
import os
import resource
import signal
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# A stopped training counts by the progress bar, which this turns off.
os.environ.pop("TQDM_DISABLE", None)

import keras
import pytest
import tensorflow as tf

from tfrecon.metrics import perceptual

_CPU = tf.config.list_physical_devices("CPU")[0]
# Every test can ask for two replicas.
tf.config.set_logical_device_configuration(_CPU, [tf.config.LogicalDeviceConfiguration()] * 2)
# The networks are so small that threads cost more than they gain, the more so beside other tests.
tf.config.threading.set_intra_op_parallelism_threads(1)
# The million objects of TensorFlow's modules are not searched for garbage again and again.
gc.freeze()
gc.set_threshold(20_000, 10, 10)


@pytest.fixture(autouse=True, scope="session")
def _no_weights_at_hand(tmp_path_factory):
    """A test sees only the weight files that it names itself, whatever this machine has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TFRECON_WEIGHTS", raising=False)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _float32():
    """A test that changes the precision does not change it for the next one."""
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(autouse=True, scope="module")
def _no_graphs_of_other_files():
    """What a file of tests built is let go at its end, so that a process stays small."""
    yield
    perceptual.lpips_network.cache_clear()
    keras.backend.clear_session()  # collects garbage as well


@pytest.fixture
def usual_handlers():
    """The signals' handlers of a program in the foreground, however the tests were started."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def eagerly():
    """Functions run operation by operation: a graph costs more than the few calls of a test."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A folder of twelve photos, which no test changes."""
    import fakes

    return fakes.photo_folder(tmp_path_factory.mktemp("photos"), 12)


@pytest.fixture(scope="session")
def plain(tmp_path_factory, photos):
    """A run of `tiny_runs.config` in which nothing happens; no test changes it."""
    import tiny_runs

    settings = tiny_runs.config(photos)
    return tiny_runs.loop.train(settings, tmp_path_factory.mktemp("plain") / "run")


@pytest.fixture
def folders(tmp_path):
    """Where a folder of photos is restored: `photos`, `masks` or `table`, and `out`."""
    paths = SimpleNamespace(photos=tmp_path / "in", out=tmp_path / "out", masks=tmp_path / "masks")
    paths.photos.mkdir()
    paths.table = tmp_path / "masked_info.csv"
    return paths


# --- where the time goes: `pytest --cpu-times`

_BEGAN = pytest.StashKey[float]()


def pytest_addoption(parser):
    text = "show the tests and files that cost the most CPU seconds, children and fixtures included"
    parser.addoption("--cpu-times", action="store_true", help=text)
    text = "draws the random points of the faults (0)"
    parser.addoption("--fault-seed", type=int, default=0, help=text)


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    item.stash[_BEGAN] = _cpu_seconds()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item, call):
    """The report of a test's end carries its CPU seconds and the peak memory of its process."""
    if call.when == "teardown":
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        seconds = _cpu_seconds() - item.stash[_BEGAN]
        item.user_properties.append(("cost", (seconds, peak)))


def pytest_terminal_summary(terminalreporter, config):
    reports = [report for group in terminalreporter.stats.values() for report in group]
    ends = [r for r in reports if isinstance(r, pytest.TestReport) and r.when == "teardown"]
    _fault_table(terminalreporter, config, ends)
    if config.getoption("--cpu-times"):
        _cpu_table(terminalreporter, ends)


def _cpu_table(terminalreporter, ends):
    costs: Any = [(*dict[str, Any](r.user_properties)["cost"], r.nodeid) for r in ends]
    costs.sort(reverse=True)
    terminalreporter.section("CPU seconds, and peak memory of the process so far")
    for seconds, peak, name in costs[:25]:
        terminalreporter.write_line(f"{seconds:7.1f} s  {peak:5.2f} GiB  {name}")
    files = collections.Counter()
    for seconds, _, name in costs:
        files[name.split("::")[0]] += seconds
    for name, seconds in files.most_common(25):
        terminalreporter.write_line(f"{seconds:7.1f} s  {'':9}  {name}")
    total, peak = sum(cost[0] for cost in costs), max((cost[1] for cost in costs), default=0.0)
    terminalreporter.write_line(f"{total:7.1f} s  {peak:5.2f} GiB  all {len(costs)} tests")


# --- the faults: `pytest -m fault`, whose files lie in faults/


def pytest_collection_modifyitems(config, items):
    """The faults are many processes, and what the smoke tests see the others see at the highest
    versions: both run only where asked for."""
    for mark in {"fault", "smoke"} - set(config.option.markexpr.split()):
        left_out = [item for item in items if item.get_closest_marker(mark)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _fault_table(terminalreporter, config, ends):
    """A line for each fault: what was struck, by what, where, and what came of it."""
    failed = {report.nodeid for report in terminalreporter.stats.get("failed", [])}
    rows = [
        (
            *row,
            "FAILED" if report.nodeid in failed else "" if "error" in row[3] else "bit-identical",
        )
        for report in ends
        for name, row in report.user_properties
        if name == "fault"
    ]
    if rows:
        terminalreporter.section(
            f"{len(rows)} faults, --fault-seed {config.getoption('--fault-seed')}"
        )
    for row in rows:
        terminalreporter.write_line("{:17} {:18} {:55} {:24} {}".format(*row))
