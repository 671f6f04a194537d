"""The Materials Project: structures relaxed by density-functional theory, through its client `mp-api`.

Licence CC-BY-4.0 (https://next-gen.materialsproject.org/about/terms), except for the structures of GNoME, which
are CC-BY-NC-4.0. The server is asked to leave those out, and an entry that says itself that it is one of them
(`builder_meta.batch_id`, `builder_meta.license`) is left out too; on request they come with their licence.

"Experimental" means what the project says of an entry, `theoretical = false`: it is linked to a measured
structure; its coordinates are computed all the same. Pages are numbered, sorted by id; should the project publish
a new version of its database between two halves of a fetch, the second is refused.

Tested with the real client against a stand-in for the server (tests/catalog/stand_in.py); the real server, its
limits and its answers to a wrong key could not be tried.

Cite Jain et al., APL Mater. 1, 011002 (2013), and for GNoME Merchant et al., Nature 624, 80 (2023).
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

from lacbed.catalog.fetch.source import Batch, Cursor, Origin, Source, lacking, numbers, row_of_lattice
from lacbed.catalog.fetch.wanted import Wanted
from lacbed.catalog.fetch.web import FAULTS, PoliteSession, check, host_of
from lacbed.catalog.schema import Row
from lacbed.errors import CrystalError, FetchError, MissingExtraError

SERVER = "https://api.materialsproject.org/"
GAP = 0.5
"""Seconds between requests; the project allows 25 a second."""

ENTRIES_A_PAGE = 250
KEY = "MP_API_KEY"
KEY_LENGTH = 32
GNOME_BATCH = "gnome_r2scan_statics"
_GET_A_KEY = "make one, free of charge, at https://next-gen.materialsproject.org/api"
_FIELDS = ["material_id", "structure", "theoretical", "builder_meta"]
_MOST_SYSTEMS = 6
"""Elements whose every combination is asked for by name."""


def api_key() -> str:
    """The key in the environment.

    Raises:
        FetchError: if there is none or it cannot be one, with how to get one.
    """
    key = os.environ.get(KEY, "").strip()
    if not key:
        raise FetchError(f"the Materials Project needs an API key: {_GET_A_KEY}, and set it as {KEY}")
    if len(key) != KEY_LENGTH or not key.isalnum():
        raise FetchError(
            f"{KEY} is no key of the Materials Project: it has {KEY_LENGTH} letters and digits; {_GET_A_KEY}"
        )
    return key


def mp_source(wanted: Wanted, session: PoliteSession, server: str = SERVER, gnome: bool = False) -> Source:
    """The database as a source.

    Args:
        wanted: the filters.
        session: asks the server, also for the client.
        server: address of the API.
        gnome: also the structures of GNoME, under their licence.

    Raises:
        FetchError: if the API key is missing.
    """
    key = api_key()
    server = server.rstrip("/") + "/"
    opened: list[tuple[Any, str]] = []

    def page(cursor: Cursor | None, folder: Path) -> Batch:
        if not opened:
            opened.append(_client(session, server, key))
        client, version = opened[0]
        if cursor and cursor["version"] != version:
            raise FetchError(
                f"the Materials Project is now at version {version}, this fetch began with {cursor['version']}; "
                "begin anew with --restart"
            )
        number = int(cursor["page"]) if cursor else 1
        documents = _documents(client, wanted, number, gnome)
        good = [d for d in documents if gnome or not is_gnome(d)]
        following = {"page": number + 1, "version": version} if len(documents) == ENTRIES_A_PAGE else None
        return Batch([(str(d["material_id"]), d) for d in good], following, len(documents) - len(good))

    return Source("mp", {"server": server, "gnome": gnome}, page, _row)


def query_of(wanted: Wanted, gnome: bool) -> dict[str, Any]:
    """Arguments for the client's search that leave out as much as the server can."""
    query: dict[str, Any] = {"deprecated": False, "include_gnome": gnome}
    if wanted.cubic:
        query["crystal_system"] = "Cubic"
    if wanted.contains:
        query["elements"] = sorted(wanted.contains)
    if wanted.experimental:
        query["theoretical"] = False
    if wanted.max_atoms is not None:
        query["num_sites"] = (1, wanted.max_atoms)  # of the primitive cell, never more than the conventional
    if wanted.only and (wanted.contains or len(wanted.only) > _MOST_SYSTEMS):
        query["num_elements"] = (1, len(wanted.only))
    elif wanted.only:
        symbols = sorted(wanted.only)
        groups = (group for n in range(1, len(symbols) + 1) for group in combinations(symbols, n))
        query["chemsys"] = ["-".join(group) for group in groups]
    return query


