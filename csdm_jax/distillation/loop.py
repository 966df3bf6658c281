"""The distillation loop: runs any method, writes its metrics, survives stops and bad numbers.

The state is checkpointed every few steps, at a signal and at the end; the same call goes on from
the newest valid checkpoint. A step is a pure function of the state and its index, so on a CPU the
images are the same bytes wherever the run was stopped.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging

from csdm_jax.data.device import DeviceData
from csdm_jax.data.host import HostData
from csdm_jax.distillation import inputs
from csdm_jax.distillation.methods.base import Method, Metrics, State
from csdm_jax.runtime import cluster, health, memory
from csdm_jax.runtime.interruption import Interrupted, requested
from csdm_jax.runtime.progress import Progress
from csdm_jax.runtime.sharding import ONE_DEVICE, Devices
from csdm_jax.runtime.stepping import Feed, Phases
from csdm_jax.sets import snapshots
from csdm_jax.sets.snapshots import Snapshots
from csdm_jax.storage import events
from csdm_jax.storage.checkpoints import Checkpoints
from csdm_jax.storage.events import Events
from csdm_jax.storage.journal import METRICS, Journal

MAX_ROLLBACKS = 3
PATIENCE = 20.0  # seconds that a signal may have to wait
TIMED = 3  # steps after which the run says how long it will take
MEASURED = 5.0  # seconds of steps that say how many fit into a budget
AT_ONCE = {"loop": 3, "scan": 20}  # of these in one call, by strategy: each call waits once


@dataclasses.dataclass(frozen=True)
class Cadence:
    """How often the loop does what is not a step.

    Args:
      log_every: steps per chunk; the host waits for the device once a chunk.
      checkpoint_every: steps between checkpoints.
      keep_checkpoints: newest checkpoints that stay.
      tensorboard: whether metrics are TensorBoard events, too.
      on_nonfinite: "stop" at a NaN or infinity, or "rollback": go back to the last checkpoint and
        draw other random numbers from there, `MAX_ROLLBACKS` times.
    """

    log_every: int
    checkpoint_every: int
    keep_checkpoints: int = 2
    on_nonfinite: str = "stop"
    tensorboard: bool = False


@dataclasses.dataclass
class _Position:
    """Where a run is: all that changes, beside the lines of the metrics file."""

    carry: Any
    step: int = 0
    rollbacks: int = 0
    seconds: float = 0.0

    @property
    def state(self) -> State:
        """The method's; its views are made anew where a run goes on."""
        return inputs.state_of(self.carry)

    def facts(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the state."""
        return {"rollbacks": self.rollbacks, "seconds": round(self.seconds, 3)}


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run's end.

    Attributes:
      state: after the last step.
      rollbacks: how often it went back because of bad numbers.
      seconds: spent in steps, over all processes that worked on it.
    """

    state: State
    rollbacks: int
    seconds: float


class Loop:
    """The compiled loop of one method, for any number of distillation seeds.

    Args:
      method: what to run.
      data: the training set, where its steps read it.
      supplied: what the method needs, in the order of its `needs`.
      devices: where its steps run.
    """

    def __init__(
        self,
        method: Method,
        data: DeviceData | HostData,
        supplied: tuple[Any, ...] = (),
        devices: Devices = ONE_DEVICE,
    ):
        self.method = method
        self.data = data
        self.supplied = devices.copy(supplied)
        self.numbers = devices.copy(tuple(getattr(method, "numbers", ())))
        self.devices = devices
        self.stepper = Phases(inputs.compiled(method.phases, devices))

    def begin(self, key: jax.Array) -> tuple[State, Any, tuple[Feed | None, ...]]:
        """A run's beginning: `carry` of the state and the rest are what the stepper takes.

        Args:
          key: decides initialisation and every step.

        Returns:
          The state before the first round, and what `reading` gives.
        """
        init_key, _ = jax.random.split(key)
        # The stepper gives the state's arrays away: they must not be those that others hold.
        state = jax.tree.map(lambda leaf: leaf.copy(), self.method.init(init_key, self.supplied))
        return state, *self.reading(key)

    def carry(self, state: State, constants: Any) -> Any:
        """What the stepper hands on, from a state and what every step reads; no view is made yet.

        Where the method has no views, the state itself.
        """
        pixels = self.data.images[:1] if isinstance(self.data, HostData) else None
        carry = inputs.carried(self.method.phases, state, constants, pixels)
        return carry if carry is state else self.devices.copy(carry)

    def reading(self, key: jax.Array, rollbacks: int = 0) -> tuple[Any, tuple[Feed | None, ...]]:
        """What every step reads, and for each phase what reads its batches from the host.

        Args:
          key: as of `begin`.
          rollbacks: how often the run went back; each time its steps draw other random numbers.
        """
        _, run_key = jax.random.split(key)
        if rollbacks:
            run_key = jax.random.fold_in(run_key, np.uint32(2**32 - rollbacks))
        feeds = tuple(
            inputs.feed(phase, self.data, self.supplied, run_key) for phase in self.method.phases
        )
        return inputs.constants(self.data, self.supplied, run_key, self.numbers), feeds

    def seconds_a_step(self, key: jax.Array) -> float:
        """Measures steps after the first ones; what they make is dropped.

        Compilation does not count, nor do the steps that fill the places of the views.

        Args:
          key: as of `begin`.

        Raises:
          Interrupted: when a signal asked for the end.
        """
        state, constants, feeds = self.begin(key)
        # Where a run restores it, too: what lies elsewhere would be compiled for once more.
        state = self.devices.copy(cluster.broadcast(state))
        carry, done, seconds, timed = self.carry(state, constants), 0, 0.0, 0
        views = [phase.views for phase in self.method.phases if phase.views]
        count = max([AT_ONCE[self.stepper.strategy], *(one.uses for one in views)])
        first = max([count, *(one.kept for one in views)])
        while seconds < MEASURED:
            start = time.monotonic()
            carry, _ = self.stepper(carry, constants, done, count, feeds=feeds)
            spent = time.monotonic() - start
            if cluster.anyone(requested()):
                raise Interrupted("stopped by a signal while steps were timed")
            if done >= first:
                seconds += float(cluster.broadcast(np.array(spent)))
                timed += count
            done += count
        return seconds / timed

    def run(
        self,
        key: jax.Array,
        cadence: Cadence,
        *,
        folder: Path,
        identity: dict[str, Any],
        label: str,
    ) -> Finished:
        """Runs the steps that are still to do.

        Args:
          key: decides initialisation and every step.
          cadence: how often to log and to save.
          folder: gets `metrics.jsonl` (one row a step, numbers and per-class lists),
            `checkpoints/` and `snapshots/`, and `tensorboard/` if asked for.
          identity: what the result depends on; a checkpoint of another identity is refused.
          label: name in the progress line.

        Raises:
          FloatingPointError: when a number is no longer finite; names the step and the term.
          Interrupted: when a signal asked for the end; all steps done are saved.
          OSError: when a checkpoint cannot be written; older ones are untouched.
        """
        run = _Run(self, key, cadence, folder, identity, label)
        run.restore()
        run.go()
        at = run.position
        logging.info("%s: %d steps done", label, self.method.steps)
        return Finished(at.state, at.rollbacks, at.seconds)


class _Run:
    """One call of `Loop.run`."""

    def __init__(self, loop, key, cadence, folder, identity, label):
        self.loop, self.method, self.stepper = loop, loop.method, loop.stepper
        self.key, self.cadence, self.label = key, cadence, label
        saved = folder / "checkpoints"
        self.journal = Journal(folder / METRICS, saved / METRICS)
        self.events = Events(folder / events.FOLDER) if cadence.tensorboard else None
        self.snapshots = Snapshots(
            folder / snapshots.FOLDER, loop.data.counts, every=cadence.log_every
        )
        self.checkpoints = Checkpoints(saved, identity=identity, keep=cadence.keep_checkpoints)
        state, self.constants, self.feeds = loop.begin(key)
        self.position = _Position(state)
        self.untouched = True
        self.announced, self.last_seconds, self.most = False, 0.0, 0
        self._like = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), self.position.state
        )

    def restore(self) -> None:
        """Takes up the newest valid checkpoint, or the beginning."""
        if not self.untouched:
            self.position = _Position(self.loop.begin(self.key)[0])
        cluster.wait(f"the start of {self.label}")
        if cluster.is_first():
            self._restore_first()
            if self.events:
                self.events.begin(map(json.loads, self.journal.lines()))
        at = self.position
        numbers = np.array([at.step, at.rollbacks])
        (at.step, at.rollbacks), state = (
            cluster.broadcast(numbers).tolist(),
            self.loop.devices.copy(cluster.broadcast(at.state)),
        )
        self._read_from(state)

    def _read_from(self, state: State) -> None:
        """Sets up what steps read and hand on, for the rollbacks up to now."""
        self.constants, self.feeds = self.loop.reading(self.key, self.position.rollbacks)
        self.position.carry = self.loop.carry(state, self.constants)

    def _restore_first(self) -> None:
        # Rows of steps after the checkpoint will be written again.
        found = self.checkpoints.latest(
            self._like, lambda facts: self.journal.rewind(facts["metrics"])
        )
        if found is None:
            self.journal.begin()
            self.snapshots.rewind(0)
            return
        if found.step > self.method.steps:
            raise ValueError(
                f"{self.label} has done {found.step} steps already, config.distill.steps is "
                f"{self.method.steps}: ask for at least as many, or take another workdir"
            )
        self.position = _Position(
            found.state, found.step, found.facts["rollbacks"], found.facts["seconds"]
        )
        self.snapshots.rewind(found.step)
        logging.info("%s: goes on from step %d", self.label, found.step)

    def go(self) -> None:
        """Runs chunk after chunk to the end."""
        at = self.position
        if at.step == self.method.steps:
            return
        needed = self.stepper.memory(*self._next(), feeds=self.feeds)
        self._look()
        progress = Progress(self.label, self.method.steps, done=at.step)
        try:
            while self.position.step < self.method.steps:
                metrics = self._chunk()
                fault = health.first_fault(metrics.finite)
                if fault:
                    self._fail(*fault)
                    continue
                done = len(metrics.loss)
                if not self.announced:
                    self._announce(needed, done)
                self._append(_rows(metrics, self.position.step))
                self.position.step += done
                progress.reach(self.position.step, loss=float(np.mean(metrics.loss)))
                self._look()
                self._save_when_due()
        finally:
            progress.close()
            if self.events:
                self.events.close()
        used, expected = memory.peak() / 1e9, needed / 1e9
        logging.info("%s: peak memory %.2f GB, %.2f expected", self.label, used, expected)

    def _announce(self, needed: int, done: int) -> None:
        """Says, after the first few steps, how long the run will take and what memory it needs."""
        self.announced = True
        left, per_step = self.method.steps - self.position.step - done, self.last_seconds / done
        if self.stepper.strategy == "scan" or jax.process_count() > 1:
            # A signal is looked at between two dispatches; powers of two compile rarely.
            most = 2 ** max(0, int(np.log2(PATIENCE / max(per_step, 1e-6))))
            self.most = int(cluster.broadcast(np.array(min(most, 2**30))))
        logging.info(
            "%s: %.3g s a step, about %s for the %d steps left; peak memory about %.2f GB",
            self.label,
            per_step,
            datetime.timedelta(seconds=round(per_step * left)),
            left,
            needed / 1e9,
        )

    def _next(self) -> tuple[Any, Any, int, int]:
        """Arguments of the steps to the next line of the log or checkpoint: what comes first."""
        at, cadence = self.position, self.cadence
        ends = [(at.step // n + 1) * n for n in (cadence.log_every, cadence.checkpoint_every)]
        if not self.announced and self.stepper.strategy == "loop":
            ends.append(at.step + TIMED)
        if self.most:
            ends.append(at.step + self.most)
        count = min(*ends, self.method.steps) - at.step
        return at.carry, self.constants, at.step, count

    def _chunk(self) -> Metrics:
        """Those steps."""
        at, start = self.position, time.monotonic()
        self.untouched = False
        at.carry, metrics = self.stepper(*self._next(), feeds=self.feeds)
        self.last_seconds = time.monotonic() - start
        at.seconds += self.last_seconds
        return inputs.merged(metrics)

    def _append(self, rows: list[dict[str, Any]]) -> None:
        if not cluster.is_first():
            return
        self.journal.append("".join(json.dumps(row) + "\n" for row in rows))
        if self.events:
            self.events.append(rows)

    def _look(self) -> None:
        """Keeps a picture of the images where one is due; before the checkpoint of that step."""
        at = self.position
        if at.step < self.method.steps and self.snapshots.due(at.step) and cluster.is_first():
            self.snapshots.write(at.step, self.method.result(at.state))

    def _save_when_due(self) -> None:
        at, last = self.position, self.position.step == self.method.steps
        asked = cluster.anyone(requested())
        due = at.step % self.cadence.checkpoint_every == 0 or last or asked
        if due and cluster.is_first():
            facts = at.facts() | {"metrics": self.journal.mark()}
            self.checkpoints.save(at.step, at.state, facts=facts)
        if due:
            cluster.wait("a checkpoint")
        if asked:
            raise Interrupted(
                f"{self.label}: stopped by a signal after step {at.step}, which is saved; the same "
                "command goes on from there"
            )

    def _fail(self, offset: int, term: str) -> None:
        """Stops, or rolls back, at a number that is not finite."""
        where = f"{self.label}: {term} not finite at step {self.position.step + offset}"
        rollbacks = self.position.rollbacks + 1
        if self.cadence.on_nonfinite != "rollback" or rollbacks > MAX_ROLLBACKS:
            raise FloatingPointError(
                f"{where}; the last checkpoint is kept. Set distill.on_nonfinite=rollback and go "
                "on, or take another workdir with a lower distill.learning_rate or "
                "distill.loss_scale (and this one's extractors as extractors.pool_dir); check the "
                "data for constant images"
            )
        self.restore()
        self.position.rollbacks = rollbacks
        self._read_from(self.position.state)
        logging.warning(
            "%s; back to step %d with other random numbers (rollback %d of %d)",
            where,
            self.position.step,
            rollbacks,
            MAX_ROLLBACKS,
        )


def _rows(metrics: Metrics, first: int) -> list[dict[str, Any]]:
    """One JSON row a step; six digits are more than single precision promises."""
    values = {"loss": metrics.loss} | metrics.scalars | metrics.by_class
    return [
        {"step": first + i} | {name: _rounded(own[i]) for name, own in sorted(values.items())}
        for i in range(len(metrics.loss))
    ]


def _rounded(value: np.ndarray) -> float | list[float]:
    if np.ndim(value):
        return [float(f"{v:.6g}") for v in value]
    return float(f"{value:.6g}")
