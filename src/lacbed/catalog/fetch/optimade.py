"""Any database that speaks OPTIMADE, through the client of optimade-python-tools.

Specification: https://www.optimade.org; Evans et al., Digital Discovery 3, 1509 (2024). The databases are listed
at https://providers.optimade.org. The licence recorded is the one that the database states in `/info`
(`available_licenses`, else `license`), else the one that the user names, else "unknown".

The specification obliges no database to say which structures are cubic or measured. Cubic ones are therefore
picked out here, once all that pass the other filters have come; a further filter with a field of the provider
saves that. Pages follow the links that the database gives.

Tested only with the reference server that optimade-python-tools ships, and its real client; no provider's database
has been tried.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from lacbed.catalog.fetch.pages import Cursor, Query, RawPage, Source
from lacbed.catalog.fetch.web import PoliteSession, host_of, user_agent
from lacbed.catalog.files import Row
from lacbed.catalog.imports import Provenance
from lacbed.catalog.rows import row_of
from lacbed.catalog.standard import standardised
from lacbed.crystals.adaptors import from_lattice
from lacbed.crystals.cell import FloatArray
from lacbed.errors import CrystalError, FetchError, MissingExtraError, SettingError

LONGEST_DELAY = 30.0
"""Seconds; the longest pause between requests that a database can ask for in `meta.request_delay`."""

ENTRIES_PER_PAGE, _FEW = 100, 10
_FIELDS = ("lattice_vectors", "cartesian_site_positions", "species", "species_at_sites", "structure_features")
_UNUSABLE = ("assemblies", "implicit_atoms", "site_attachments", "unknown_positions")
_VACANCY = "vacancy"


def optimade_source(
    query: Query,
    session: PoliteSession,
    base_url: str,
    *,
    extra_filter: str = "",
    licence: str = "",
    kind: str = "unknown",
    entries_per_page: int = ENTRIES_PER_PAGE,
) -> Source:
    """A database as a source.

    Args:
        query: the filters; `experimental` cannot be asked for.
        session: asks for the licence, and sets the delay between requests.
        base_url: of the database, with or without /v1.
        extra_filter: in the filter language of OPTIMADE; may use fields of the provider.
        licence: recorded if the database states none.
        kind: recorded, for example dft_relaxed_theoretical.
        entries_per_page: asked for; the database may give fewer.

    Raises:
        SettingError: if the filter cannot be parsed, or asks for something that OPTIMADE cannot express.
        MissingExtraError: if the client is not installed.
    """
    if query.experimental:
        raise SettingError(
            "OPTIMADE cannot select measured structures (--experimental); "
            "use --filter with a field of the provider"
        )
    base_url = _base(base_url)
    text = filter_of(query, extra_filter)
    client = _client(base_url, session)

    def page(cursor: Cursor | None, folder: Path) -> RawPage:
        place = cursor or {"url": None, "seen": 0, **_about(session, base_url)}
        here = place["url"]
        if here is None:
            answer = _first(client, base_url, text, entries_per_page)
        else:
            answer = _answer(client, base_url, text, here, None)
        entries, link, total = _entries(answer, base_url), _link(answer), answer.meta.get("data_returned")
        session.delay = max(session.delay, min(float(answer.meta.get("request_delay") or 0.0), LONGEST_DELAY))
        seen = int(place["seen"]) + len(entries)
        following = {**place, "url": link, "seen": seen} if link and entries and link != here else None
        terms = licence if place["licence"] == "unknown" and licence else str(place["licence"])
        facts = (str(place["provider"]), terms)
        done = seen / total if isinstance(total, int) and total > 0 else None
        return RawPage([(str(e["id"]), (e, facts)) for e in entries], following, 0, done)

    def row(name: str, entry: tuple[Mapping[str, Any], tuple[str, str]]) -> Row:
        document, (provider, terms) = entry
        return _row(name, document["attributes"], Provenance(provider, terms, kind), base_url)

    request = {"base_url": base_url, "filter": text, "licence": licence, "kind": kind, "page": entries_per_page}
    return Source("optimade", request, page, row)


def filter_of(query: Query, extra: str = "") -> str:
    """The filters in the language of OPTIMADE, with operators that every database must know."""
    parts = []
    if query.contains:
        parts.append(f"elements HAS ALL {_quoted(query.contains)}")
    if query.only:
        parts.append(f"nelements<={len(query.only)}")
        if not query.contains:
            parts.append(f"elements HAS ANY {_quoted(query.only)}")
    if query.max_atoms is not None:
        parts.append(f"nsites<={query.max_atoms}")
    if extra.strip():
        parts.append(f"({extra.strip()})")
    text = " AND ".join(parts)
    if text:
        _check_filter(text, extra)
    return text


def _quoted(symbols: tuple[str, ...]) -> str:
    return ",".join(f'"{symbol}"' for symbol in sorted(symbols))


def _check_filter(text: str, extra: str) -> None:
    try:
        from optimade.exceptions import BadRequest  # optional
        from optimade.filterparser import LarkParser
    except ImportError:
        raise MissingExtraError(_missing()) from None
    try:
        LarkParser().parse(text)
    except BadRequest:
        raise SettingError(f"{extra!r} is not a filter of OPTIMADE; see https://www.optimade.org") from None


def _missing() -> str:
    return "OPTIMADE needs the package optimade; install it with: pip install 'lacbed[fetch]'"


def _base(url: str) -> str:
    if not re.match(r"https?://[^/]+", url):
        raise SettingError(f"the base URL of a database begins with https:// or http://, got {url!r}")
    return re.sub(r"/v\d+(\.\d+)*$", "", url.rstrip("/"))


def _client(base_url: str, session: PoliteSession) -> Any:
    """The client, made to ask through our kind of session; its own retries never end when told to slow down."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from optimade.client import OptimadeClient  # optional
    except ImportError:
        raise MissingExtraError(_missing()) from None

    class Session(PoliteSession):
        def __init__(self) -> None:
            super().__init__()
            self.delay = session.delay

    client = OptimadeClient(
        base_urls=[base_url],
        max_results_per_provider=0,
        headers={"User-Agent": user_agent()},
        use_async=False,
        silent=True,
        http_client=Session,
    )
    client._progress.print = _say_nothing  # its "silent" leaves errors printed
    return client


