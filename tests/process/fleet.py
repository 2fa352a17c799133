"""Several processes on one state, which are killed, frozen and started again one by one."""

import os
import random
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from sqlalchemy import text

from .ground import reader
from .harness import Home, Running

SERVE = "serve"


class Fleet:
    """Processes of given commands; callers ask where one of them answers."""

    def __init__(
        self,
        place: Home,
        commands: Sequence[str] = (SERVE,),
        env: Mapping[int, Mapping[str, str]] | None = None,
    ) -> None:
        """``env``: what is other for some of them, by their number."""
        self._place, self._commands, self._env = place, list(commands), dict(env or {})
        self.restarts = 0
        self._members: list[Running | None] = [None] * len(self._commands)
        self._urls: dict[int, str] = {}
        self._luck = random.Random(11)

    def __len__(self) -> int:
        return len(self._commands)

    def url(self) -> str:
        """Where one of the gateways was last; it may be dead by now."""
        return self._luck.choice(list(self._urls.values()))

    def start(self, which: int | None = None) -> None:
        """Start one member, or all."""
        for number in range(len(self)) if which is None else (which,):
            running = self._spawn(number)
            self._members[number] = running
            if self._commands[number] == SERVE:
                self._urls[number] = running.listening().url

    def kill(self, which: int) -> None:
        """kill -9, and no new one yet."""
        self._member(which).kill()

    def restart(self, which: int) -> int:
        """SIGTERM, and a new process in its place; with which code the old one ended."""
        code = self._member(which).stop()
        self.start(which)
        return code

    def start_and_kill(self, which: int, after: float) -> None:
        """A new process that does not get far."""
        running = self._spawn(which)
        time.sleep(after)
        running.kill()

    def freeze(self, which: int) -> None:
        """SIGSTOP: it stops between two instructions, and the world goes on."""
        os.kill(self._member(which).pid, signal.SIGSTOP)

    def thaw(self, which: int) -> None:
        """SIGCONT: it goes on as if nothing had been."""
        os.kill(self._member(which).pid, signal.SIGCONT)

    def stop(self) -> list[str]:
        """SIGTERM to all; what was not as it should be, in words."""
        said = []
        for number, command in enumerate(self._commands):
            running = self._member(number)
            if running.process.poll() is not None:
                said.append(f"{command} {number} had ended with {running.process.returncode}")
            elif (code := running.stop()) != 0:
                said.append(f"{command} {number} stopped with {code}")
        return said

    def supervise(self) -> None:
        """Start again what has ended by itself, as a service manager does."""
        for number in range(len(self)):
            if self._member(number).process.poll() is not None:
                self.restarts += 1
                with suppress(AssertionError):  # the next look tries again
                    self.start(number)

    def live_changes(self) -> int:
        """How many changes wait or are being sent, as the database says; -1 when it does not say."""
        with suppress(Exception), reader(self._place).connect() as connection:
            waits = text("SELECT count(*) FROM changes WHERE state IN ('pending', 'delivering')")
            return int(connection.execute(waits).scalar_one())
        return -1

    def _member(self, which: int) -> Running:
        running = self._members[which]
        assert running is not None, "it was not started"
        return running

    def _spawn(self, which: int) -> Running:
        listen = ("--listen", "127.0.0.1:0") if self._commands[which] == SERVE else ()
        said = ("--json",) if self._commands[which] == "serve" else ()
        return self._place.spawn(self._commands[which], *listen, *said, env=self._env.get(which))
