"""One result on any number of devices and processes, and wherever the images lie."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from csdm_jax.distillation.methods.matching.matching import Reading
from csdm_jax.runtime import cluster
from csdm_jax.runtime.sharding import ONE_DEVICE
from tests.faults import runs
from tests.flags import devices_flags
from tests.problem import read, rounds, tiny_loop

STEPS = 3
ON_DEVICES = """
import json, sys
import jax, numpy as np
from jax.sharding import Mesh
from csdm_jax.runtime.sharding import AXIS, Devices
from tests.flags import devices_flags
from tests.problem import tiny_loop
from tests.runtime.test_sharding import ends
found = {}
for count in (1, 2, 4, 8):
    devices = Devices(Mesh(np.array(jax.devices()[:count]), (AXIS,)) if count > 1 else None)
    loop = tiny_loop(name=sys.argv[1], devices=devices)
    images, loss, norm = ends(loop)
    split = not loop.data.images.sharding.is_fully_replicated
    found[count] = [images.tolist(), loss.tolist(), norm.tolist(), split]
print(json.dumps(found))
"""


def ends(loop):
    """Images, losses and gradient norms of a few steps."""
    state, metrics = rounds(loop, STEPS)
    images = np.asarray(state.stored["images"])
    return images, metrics.loss, metrics.scalars["gradient_norm"]


@pytest.mark.parametrize("name", ["csdm", "dm"])
def test_one_two_four_and_eight_devices_give_one_result(name):
    env = os.environ | {"XLA_FLAGS": devices_flags(8)}
    done = subprocess.run(
        [sys.executable, "-c", ON_DEVICES, name],
        cwd=runs.ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    images, loss, norm, _ = found.pop("1")
    assert set(found) == {"2", "4", "8"}
    for count, (other_images, other_loss, other_norm, other_split) in found.items():
        assert other_split, count  # each device holds its part of the images only
        np.testing.assert_allclose(other_loss, loss, rtol=1e-4, err_msg=count)
        np.testing.assert_allclose(other_norm, norm, rtol=1e-3, err_msg=count)
        # Adam turns a gradient that is zero but for rounding into a whole step: hence the mean.
        assert np.mean(np.abs(np.array(other_images) - images)) < 1e-5, count


def test_images_on_the_host_give_the_same_bits():
    resident, streamed = (ends(tiny_loop(streamed=s)) for s in (False, True))
    np.testing.assert_array_equal(resident[0], streamed[0])
    np.testing.assert_array_equal(resident[1], streamed[1])


def test_a_host_batch_is_made_for_each_step_once_and_ahead():
    loop = tiny_loop(streamed=True)
    state, constants, (feed,) = loop.begin(jax.random.key(0))
    asked = []

    def watched(index):
        asked.append(index)
        return feed(index)

    loop.stepper(state, constants, 3, 4, feeds=(watched,))
    assert asked == [3, 4, 5, 6]


def test_one_device_needs_no_mesh():
    assert ONE_DEVICE.count == 1
    array = np.ones(3)
    assert ONE_DEVICE.split_rows(array) is array and ONE_DEVICE.copy(array) is array


def test_some_classes_change_only_themselves():
    loop = tiny_loop(classes=6, classes_per_step=2, ipc=2)
    state, _, _ = loop.begin(jax.random.key(0))
    before = np.asarray(state.stored["images"]).reshape(6, -1)
    state, metrics = rounds(loop, 1)
    after = np.asarray(state.stored["images"]).reshape(6, -1)
    moved = np.flatnonzero(np.abs(after - before).max(1) > 0)
    np.testing.assert_array_equal(moved, metrics.by_class["classes"][0])
    assert len(moved) == 2 and metrics.by_class["amplitude"].shape == (1, 2)


def test_each_class_has_an_optimiser_of_its_own():
    state, metrics = rounds(tiny_loop(classes=6, classes_per_step=2, ipc=2), STEPS * 2)
    drawn = np.bincount(metrics.by_class["classes"].ravel(), minlength=6)
    counts = [leaf for leaf in jax.tree.leaves(state.moments) if leaf.shape == (6,)]
    assert counts and drawn.sum() == STEPS * 4
    for count in counts:
        np.testing.assert_array_equal(count, drawn)


def test_some_classes_have_the_loss_of_those_classes_alone():
    """With one class a step, the sum over the steps that saw each class once is the whole's."""
    some = tiny_loop(classes=3, classes_per_step=1, batch=1000, augmentation="none")
    whole = tiny_loop(classes=3, batch=1000, augmentation="none")
    state, given = read(whole)
    reading = Reading(given.supplied, state.memory, given.batch, given.key)
    _, (expected, _) = whole.method.loss(state.stored, reading)
    loss = jax.jit(lambda batch: some.method.loss(state.stored, reading._replace(real=batch))[1][0])
    for step in range(10):
        batch = read(some, step)[1].batch
        (chosen,) = np.asarray(batch.classes)
        found = loss(batch)
        for part in ("amplitude", "phase"):
            np.testing.assert_allclose(
                found.by_class[part][0], expected.by_class[part][chosen], rtol=1e-3
            )


def test_a_step_is_at_most_linear_in_the_number_of_classes():
    def memory(classes):
        loop = tiny_loop(classes=classes, classes_per_step=10, ipc=1)
        state, constants, _ = loop.begin(jax.random.key(0))
        (phase,) = loop.stepper.phases
        analysis = jax.jit(phase.step).lower(state, constants, 0).compile().memory_analysis()
        return analysis.temp_size_in_bytes - 4 * state.stored["images"].nbytes

    assert memory(300) < 10 * memory(30)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_two(folders, env, *flags):
    """A run of two processes over loopback."""
    coordinator = f"--coordinator=127.0.0.1:{free_port()}"
    cluster_flags = ("--distributed", coordinator, "--num_processes=2")
    return [
        runs.start(folder, env, *cluster_flags, f"--process_id={number}", *flags)
        for number, folder in enumerate(folders)
    ]


