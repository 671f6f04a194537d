"""Servers on this machine that answer as the databases do, so that fetching is tested without a network.

What they know of the protocols:

* COD (https://wiki.crystallography.net/RESTful_API/): `/cod/result?format=json&el1=..&strictmin=..&strictmax=..`
  gives a JSON list of records whose values are text, with `file`, `formula` as "- O2 Ti -", the cell, `sgNumber`,
  `flags`, `status`, `duplicateof`, `method`; `/cod/NUMBER.cif` gives the CIF.
* Materials Project: `/heartbeat`, and `/materials/summary/` with the parameters that `mp-api` sends (`_page`,
  `_per_page`, `crystal_system`, `elements`, `chemsys`, `theoretical`, `nsites_max`, `batch_id_not_eq`), key in
  the header x-api-key; answers {"data": [...], "meta": {"total_doc": n}}.
* A file server with ranges, as figshare has, for JARVIS.

`python tests/catalog/stand_in.py PORT` serves all three for a person to try the command line.
"""

from __future__ import annotations

import io
import json
import re
import sys
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from lacbed.crystals import Crystal

NAMES = ("Si", "C", "Ge", "GaAs", "MgO", "NaCl", "SrTiO3", "Cu", "Al", "Au", "Fe", "W", "CsCl", "BaTiO3", "TiO2")
"""Built-in crystals that the servers know; not all of them are cubic."""

KEY = "k" * 32
MEMBER = "list.json"
GNOME_BATCH = "gnome_r2scan_statics"


@dataclass
class Trouble:
    """How a server misbehaves.

    Attributes:
        statuses: answered, one after the other, before the server behaves.
        retry_after: header sent with them.
        html: answer a page of HTML to everything.
        dead_after: refuse everything with status 500 after so many good answers; None for never.
        break_at: close the connection after so many bytes of the next answer; None for never.
        forgetful: do not leave out the structures of GNoME when asked to.
    """

    statuses: list[int] = field(default_factory=list)
    retry_after: str | None = None
    html: bool = False
    dead_after: int | None = None
    break_at: int | None = None
    forgetful: bool = False


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
    """What the servers know."""

    cifs: dict[str, str]
    records: list[dict[str, Any]]
    documents: list[dict[str, Any]]
    archive: bytes
    db_version: str = "2026.10.1"


def crystals() -> list[Crystal]:
    """Those of `NAMES` that are built in."""
    from lacbed.crystals.named import NAMES as BUILT_IN  # noqa: PLC0415

    return [Crystal.named(name) for name in NAMES if name in BUILT_IN]


def world() -> World:
    found = crystals()
    numbers = {str(9000001 + 7 * i): crystal for i, crystal in enumerate(found)}
    entries = [jarvis_entry(crystal, i) for i, crystal in enumerate(found)]
    return World(
        cifs={number: crystal.to_cif() for number, crystal in numbers.items()},
        records=[cod_record(crystal, number) for number, crystal in numbers.items()],
        documents=[mp_document(crystal, i) for i, crystal in enumerate(found)],
        archive=zipped(entries),
    )


def space_group_number(crystal: Crystal) -> int:
    import gemmi  # noqa: PLC0415

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


def mp_document(crystal: Crystal, i: int) -> dict[str, Any]:
    atoms = crystal.atoms
    sites = [
        {"species": [{"element": element, "occu": 1}], "abc": xyz}
        for element, xyz in zip(atoms.elements, atoms.xyz.tolist(), strict=True)
    ]
    gnome = i % 5 == 4
    return {
        "material_id": f"mp-{100 + i}",
        "structure": {"lattice": {"matrix": lattice_of(crystal)}, "sites": sites},
        "theoretical": i % 2 == 1,
        "builder_meta": {"batch_id": GNOME_BATCH if gnome else None, "license": "BY-NC" if gnome else "BY-C"},
        "_cubic": space_group_number(crystal) >= 195,
        "_elements": elements_of(crystal),
    }  # fmt: skip


def jarvis_entry(crystal: Crystal, i: int) -> dict[str, Any]:
    return {
        "jid": f"JVASP-{i}",
        "spg_number": str(space_group_number(crystal)),
        "func": "OptB88vdW",
        "icsd": "[12345]" if i % 2 == 0 else "na",
        "atoms": {
            "lattice_mat": lattice_of(crystal),
            "coords": crystal.atoms.xyz.tolist(),
            "elements": [f"{element} " for element in crystal.atoms.elements],
            "cartesian": False,
        },
    }


def zipped(entries: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(MEMBER), json.dumps(entries))
    return buffer.getvalue()


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
            (r"/heartbeat", self._heartbeat),
            (r"/materials/summary/?", self._summary),
            (r"/files/\S+\.zip", self._file),
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

    # -- Crystallography Open Database ----------------------------------------------------------------
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

    # -- Materials Project ----------------------------------------------------------------------------
    def _heartbeat(self, parameters: dict[str, str]) -> None:
        self._json({"db_version": self.world.db_version, "access_controlled_batch_ids": [GNOME_BATCH]})

    def _summary(self, parameters: dict[str, str]) -> None:
        if self.headers.get("x-api-key") != KEY:
            return self._send(401, json.dumps({"detail": "No API key found or invalid"}).encode())
        if self.trouble.forgetful:
            parameters.pop("batch_id_not_eq", None)
        found = [d for d in self.world.documents if fits(d, parameters)]
        found.sort(key=lambda d: d["material_id"])
        size, page = int(parameters["_per_page"]), int(parameters["_page"])
        part = found[(page - 1) * size : page * size]
        fields = parameters["_fields"].split(",")
        data = [{key: value for key, value in d.items() if key in fields} for d in part]
        return self._json({"data": data, "meta": {"total_doc": len(found)}})

    # -- files ----------------------------------------------------------------------------------------
    def _file(self, parameters: dict[str, str]) -> None:
        content, asked = self.world.archive, self.headers.get("Range")
        if asked is None:
            return self._send(200, content)
        begin = int(asked.removeprefix("bytes=").rstrip("-"))
        if begin >= len(content):
            return self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        span = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        return self._send(206, content[begin:], {"Content-Range": span})


def fits(document: dict[str, Any], parameters: dict[str, str]) -> bool:
    elements = set(document["_elements"])
    meta = document["builder_meta"]
    rules = {
        "crystal_system": lambda value: document["_cubic"] or value != "Cubic",
        "elements": lambda value: set(value.split(",")) <= elements,
        "chemsys": lambda value: "-".join(sorted(elements)) in value.split(","),
        "theoretical": lambda value: str(document["theoretical"]).lower() == value.lower(),
        "batch_id_not_eq": lambda value: meta["batch_id"] != value,
        "nsites_max": lambda value: len(document["structure"]["sites"]) <= int(value),
        "nelements_max": lambda value: len(elements) <= int(value),
    }
    return all(rule(parameters[name]) for name, rule in rules.items() if name in parameters)


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