def _say_nothing(*_: Any, **__: Any) -> None:
    pass


def _first(client: Any, base_url: str, text: str, limit: int) -> Any:
    """The first page; a database that refuses so many entries at once is asked for fewer."""
    for smaller in (limit, None, _FEW):
        try:
            return _answer(client, base_url, text, None, smaller)
        except FetchError as error:
            if "page_limit" not in str(error) or smaller == _FEW:
                raise
    raise AssertionError


def _answer(client: Any, base_url: str, text: str, url: str | None, limit: int | None) -> Any:
    """One page as the client gives it."""
    results = client.get_one(
        "structures",
        quote(text, safe=""),
        base_url,
        response_fields=list(_FIELDS),
        page_limit=limit,
        paginate=False,
        override_url=url,
    )[base_url]
    if results.errors:
        raise FetchError(_explained(results.errors[0], base_url))
    return results


def _explained(error: Any, base_url: str) -> str:
    """The client reports what went wrong as text, or passes on what the database says."""
    if isinstance(error, Mapping):
        error = f"{error.get('title', 'error')}: {error.get('detail', '')}"
    text, host = " ".join(str(error).split()), host_of(base_url)
    if text.startswith("FetchError: "):
        return text.removeprefix("FetchError: ")
    status = re.match(r"RuntimeError: (\d{3}) - (\S+): (.*)", text)
    if status:
        what = "has a fault" if status[1].startswith("5") else "refuses"
        return f"{host} {what} (status {status[1]}): {status[3][:200]}"
    return f"{host} does not answer as OPTIMADE should: {text[:160]}"


def _entries(answer: Any, base_url: str) -> list[dict[str, Any]]:
    data = answer.data
    good = isinstance(data, list) and all(
        isinstance(e, dict) and "id" in e and isinstance(e.get("attributes"), dict) for e in data
    )
    missing = _absent([e["attributes"] for e in data], _FIELDS[:4]) if good and data else []
    if not good or missing:
        what = f"no {', '.join(missing)}" if missing else "no list of structures"
        raise FetchError(f"{host_of(base_url)} does not answer as OPTIMADE should: {what}")
    return list(data)


def _link(answer: Any) -> str | None:
    link = answer.links.get("next")
    link = link.get("href") if isinstance(link, dict) else link
    return str(link) if link else None


