"""Command line of the lab."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable

from tests.lab.blob.server import AzuriteError
from tests.lab.build.builder import BuildError
from tests.lab.cluster.manager import ClusterError
from tests.lab.control.home import Home, LabError
from tests.lab.control.lab import NODES, Lab
from tests.lab.images.definitions import ImageError, definitions

__all__ = ["main"]

STARTED = time.monotonic()
FAULTS = {
    "throttle": "answer 429 with Retry-After",
    "error": "answer 500, or --status",
    "fail-operation": "let a long-running operation end in Failed",
    "latency": "answer after --milliseconds",
    "drop": "break the connection without an answer",
}


def main() -> None:
    """Run one command; a problem the user can act on is one sentence on stderr and exit code 1."""
    arguments = _parser().parse_args()
    try:
        command: Callable[[argparse.Namespace, Lab], None] = arguments.command
        command(arguments, Lab(Home.open(), say=_say))
    except (AzuriteError, BuildError, ClusterError, ImageError, LabError) as exc:
        sys.exit(f"lab: {exc}")
    except KeyboardInterrupt:
        sys.exit("lab: interrupted; `tests/lab/lab up` goes on where it stopped")


def _say(text: str) -> None:
    print(f"[lab {time.monotonic() - STARTED:5.1f} s] {text}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lab",
        description="A simulated Azure and a real Kubernetes control plane on this machine.",
        epilog="LAB_HOME: folder of the lab (default .lab in the clone). LAB_PORT: its first port (default 18400). "
        "LAB_LATENCY_MS: what each ARM request takes at least. LAB_KUBECONFIG: a cluster to use instead of its own. "
        "LAB_NODES: as --nodes.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="bring up what does not run; builds what is missing first")
    up.add_argument(
        "--nodes",
        choices=NODES,
        help="what pods run on (default: containers where this machine can run them; the lab remembers)",
    )
    up.set_defaults(command=lambda arguments, lab: lab.up(nodes=arguments.nodes or ""))
    down = commands.add_parser("down", help="stop everything; the state stays")
    down.add_argument("--purge", action="store_true", help="forget the state too")
    down.set_defaults(command=lambda arguments, lab: lab.down(purge=arguments.purge))
    images = commands.add_parser("images", help="build the images and serve them from the lab's registry (root)")
    images.add_argument("names", nargs="*", metavar="NAME", help="part of an image's name (default: what pods pull)")
    images.add_argument("--list", action="store_true", help="only show what would be served, and the digests known")
    images.set_defaults(command=_images)
    repository = commands.add_parser(
        "repository", help="have Argo CD deliver OpenMRS from a Git server with these charts"
    )
    repository.add_argument("--remove", action="store_true", help="deliver without Argo CD again")
    repository.set_defaults(command=_repository)
    reset = commands.add_parser("reset", help="empty Azure and Kubernetes, count requests from zero")
    reset.add_argument("--counters", action="store_true", help="only count requests from zero")
    reset.set_defaults(command=lambda arguments, lab: lab.reset(counters_only=arguments.counters))
    status = commands.add_parser("status", help="health and address of each part, requests since reset")
    status.add_argument("--json", action="store_true", help="for programs")
    status.set_defaults(command=_status)
    env = commands.add_parser("env", help='export lines for any client: eval "$(tests/lab/lab env)"')
    env.add_argument("--json", action="store_true", help="for programs")
    env.set_defaults(command=_env)
    token = commands.add_parser("token", help="an Entra token for the cluster, as kubectl wants it")
    token.set_defaults(command=lambda _, lab: print(json.dumps(lab.cluster_token())))
    _add_fault(commands.add_parser("fault", help="let the next matching requests go wrong"))
    return parser


def _add_fault(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(required=True, metavar="FAULT")
    for name, what in FAULTS.items():
        kind = kinds.add_parser(name, help=what)
        kind.add_argument("--match", default=".*", help="regular expression on 'METHOD path'")
        kind.add_argument("--count", type=int, default=1, help="how many requests (default 1)")
        if name == "throttle":
            kind.add_argument("--retry-after", type=int, help="seconds")
        elif name == "latency":
            kind.add_argument("--milliseconds", type=int, help="how long it takes")
        elif name in {"error", "fail-operation"}:
            kind.add_argument("--status", type=int, help="HTTP status")
            kind.add_argument("--code", help="error code of Azure")
            kind.add_argument("--message", help="error message")
        kind.set_defaults(command=_fault, fault=name)
    listed = kinds.add_parser("list", help="what is still switched on")
    listed.set_defaults(command=lambda _, lab: print(json.dumps(lab.control("GET", "/lab/faults")["value"], indent=2)))
    clear = kinds.add_parser("clear", help="switch all off")
    clear.set_defaults(command=lambda _, lab: lab.control("DELETE", "/lab/faults"))


def _fault(arguments: argparse.Namespace, lab: Lab) -> None:
    known = {"fault", "match", "count", "retry_after", "milliseconds", "status", "code", "message"}
    body = {name: value for name, value in vars(arguments).items() if name in known and value is not None}
    lab.control("POST", "/lab/faults", body)


def _images(arguments: argparse.Namespace, lab: Lab) -> None:
    names = arguments.names
    named = [image for image in definitions() if any(name in image.reference for name in names)]
    wanted = named if names else [image for image in definitions() if arguments.list or not image.on_demand]
    if not wanted:
        raise ImageError(f"no image is named {' or '.join(names)}: see tests/lab/lab images --list")
    if not arguments.list:
        lab.images(wanted)
    for image in wanted:
        print(f"{image.reference:72} {lab.registry.published.get(image.reference, 'not built for this lab')}")


def _repository(arguments: argparse.Namespace, lab: Lab) -> None:
    found = lab.repository(remove=arguments.remove)
    print(f"{found['revision']} of {found['url']}" if found else "no repository")
    print("ansible-playbook -i inventories/lab playbooks/site.yml brings that about")


def _env(arguments: argparse.Namespace, lab: Lab) -> None:
    variables = lab.environment()
    if arguments.json:
        print(json.dumps(variables, indent=2))
        return
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")


def _status(arguments: argparse.Namespace, lab: Lab) -> None:
    status = lab.status()
    if arguments.json:
        print(json.dumps(status, indent=2))
        return
    if not status["parts"]:
        print(f"no lab in {status['home']}: run `tests/lab/lab up`")
        return
    print(f"nodes: {status['nodes']}" + (f" ({status['nodes_why']})" if status["nodes_why"] else ""))
    for name, part in status["parts"].items():
        state = "healthy" if part["healthy"] else f"NOT HEALTHY: {part['why']}"
        print(f"{name:24} {part['pid'] or '-':>8}  {part['address']:28} {state}")
    if "kube-apiserver" not in status["parts"]:
        print("no cluster: one comes up when a managedClusters resource is written")
    for service in ("azure", "kubernetes"):
        counts = {**status["requests"][service]}
        verbs = status["requests"]["by_verb"][service]
        print(f"requests to {service}: " + (_listed(counts) or "none counted"))
        if any(verbs.values()):
            print(f"{'by verb':>{len('requests to ' + service)}}: " + _listed(verbs))


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items())


if __name__ == "__main__":
    main()
