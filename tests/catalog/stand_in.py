"""A server on this machine that answers as the COD does, so that fetching is tested without a network.

What it knows of the protocol (https://wiki.crystallography.net/RESTful_API/):
`/cod/result?format=json&el1=..&strictmin=..&strictmax=..` gives a JSON list of records whose values are text, with
`file`, `formula` as "- O2 Ti -", the cell, `sgNumber`, `flags`, `status`, `duplicateof`, `method`;
`/cod/NUMBER.cif` gives the CIF.

`python tests/catalog/stand_in.py PORT` serves it for a person to try the command line.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from lacbed.crystals import Crystal

NAMES = ("Si", "C", "Ge", "GaAs", "MgO", "NaCl", "SrTiO3", "Cu", "Al", "Au", "Fe", "W", "CsCl", "BaTiO3", "TiO2")
"""Built-in crystals that the server knows; not all of them are cubic."""


@dataclass
class Trouble:
    """How a server misbehaves.

    Attributes:
        statuses: answered, one after the other, before the server behaves.
        retry_after: header sent with them.
        html: answer a page of HTML to everything.
        dead_after: refuse everything with status 500 after so many good answers; None for never.
        break_at: close the connection after so many bytes of the next answer; None for never.
    """

    statuses: list[int] = field(default_factory=list)
    retry_after: str | None = None
    html: bool = False
    dead_after: int | None = None
    break_at: int | None = None


@dataclass
class StandIn:
    """A running server, its address, and what it was asked."""

    url: str
    trouble: Trouble
    asked: list[str]
    headers: list[dict[str, str]]
    world: World


@dataclass
class World:
    """What the server knows."""

    cifs: dict[str, str]
    records: list[dict[str, Any]]


def crystals() -> list[Crystal]:
    """Those of `NAMES` that are built in."""
    from lacbed.crystals.named import NAMES as BUILT_IN

    return [Crystal.named(name) for name in NAMES if name in BUILT_IN]


def world() -> World:
    numbers = {str(9000001 + 7 * i): crystal for i, crystal in enumerate(crystals())}
    return World(
        cifs={number: crystal.to_cif() for number, crystal in numbers.items()},
        records=[cod_record(crystal, number) for number, crystal in numbers.items()],
    )


def space_group_number(crystal: Crystal) -> int:
    import gemmi

    group = gemmi.find_spacegroup_by_name(crystal.space_group)
    assert group is not None
    return int(group.number)


def elements_of(crystal: Crystal) -> list[str]:
    return sorted(set(crystal.atoms.elements))


def lattice_of(crystal: Crystal) -> list[list[float]]:
    """Rows a, b, c."""
    return crystal.direct.T.tolist()


def cod_record(crystal: Crystal, number: str) -> dict[str, Any]:
    names = ("a", "b", "c", "alpha", "beta", "gamma")
    cell = {name: f"{value:.4f}" for name, value in zip(names, crystal.cell, strict=True)}
    formula = " ".join(re.findall(r"[A-Z][a-z]?[\d.]*", crystal.formula))
    return {
        "file": number,
        **cell,
        "formula": f"- {formula} -",
        "sgNumber": str(space_group_number(crystal)),
        "flags": "has coordinates",
        "status": None,
        "duplicateof": None,
        "method": None,
    }


def optimade_structure(crystal: Crystal, name: str) -> dict[str, Any]:
    """A structure as the reference server keeps it."""
    atoms = crystal.atoms
    kinds = elements_of(crystal)
    shares = [atoms.elements.count(kind) / len(atoms.elements) for kind in kinds]
    return {
        "task_id": name,
        "last_modified": {"$date": "2026-01-01T00:00:00Z"},
        "elements": kinds,
        "nelements": len(kinds),
        "elements_ratios": shares,
        "pretty_formula": crystal.formula,
        "formula_anonymous": "A",
        "chemsys": "-".join(kinds),
        "dimension_types": [1, 1, 1],
        "nperiodic_dimensions": 3,
        "nsites": len(atoms.elements),
        "lattice_vectors": lattice_of(crystal),
        "cartesian_site_positions": (atoms.xyz @ crystal.direct.T).tolist(),
        "species": [{"name": kind, "chemical_symbols": [kind], "concentration": [1.0]} for kind in kinds],
        "species_at_sites": list(atoms.elements),
        "structure_features": [],
    }


class _Handler(BaseHTTPRequestHandler):
    world: World
    trouble: Trouble
    asked: list[str]
    seen_headers: list[dict[str, str]]
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.seen_headers.append(dict(self.headers))
        trouble = self.trouble
        if trouble.statuses:
            status = trouble.statuses.pop(0)
            extra = {} if trouble.retry_after is None else {"Retry-After": trouble.retry_after}
            return self._send(status, b"busy", extra)
        if trouble.dead_after is not None and len(self.asked) > trouble.dead_after:
            return self._send(500, b"fault")
        if trouble.html:
            return self._send(200, b"<html><body>Hello</body></html>")
        address = urlsplit(self.path)
        parameters = {key: values[-1] for key, values in parse_qs(address.query).items()}
        for pattern, answer in (
            (r"/cod/result", self._cod_result),
            (r"/cod/(\d+)\.cif", self._cod_cif),
        ):
            match = re.fullmatch(pattern, address.path)
            if match:
                return answer(parameters, *match.groups())
        return self._send(404, b"not found")

    def _send(self, status: int, body: bytes, extra: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(extra or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        cut, self.trouble.break_at = self.trouble.break_at, None
        self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode())

    def _cod_result(self, parameters: dict[str, str]) -> None:
        named = {value for key, value in parameters.items() if re.fullmatch(r"el[1-8]", key)}
        least, most = int(parameters.get("strictmin", 0)), int(parameters.get("strictmax", 99))
        if not named:
            return self._json([])
        found = []
        for record in self.world.records:
            elements = set(re.findall("[A-Z][a-z]?", record["formula"]))
            if named <= elements and least <= len(elements) <= most:
                found.append(record)
        return self._json(found[::-1])

    def _cod_cif(self, parameters: dict[str, str], number: str) -> None:
        text = self.world.cifs.get(number)
        self._send(404, b"none") if text is None else self._send(200, text.encode())


def serve(known: World, port: int = 0) -> tuple[StandIn, ThreadingHTTPServer]:
    """Start a server in a thread; `shutdown()` of the second value ends it."""
    trouble, asked, headers = Trouble(), [], []
    kind = type(
        "Handler", (_Handler,), {"world": known, "trouble": trouble, "asked": asked, "seen_headers": headers}
    )
    server = ThreadingHTTPServer(("127.0.0.1", port), kind)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return StandIn(f"http://127.0.0.1:{server.server_port}", trouble, asked, headers, known), server


if __name__ == "__main__":
    stand_in, running = serve(world(), int(sys.argv[1]))
    print(stand_in.url, flush=True)
    threading.Event().wait()