def is_gnome(document: Mapping[str, Any]) -> bool:
    """Whether an entry says that it comes from GNoME or is for non-commercial use only."""
    meta = document.get("builder_meta") or {}
    return "gnome" in str(meta.get("batch_id") or "").lower() or meta.get("license") == "BY-NC"


def _client(session: PoliteSession, server: str, key: str) -> tuple[Any, str]:
    """The client and the version of the database, from a server that is seen to answer.

    The client asks for the version too, but without a time limit, and remembers it.
    """
    response = session.get(f"{server}heartbeat")
    check(response)
    with _explained(server):
        version = str(response.json()["db_version"])
        headers = {**session.headers, "x-api-key": key}
        client = _summary_client()(
            api_key=key,
            endpoint=server,
            session=session,
            headers=headers,
            use_document_model=False,
            mute_progress_bars=True,
        )
    return client, version


def _summary_client() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from mp_api.client.routes.materials.summary import SummaryRester  # noqa: PLC0415  optional, slow
    except ImportError:
        raise MissingExtraError(
            "the Materials Project is fetched with mp-api; install it with: pip install 'lacbed[fetch]'"
        ) from None
    return SummaryRester


def _documents(client: Any, wanted: Wanted, number: int, gnome: bool) -> list[dict[str, Any]]:
    with _explained(client.base_endpoint):
        found = client.search(
            **query_of(wanted, gnome),
            fields=_FIELDS,
            chunk_size=ENTRIES_A_PAGE,
            num_chunks=1,
            _page=number,
            _sort_fields="material_id",
        )
    documents = [dict(document) for document in found]
    missing = lacking(documents, ("material_id", "structure")) if documents else []
    if missing:
        raise FetchError(f"the Materials Project gives no {', '.join(missing)} any more; its answers have changed")
    return documents


@contextmanager
def _explained(server: str) -> Iterator[None]:
    """Turn what the client raises into one sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (FetchError, MissingExtraError):
        raise
    except Exception as error:  # the client raises its own, those of pydantic, and KeyErrors
        raise FetchError(_sentence(server, error)) from None


def _sentence(server: str, error: Exception) -> str:
    text, host = " ".join(str(error).split()), host_of(server)
    status = re.search(r"status code (\d{3}) .*?with message: (.*)", text)
    if status is None:
        return f"{host} answers in an unexpected way: {type(error).__name__} {text[:160]}"
    if status[1] in ("401", "403"):
        return f"{host} refuses the API key in {KEY}; {_GET_A_KEY}"
    what = "has a fault" if int(status[1]) in FAULTS else "refuses"
    return f"{host} {what} (status {status[1]}): {status[2][:160]}"


def _row(name: str, document: Mapping[str, Any]) -> Row:
    structure = document["structure"]
    shares = [_shares(site["species"]) for site in structure["sites"]]
    meta = document.get("builder_meta") or {}
    gnome, theoretical = is_gnome(document), document.get("theoretical")
    facts = {"database_version": meta.get("database_version"), "batch": meta.get("batch_id")}
    origin = Origin(
        source="Materials Project (GNoME)" if gnome else "Materials Project",
        source_id=name,
        licence="CC-BY-NC-4.0" if gnome else "CC-BY-4.0",
        kind="dft_relaxed_known" if theoretical is False else "dft_relaxed_theoretical",
        experimentally_known=None if theoretical is None else not theoretical,
        note={key: value for key, value in facts.items() if value},
    )
    basis = numbers(structure["lattice"]["matrix"], "lattice")
    return row_of_lattice(basis, numbers([s["abc"] for s in structure["sites"]], "positions"), shares, origin)


def _shares(species: list[Mapping[str, Any]]) -> dict[str, float]:
    """Occupancy of each element of a site; an element with several charges is one."""
    shares: dict[str, float] = {}
    for part in species:
        element = str(part["element"])
        shares[element] = shares.get(element, 0.0) + float(part["occu"])
    if not shares:
        raise CrystalError("a site without atoms")
    return shares
