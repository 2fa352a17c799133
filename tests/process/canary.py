"""What the search for a leaked password has at hand: the secrets, whatever was answered, the processes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from process.harness import Answer, Client, Done, Home, Running, StandIn
from process.leaks import files, processes, search
from process.raw_target import RawTarget
from process.watch import Watch

CANARY = 'Cänary-9f4"2b\\7c1e/Qx8+Vt'
REFUSED = "canary refused by policy zqjwkvxyp"
CLIENT_SECRET = "Client-secret-31-qmzt/81+x"
ECHO_SECRET = "Echo-secret-77-wqlk/05+y"


@dataclass(slots=True)
class Trail:
    """The answers and outputs that were seen."""

    seen: list[tuple[str, bytes]] = field(default_factory=list)

    def answer(self, name: str, answer: Answer) -> Answer:
        """Note an answer's headers and body."""
        self.seen.append((f"answer to {name}", json.dumps(answer.headers).encode() + b"\n" + answer.raw))
        return answer

    def done(self, name: str, done: Done) -> Done:
        """Note what a command printed."""
        self.seen.append((f"output of {name}", done.out + b"\n" + done.err))
        return done


@dataclass(slots=True)
class Scene:
    """Everything that the paths need."""

    place: Home
    target: StandIn
    hostile: RawTarget
    key: str
    operator: str
    trail: Trail
    watch: Watch  # of programs that end
    directory: Watch  # of the one that serves slapd
    gateway: Running

    @property
    def client(self) -> Client:
        return Client(self.gateway.url, self.key)

    def user(self, number: int) -> tuple[str, str]:
        """Id and name of an active user."""
        return self.target.active_users()[number]

    def command(self, name: str, *arguments: str, stdin: str = CANARY) -> Done:
        """A command beside the gateway, with the canary on its standard input."""
        env = {"PASSFERRY_URL": self.watched(), "PASSFERRY_API_KEY": self.key}
        return self.trail.done(name, self.place.run(*arguments, stdin=stdin.encode(), env=env))

    def watched(self, by: Watch | None = None) -> str:
        """The gateway's address behind a watch: whoever waits for an answer there is looked at."""
        watch = by or self.watch
        watch.lead_to(self.gateway.url)
        return watch.url

    def hook(self, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Done:
        """A hook to its end. What it tells the machine's log is in a file beside its settings."""
        done = self.place.run("hook", *arguments, stdin=stdin, env=env, module="process.heard")
        return self.trail.done(f"hook {arguments[0]}", done)

    def leaks(self) -> list[str]:
        """Where a secret is that should not be."""
        secrets = (CANARY, REFUSED, CLIENT_SECRET, ECHO_SECRET)
        found = search(secrets, [*files(self.place.root), *self.trail.seen])
        watched = [*self.watch.arguments, *self.directory.arguments]
        found += search(secrets, [*processes(self.place.started, "cmdline"), *watched])
        watched = [*self.watch.environments, *self.directory.environments]
        return found + search((CANARY, REFUSED), [*processes(self.place.started, "environ"), *watched])