def _about(session: PoliteSession, base_url: str) -> dict[str, str]:
    """Name of the provider, and the licence that the database states."""
    answer = session.json_of(f"{base_url}/v1/info")
    try:
        attributes, meta = answer["data"]["attributes"], answer["meta"]
        provider = str((meta.get("provider") or {}).get("name") or host_of(base_url))
    except (KeyError, TypeError, AttributeError):
        raise FetchError(f"{base_url}/v1/info is not what OPTIMADE answers; is this a base URL?") from None
    return {"provider": provider, "licence": stated_licence(attributes)}


def stated_licence(attributes: Mapping[str, Any]) -> str:
    """SPDX identifiers that `/info` offers, joined by OR; else its link to a licence; else "unknown"."""
    offered = attributes.get("available_licenses") or []
    if offered:
        return " OR ".join(str(name) for name in offered)
    link = attributes.get("license")
    link = link.get("href") if isinstance(link, Mapping) else link
    return re.sub(r"^https?://spdx\.org/licenses/([\w.+-]+?)(\.html)?/?$", r"\1", str(link)) if link else "unknown"


def _row(name: str, attributes: Mapping[str, Any], provenance: Provenance, base_url: str) -> Row:
    """The row of a structure, standardised; its displacements stay unknown.

    Raises:
        CrystalError: if it is not one crystal that can be used.
        MissingExtraError: if spglib is not installed.
    """
    basis, points, shares = _lattice(attributes)
    crystal = from_lattice(name, basis, points, shares, provenance.source)
    standard, symprec = standardised(crystal)
    return row_of(
        standard,
        source=provenance.source,
        source_id=name,
        licence=provenance.licence,
        kind=provenance.kind,
        symprec=symprec,
        note={"database": base_url},
        known_u=False,
    )


def _lattice(attributes: Mapping[str, Any]) -> tuple[FloatArray, FloatArray, Sequence[Mapping[str, float]]]:
    """Rows a, b, c in Å, fractional coordinates (atom, 3), and the occupancy of each element for every atom."""
    bad = [feature for feature in attributes.get("structure_features") or () if feature in _UNUSABLE]
    if bad:
        raise CrystalError(f"structures with {', '.join(bad)} cannot be used")
    for field in _FIELDS[:4]:
        if attributes.get(field) is None:
            raise CrystalError(f"the database gives no {field}")
    basis = _vectors(attributes["lattice_vectors"], "lattice_vectors")
    if basis.shape != (3, 3) or abs(np.linalg.det(basis)) < 1e-6:
        raise CrystalError("not periodic in three directions")
    species = {kind["name"]: _shares(kind) for kind in attributes["species"]}
    shares = [species[site] for site in attributes["species_at_sites"]]
    positions = _vectors(attributes["cartesian_site_positions"], "cartesian_site_positions")
    filled = [i for i, share in enumerate(shares) if share]
    if len(positions) != len(shares) or not filled:
        raise CrystalError(f"{len(positions)} positions for {len(shares)} atoms")
    return basis, (positions @ np.linalg.inv(basis))[filled], [shares[i] for i in filled]


def _vectors(value: Any, name: str) -> FloatArray:
    """Numbers of an answer as (n, 3)."""
    try:
        array = np.asarray(value, dtype=float).reshape(-1, 3)
    except (TypeError, ValueError):
        array = np.full((1, 3), np.nan)
    if not np.all(np.isfinite(array)):
        raise CrystalError(f"{name}: expected vectors of three numbers, got {json.dumps(value, default=str)[:60]}")
    return array


def _absent(entries: Iterable[Mapping[str, Any]], needed: Iterable[str]) -> list[str]:
    """Of the fields needed, those that no entry has, so that a changed answer is noticed at once."""
    return [name for name in needed if not any(name in entry for entry in entries)]


def _shares(kind: Mapping[str, Any]) -> dict[str, float]:
    """Occupancy of each element of a species; a vacancy fills nothing."""
    if kind.get("attached"):
        raise CrystalError("atoms attached to others without positions cannot be used")
    pairs = zip(kind["chemical_symbols"], kind["concentration"], strict=True)
    return {str(symbol): float(share) for symbol, share in pairs if symbol != _VACANCY}
