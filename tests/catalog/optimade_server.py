"""The reference server of optimade-python-tools, with a few built-in crystals in its in-memory database.

`python tests/catalog/optimade_server.py PORT [LICENCE]` serves until it is ended.
"""

from __future__ import annotations

import sys
import tempfile
from typing import Any

from stand_in import crystals, optimade_structure


def application(licence: str, folder: str) -> Any:
    import bson.json_util
    from optimade.server.config import ServerConfig
    from optimade.server.create_app import create_app

    config = ServerConfig(
        insert_test_data=False,
        database_backend="mongomock",
        log_dir=folder,
        log_level="error",
        page_limit=5,
        page_limit_max=10,
        provider={
            "prefix": "exmpl",
            "name": "Example database",
            "description": "Crystals built into lacbed",
            "homepage": "https://example.com",
        },
        aliases={
            "structures": {
                "id": "task_id",
                "chemical_formula_descriptive": "pretty_formula",
                "chemical_formula_reduced": "pretty_formula",
                "chemical_formula_anonymous": "formula_anonymous",
            }
        },
    )
    if licence:
        # Setting it in the constructor would ask spdx.org.
        object.__setattr__(config, "license", f"https://spdx.org/licenses/{licence}")
    app = create_app(config, logger_tag="stand-in")
    documents = [optimade_structure(crystal, f"ex-{i:03d}") for i, crystal in enumerate(crystals())]
    app.state.entry_collections["structures"].insert(bson.json_util.loads(bson.json_util.dumps(documents)))
    return app


if __name__ == "__main__":
    import uvicorn

    with tempfile.TemporaryDirectory() as logs:
        uvicorn.run(
            application(sys.argv[2] if len(sys.argv) > 2 else "", logs),
            host="127.0.0.1",
            port=int(sys.argv[1]),
            log_level="error",
        )