@pytest.mark.parametrize("receiver", [0, 1])
def test_a_signal_to_one_of_two_processes_saves_and_ends_both(tmp_path, receiver):
    env = runs.environment(Path(os.environ["JAX_COMPILATION_CACHE_DIR"]))
    folders = [tmp_path / "w0", tmp_path / "w1"]
    long = ("--config.distill.steps=100000", "--config.distill.checkpoint_every=100000")
    both = start_two(folders, env, *long)
    began = wait_for(lambda: has_rows(folders[0]), both)
    both[receiver].send_signal(signal.SIGTERM)
    outputs = [process.communicate(timeout=120)[0] for process in both]
    assert began and [process.returncode for process in both] == [75, 75], outputs
    saved = runs.newest_checkpoint(folders[0])
    assert saved > 0
    code, output = runs.finish(folders[0], env, f"--config.distill.steps={saved + 2}", long[1])
    assert code == 0 and f"goes on from step {saved}" in output, output


LEAVING = """
import sys, time
from csdm_jax.runtime import cluster
coordinator, number, slow, seconds = sys.argv[1], *map(int, sys.argv[2:])
cluster.join(coordinator, 2, number)
cluster._FAREWELL = 2000
cluster.wait("the end")
time.sleep(seconds * (number == slow))
cluster.leave(75)
"""


def leave_together(slow, seconds):
    """Exit codes of two processes, of which one takes leave so many seconds later."""
    coordinator = f"127.0.0.1:{free_port()}"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", LEAVING, coordinator, str(number), str(slow), str(seconds)],
            stderr=subprocess.DEVNULL,
        )
        for number in (0, 1)
    ]
    try:
        return [process.wait(60) for process in both]
    finally:
        for process in both:
            process.kill()


@pytest.mark.parametrize("slow", [0, 1])
def test_who_ends_a_moment_later_is_not_aborted(slow):
    assert leave_together(slow, 1) == [75, 75]


def test_the_first_process_waits_for_no_other_that_works_on():
    began = time.monotonic()
    assert leave_together(1, 40)[0] == 75 and time.monotonic() - began < 40


def has_rows(folder):
    metrics = folder / "metrics.jsonl"
    return metrics.exists() and metrics.stat().st_size > 0


def wait_for(happened, processes, seconds=300):
    """Whether it happened while all processes lived."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and all(process.poll() is None for process in processes):
        if happened():
            return True
        time.sleep(0.1)
    return False


def test_two_processes_give_the_result_of_one(tmp_path):
    env = runs.environment(Path(os.environ["JAX_COMPILATION_CACHE_DIR"]))
    folders = [tmp_path / "w0", tmp_path / "w1"]
    both = start_two(folders, env)
    outputs = [process.communicate(timeout=600)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert not folders[1].exists()  # the first alone writes
    code, output = runs.finish(tmp_path / "alone", env)
    assert code == 0, output
    together, alone = (
        [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (folders[0], tmp_path / "alone")
    )
    assert [row["step"] for row in together] == [row["step"] for row in alone]
    for a, b in list(zip(together, alone, strict=True))[:4]:
        np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-3)
    # It goes on where it was, as one process or as two.
    code, output = runs.finish(folders[0], env, "--config.distill.steps=14")
    assert code == 0 and "goes on from step 12" in output, output


READ = """
import dataclasses, json, sys
import jax
from csdm_jax.runtime import cluster
from csdm_jax.data.device import to_device
from csdm_jax.data.host import HostData
from csdm_jax.data.longtail import build_longtail
from csdm_jax.runtime.sharding import Devices
from tests.flags import devices_flags
from tests.problem import tiny_dataset

cluster.join(sys.argv[1], 2, int(sys.argv[2]))

class Watched(HostData):
    def take(self, rows):
        print("read", json.dumps(rows.tolist()), flush=True)
        return super().take(rows)

dataset = tiny_dataset()
longtail = build_longtail(dataset.train_labels, 3, imbalance_factor=5.0, rule="seeded", seed=0)
host = HostData.create(dataset, longtail)
watched = Watched(**{f.name: getattr(host, f.name) for f in dataclasses.fields(host)})
placed = to_device(watched, Devices.all())
print("all", len(host), placed.images.is_fully_addressable)
cluster.wait("the end")
"""


def test_each_of_two_processes_reads_its_own_part_of_the_images():
    coordinator = f"127.0.0.1:{free_port()}"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", READ, coordinator, str(number)],
            cwd=runs.ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    outputs = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    parts = []
    for output, _ in outputs:
        *read, end = [line for line in output.splitlines() if line.startswith(("read", "all"))]
        first, *others = [json.loads(line.removeprefix("read")) for line in read]
        assert first == [0]  # for the shape of an image
        parts.append(sorted(row for rows in others for row in rows))
        _, count, addressable = end.split()
        assert addressable == "False"
    half = -(-int(count) // 2)
    assert parts[0] == list(range(half))
    # The last row is repeated where the parts would differ in size.
    assert parts[1] == [min(row, int(count) - 1) for row in range(half, 2 * half)]


def test_a_cluster_is_described_whole_or_not_at_all():
    with pytest.raises(ValueError, match="belong together, got host:1, None, 0"):
        cluster.join("host:1", None, 0)
