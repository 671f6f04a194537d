"""The page: a small server on this machine, and workers that compute. No physics is here.

    browser ── request ──▶ server ── message ──▶ worker (a process, warm) ──▶ lacbed.simulate, save_pattern ...
       ◀── stream of messages: progress, preview, exact ◀──────┘

The server never imports torch, so that it answers while workers compute; a worker that has to stop is ended, as
any process can be.  Starlette and uvicorn carry the bytes, the page is plain HTML, CSS and JavaScript: intensities
travel as numbers and are coloured in the browser, so that thickness, colour map, contrast and read-out
answer at once, what is shown can be compared with the engine, and nothing is fetched from elsewhere.
"""
