"""One supervised process: start it, watch it, start it again, stop it.

Rules:
- waiting → starting → ready ⇄ unready; any life that ends unasked goes through restarting (back-off) to
  starting.
- One-shots end as done when they exit 0.
- A process that answers "not ready" is left alone; one that does not answer at all for `hang_after` seconds
  (`start_timeout` while starting) is killed and started again.
- The back-off grows from 0.2 s to 10 s and is forgotten after 30 s of a stable life.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path

from mesh.local import leftovers, logs, ports, probes, procfs
from mesh.local.layout import Layout
from mesh.local.probes import Answer, Outcome
from mesh.local.procfs import Identity
from mesh.local.spawn import base_environ, describe_exit, kill_session, spawn
from mesh.local.spec import Command, Hooks, ProcessSpec, SetupError
from mesh.local.state import ProcessStatus

BACKOFF_FIRST = 0.2
BACKOFF_CAP = 10.0
STABLE_AFTER = 30.0
PROBE_STARTING = 0.1
PROBE_RUNNING = 2.0
PROBE_SILENT = 0.5
SILENCES = 2
"""Silent probes in a row after which a running process is called unready."""


def backoff(deaths: int) -> float:
    """Seconds to wait before the next start after `deaths` deaths in a row (1 or more)."""
    return float(min(BACKOFF_CAP, BACKOFF_FIRST * 2 ** min(deaths - 1, 16)))


class ManagedProcess:
    """Keeps one process of the platform running until asked to stop.

    `changed` is called after every change of `status`.
    """

    def __init__(self, spec: ProcessSpec, hooks: Hooks, layout: Layout, changed: Callable[[], None]) -> None:
        self.spec = spec
        self.status = ProcessStatus(
            name=spec.name, one_shot=spec.one_shot, region=spec.region, host=spec.host, port=spec.port
        )
        self.deaths = 0
        """Ends in a row without a stable life between them."""
        self.fatal: SetupError | None = None
        """Set when trying again cannot help."""
        self.frozen = False
        """Stopped on purpose (SIGSTOP): its silence is no news."""
        self._hooks = hooks
        self._layout = layout
        self._changed = changed
        self._started = asyncio.Event()
        self._stopping = asyncio.Event()
        self._child: asyncio.subprocess.Process | None = None
        self._log_start = 0
        self._verdict = ""
        """Why we killed it, until its end is recorded."""

    async def wait_started(self) -> None:
        """Until it has been ready, or done, once."""
        await self._started.wait()

    @property
    def over(self) -> bool:
        """It was stopped for good and has ended."""
        return self._stopping.is_set() and self._child is None

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self._layout.log(self.spec.name)

    async def run(self) -> None:
        """Live until `stop`, or until a one-shot is done. Cancelling it leaves the child to `stop`."""
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                code = await self._live()
            except SetupError as error:
                self.fatal = error
                self._set("failed", detail=str(error))
                return
            except Exception as error:
                # A hook or the start itself failed: that counts as a death, told in words.
                code, self.status.last_exit = None, str(error) or type(error).__name__
            if self._stopping.is_set():
                return
            if self.spec.one_shot and code == 0:
                self.status.pid = self.status.ticks = None
                self._set("done", ready=True)
                self._started.set()
                return
            await self._pause(stable=time.monotonic() - began >= STABLE_AFTER)

    def forbid_restart(self) -> None:
        """From now on an end is final. Called for every process before the first is stopped."""
        self._stopping.set()

    async def stop(self) -> None:
        """End the process and its family: the stop signal, then SIGKILL after `stop_timeout`."""
        self._stopping.set()
        child = self._child
        if child is not None and child.returncode is None:
            self._set("stopping", detail=f"{self.spec.stop_signal.name} sent")
            child.send_signal(self.spec.stop_signal)
            try:
                await asyncio.wait_for(child.wait(), self.spec.stop_timeout)
            except TimeoutError:
                self.status.detail = f"killed: did not stop within {self.spec.stop_timeout:g} s"
                await self._kill()
        self._clean()
        self.status.pid = self.status.ticks = None
        self._set("stopped", detail=self.status.detail if "killed" in self.status.detail else "")

    async def kill(self) -> None:
        """End it at once, without asking."""
        self._stopping.set()
        await self._kill()

    def signal_session(self, number: signal.Signals) -> None:
        """Signal the process and what shares its session, now."""
        if self._child is not None and self._child.returncode is None:
            kill_session(self._child.pid, number)

    def family(self, stats: list[procfs.Stat] | None = None) -> list[Identity]:
        """What lives below the process: those may have sessions of their own. `stats`: all processes there
        are, for who asks many."""
        child = self._child
        return [item.identity for item in procfs.descendants(child.pid, stats)] if child is not None else []

    def explain(self, state: str, detail: str) -> None:
        """Say that it is not ready, and why."""
        self._set(state, detail=detail)

    def tick(self) -> None:
        """Show what a starting one-shot is busy with: its last line of output."""
        if self.spec.one_shot and self.status.state == "starting":
            lines = logs.tail(self.log, 1, start=self._log_start)
            if lines and lines[0] != self.status.detail:
                self.status.detail = lines[0][:200]
                self._changed()

    async def _live(self) -> int:
        """One life, from preparation to its end; the exit code."""
        self._set("starting", detail="")
        began = time.monotonic()
        command = await self._hooks.prepare() if self._hooks.prepare else None
        self._refuse_taken_port()
        child = await self._spawn(command or Command(self.spec.argv, self.spec.env, self.spec.cwd))
        watch = asyncio.create_task(self._watch(began), name=f"watch {self.spec.name}")
        ended = asyncio.create_task(child.wait(), name=f"wait {self.spec.name}")
        try:
            await asyncio.wait({watch, ended}, return_when=asyncio.FIRST_COMPLETED)
            if watch.done() and not ended.done():
                watch.result()
                await ended
            code = ended.result()
        except BaseException:
            if not self._stopping.is_set():
                await self._kill()
            raise
        finally:
            watch.cancel()
            ended.cancel()
        self.status.last_exit, self._verdict = self._verdict or describe_exit(code), ""
        self._clean()
        return code

    async def _spawn(self, command: Command) -> asyncio.subprocess.Process:
        env = {**base_environ(self._layout.home), **command.env}
        self._log_start = logs.size(self.log)
        with self.log.open("ab") as output:
            child = await spawn(
                command.argv,
                env=env,
                cwd=command.cwd,
                output=output.fileno(),
                account=self.spec.account,
                death_signal=self.spec.stop_signal,
            )
        self._child = child
        found = procfs.stat(child.pid)
        self.status.pid, self.status.ticks = child.pid, found.ticks if found else None
        self._changed()
        if self._stopping.is_set():
            # Asked to stop while the child was being made: `stop` has not seen it.
            await self._kill()
        return child

    async def _watch(self, began: float) -> None:
        """Probe until cancelled; returns after killing a process that hangs."""
        if self.spec.one_shot:
            await asyncio.Event().wait()
        silent_since: float | None = None
        silences = 0
        ready = False
        while True:
            asked = time.monotonic()
            outcome = await probes.check(self.spec.probe)
            now = time.monotonic()
            if self.frozen:
                silences, silent_since = 0, None
                await asyncio.sleep(PROBE_STARTING)
                continue
            if outcome.answer is Answer.READY and not ready:
                if self._hooks.after_ready:
                    await self._hooks.after_ready()
                ready = True
                self.status.started_in = round(time.monotonic() - began, 3)
            if outcome.answer is Answer.SILENT:
                silences += 1
                silent_since = silent_since or asked
            else:
                silences, silent_since = 0, None
            self._judge(outcome, ready, silences)
            limit = self.spec.hang_after if ready else self.spec.start_timeout
            since = silent_since if ready else began
            if outcome.answer is Answer.SILENT and since is not None and now - since >= limit:
                self._verdict = f"hung ({outcome.detail}), killed after {limit:g} s"
                await self._kill()
                return
            await asyncio.sleep(PROBE_STARTING if not ready else PROBE_SILENT if silences else PROBE_RUNNING)

    def _judge(self, outcome: Outcome, was_ready: bool, silences: int) -> None:
        if self._stopping.is_set():
            return
        if outcome.answer is Answer.READY:
            if not self.status.ready:
                self._set("ready", ready=True)
            self._started.set()
        elif not was_ready:
            if self.status.detail != outcome.detail:
                self._set("starting", detail=outcome.detail)
        elif outcome.answer is Answer.NOT_READY or silences >= SILENCES:
            self._set("unready", detail=outcome.detail)

    async def _pause(self, *, stable: bool) -> None:
        self.deaths = 1 if stable else self.deaths + 1
        self.status.restarts += 1
        self.status.pid = self.status.ticks = None
        self.status.last_log = logs.tail(self.log, 5, start=self._log_start)
        delay = backoff(self.deaths)
        self._set("restarting", detail=f"{self.status.last_exit}; starting again in {delay:g} s")
        try:
            await asyncio.wait_for(self._stopping.wait(), delay)
        except TimeoutError:
            pass

    async def _kill(self) -> None:
        child = self._child
        if child is None:
            return
        family = self.family()
        kill_session(child.pid)
        leftovers.end(family, grace=0.0)
        await child.wait()

    def _clean(self) -> None:
        """Once the process has ended: its orphans and its shared memory."""
        if self._child is not None:
            kill_session(self._child.pid)
            self._child = None
        if self.spec.shm_prefix:
            leftovers.sweep_shared_memory(self.spec.shm_prefix)

    def _refuse_taken_port(self) -> None:
        wanted = (self.spec.port, *self.spec.other_ports)
        taken = [port for port in wanted if port and not ports.is_free(port, self.spec.host)]
        if taken and not self.spec.shares_port:
            self._log_start = logs.size(self.log)
            where = "" if self.spec.host == "127.0.0.1" else f" of {self.spec.host}"
            raise OSError(f"port {taken[0]}{where} is taken by another program")

    def _set(self, state: str, *, ready: bool = False, detail: str = "") -> None:
        if state != self.status.state:
            self.status.since = time.time()
        self.status.state, self.status.ready, self.status.detail = state, ready, detail
        self._changed()
