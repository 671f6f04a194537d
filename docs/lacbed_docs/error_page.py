"""The page of errors: every message of `error_messages`, by area, with what to do."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from lacbed_docs.error_messages import GAP, Message, messages

AREAS = (
    ("cli/parse", "The command line", "Options take values in the form that `lacbed COMMAND --help` shows."),
    ("cli/", "Commands", "`lacbed COMMAND --help` lists what a command takes."),
    ("felix/", "Felix input", "Give `felix.inp` or its folder; see [coming from Felix](coming-from.md#felix)."),
    ("crystals/", "Crystals and CIF files", "Open the CIF in a text editor at the place that the message names, or "
     "export it anew from the database or program that it came from."),
    ("scattering/", "Scattering factors", "The tables cover neutral atoms; see [the physics](physics.md#factors)."),
    ("potential", "Potential and absorption", "See [the physics](physics.md#potential)."),
    ("geometry/", "Orientation and tilt grid", "See [conventions](physics.md#conventions)."),
    ("beams", "Choice of beams and reflections", "See the tutorial [beams and convergence](tutorials/beams.md)."),
    ("converge", "Convergence", "See the tutorial [beams and convergence](tutorials/beams.md)."),
    ("settings", "Settings of a simulation", "The arguments are described under "
     "[`lacbed.simulate`](reference/api.md#lacbed.simulate)."),
    ("simulation", "Simulation", "The arguments are described under "
     "[`lacbed.simulate`](reference/api.md#lacbed.simulate)."),
    ("fast", "The fast solver", "See [solvers](physics.md#solvers)."),
    ("solvers/", "Solvers and memory", "See [solvers](physics.md#solvers)."),
    ("patterns/formats/felix", "Images of Felix", "See [coming from Felix](coming-from.md#felix)."),
    ("patterns/", "Patterns, files and figures", "The ending of a file name chooses its format: `.nc`, `.zarr`, "
     "`.npz`, `.tif`, `.hspy`, `.png`."),
    ("catalog/fetch/", "Fetching from databases", "Nothing is lost when a fetch stops: the same command goes on."),
    ("catalog/", "Catalogues", "See [data sets](datasets.md) and `lacbed catalog --help`."),
    ("datasets/", "Data sets", "See [data sets](datasets.md) and `lacbed dataset --help`."),
    ("learn/", "Learning", "See the tutorial [train and evaluate](tutorials/train.md)."),
    ("invert/", "Experiments and fits", "See the tutorial [fit an experiment](tutorials/fit.md)."),
    ("app/", "The page", "Messages of `lacbed app` appear beside the control that caused them."),
)  # fmt: skip
"""Path of a module, heading, and what holds for all messages there; the first that fits counts."""

ADVICE = (
    # One message, or a few that are alike.
    (r"^files are made as|format of a file is one", "Choose one of the formats that the page offers."),
    (r"not kept any more", "Compute the picture again, then download."),
    (r"there is no task", "The task has ended or the page was reloaded; start it again."),
    (r"other sites are refused|must carry the header", "Open the page at the address that `lacbed app` printed."),
    (r"its own address only", "Start it with `--allow-host NAME`, if others shall reach it under that name."),
    (r"fault inside lacbed", "Report it, with what the terminal of `lacbed app` says."),
    (r"server does not answer|server answered", "Start `lacbed app` again; its terminal says why it ended."),
    (r"was dropped cannot be read", "Drop the files themselves, from a folder of this machine."),
    (r"no such page", "Open the address that `lacbed app` printed."),
    (r"stopped after …|fewer pixels|took too long and", "Ask for less, or start `lacbed app` with a longer `--time-limit`."),
    (r"request (is larger|took too long|is not JSON|must be)", "Reload the page and try again; send smaller files."),
    (r"describes images, which are missing", "Drop `images.npz` together with `experiment.json`."),
    (r"files of the kind", "Import them first: `lacbed experiment import`."),
    (r"larger than (…|1) [kM]B; that is not|larger than any|is larger than any stack",
     "Check that it is the right file; cut the one crystal or stack out of it."),
    (r"listed, but its CIF is not there", "The entry is left out; nothing to do."),
    (r"not one of OPTIMADE", "Correct the filter: strings in double quotes, `AND`, `OR`, `HAS ALL`."),
    (r"base URL|an address begins", "Give the address up to, and without, `/v1`."),
    (r"structures with … cannot be used|not periodic in three|attached to others|positions for|a site without",
     "That structure is left out; nothing to do unless you need it."),
    (r"no catalogue of crystals|no column|wrong type for a catalogue|does not fit the catalogue|catalogue row",
     "Make the catalogue with `lacbed catalog import`, `generate` or `fetch`, which write the right columns."),
    (r"holds no \.cif files|neither a catalogue", "Give a folder or zip with files that end with `.cif`."),
    (r"nothing was written", "Every structure failed; the reasons stand above it. Mend the CIFs and run again."),
    (r"is not a CIF|is empty; expected a CIF", "Give a text file that starts with `data_…`; unpack archives first."),
    (r"no data block|data blocks hold atoms", "Name one of the blocks that the message lists."),
    (r"is no data set|no data set of lacbed|holds no Zarr store|has no patterns yet|is not finished",
     "Build it to the end with `lacbed dataset build`; the same command goes on."),
    (r"a split is by|known from experiment|meets? the conditions|rows in … groups are too few|rows cannot be used",
     "Loosen the conditions, or choose a kind of split that this catalogue can have; the message names them."),
    (r"has no values: it is no crystal", "Leave it out with `--skip-invalid`."),
    (r"workers do not answer|a worker has", "Start the workers again with the same version; then run the command "
     "again, which goes on."),
    (r"is it an input file of Felix|factors number|absorption number|no reflection of … lies|incident beam direction|"
     r"the entry for|holds no felix", "Correct `felix.inp`, `felix.cif` or `felix.hkl` where the message says."),
    (r"felix\.inp|images of Felix|8-byte or 4-byte|folders of the thicknesses",
     "Keep the images in the folders that Felix made, with `felix.inp`, `felix.cif` and `felix.hkl` above them."),
    (r"foil normal … is", "Choose a foil normal nearer to the zone axis."),
    (r"give the half-width of the grid once", "Give one of `k_max`, `semi_angle` and `extent`."),
    (r"tilt grid reaches|semi_angle must be", "Choose a smaller half-width."),
    (r"images are … x …|are square, got|a square of … pixels", "Cut the images to equal squares around the zone "
     "axis: `--crop`."),
    (r"two images; keep one|was not measured|holds … images", "Name each measured reflection once, in the order of "
     "the images."),
    (r"no contrast|no image has any contrast|holds no image", "Check that the files hold the measured images and not thumbnails or "
     "masks."),
    (r"geometry (cannot|that can) be fitted", "Give the half-width and orientation yourself, or a better start."),
    (r"orientation of an image", "Write where k goes down the rows and along the columns: `-y+x`, or `fit`."),
    (r"plays no part", "Free a factor of a reflection of this zone that the images reach."),
    (r"lacks the fields|pixels a side and the model makes|no Fourier coefficients|are too few for … processes",
     "Match model and data set: the message names the key to change."),
    (r"processes on this machine", "Start as many processes as there are GPUs."),
    (r"ONNX", "Export with another opset or report it with the config of the model; the model itself is not harmed."),
    (r"direction k = 0|no coordinates gx", "Simulate the pattern on a grid around the zone axis (`center=(0, 0)`)."),
    (r"not written by lacbed|without the metadata that lacbed", "Give a file that `lacbed` wrote. Images of other "
     "programs: `lacbed experiment import`."),
    (r"is said to take|which is never loaded|pickled Python", "Do not open this file: it is broken or made to do harm."),
    (r"no figure for an array|is empty: sizes|holds numbers, got|do not broadcast|compares real images",
     "Pass a pattern as `lacbed.simulate` returns it (intensities)."),
    (r"is a picture; patterns", "A .png cannot be read back; keep a .nc beside it."),
    (r"scattering.factor|absorptive factors? (are|for)|Table …", "Take `kirkland` or `lobato`, which cover H to Lr; "
     "`proportional` absorption covers every element."),
    (r"device …", "Write `cpu`, or install a torch with CUDA."),
    (r"is not valid …", "Correct the line of the TOML or JSON file that follows."),
    (r"a montage (has|of)|not readable", "Select fewer images, for example `pattern.isel(thickness=[-1])`."),
    (r"free of charge", "Do that, once; the key is free."),
    (r"cannot be reached|no secure connection|cannot ask|slow down", "Check the network, the proxy and the name of the "
     "server, and try again later; nothing fetched is lost."),
    (r"no list of structures", "It does not speak OPTIMADE: check the address (it ends before `/v1`)."),
    (r"pages are kept", "Run the same command again."),
    (r"structures of … cannot be used|more problems|the catalogue … has no crystals", "The lines above name each with its "
     "reason; choose other crystals or another catalogue."),
    (r"says itself how it was taken", "Leave the option out, or import the images themselves."),
    (r"did you mean|lists them|It is in: |packaged models are|No table holds", "Choose a name that the message lists."),
    (r"could be predicted", "The reason follows; choose crystals or a predictor that fit the pattern."),
    (r"do not ascend", "Store the pattern with kx and ky ascending."),
    (r"knows (cubic|the|…)", "Compute it exactly (`lacbed simulate`), or train a model for it."),
    # Kinds of message.
    (r"pip install|needs the extra|needs spglib", "Run the command in the message, in the environment where lacbed is."),
    (r"GiB", "Ask for fewer pixels, reflections, thicknesses or beams, or use a machine with more memory."),
    (r"as much to compute as it can hold|try again", "Wait a minute and try again."),
    (r"not converged|to begin with; the limit", "Raise `max_beams` (`--max-beams`)."),
    (r"\bno such (file|folder|data set)|there is no (such )?folder|no folder",
     "Check the spelling and the folder: relative paths start where you are. Folders are not made for you."),
    (r"is damaged|damaged|cut short|foreign|checksum|not copied completely|incomplete|did not arrive whole|broke off",
     "Copy or fetch the file again; what lacbed wrote it can write again. "
     "A file of another program may need another reader."),
    (r"format version|newer version|update lacbed|upgrade", "Update lacbed (`pip install -U lacbed`)."),
    (r"write-protected|cannot (write|make|lock)",
     "Choose another place, or free space and check the rights of the folder."),
    (r"cannot (read|look|unpack|be unpacked|be read|use|serve)",
     "The reason follows the colon. Check that the file is there, may be read and is of the kind asked for."),
    (r"is (a folder|a file|a directory)|a data set is a|as an experiment is a folder|is not a folder",
     "Name a file where a file is wanted and a folder where a folder is wanted."),
    (r"in use by another|another build|finish that one", "Let the other run end, or choose another folder."),
    (r"was begun with|belongs to other|was trained|is not empty|holds (files|something)|resume|choose another folder",
     "Go on with the settings that the folder was begun with, or choose a new folder."),
    (r"collide|within … Å of each other", "Check coordinates, origin choice and space group: atoms overlap after the "
     "symmetry is applied. Atoms that share a place need occupancies that add up to 1 at most."),
    (r"symmetry|space group|origin choice|group …", "Compare the space group, its setting and the operations with the "
     "source of the structure; a missing or mistyped line is the usual cause."),
    (r"cell (lengths|angles|…)|a cell is six|three independent vectors|encloses? no volume",
     "Check the six cell parameters: Å and degrees."),
    (r"atom|site|occupanc|element|U_iso|U_ij|_ij|coordinate", "Correct the line of that atom in the CIF (element, "
     "three coordinates, occupancy, displacements)."),
    (r"Laue zone|forbidden by the lattice|listed twice|names? a (reflection|parameter) twice|hu \+ kv",
     "Choose reflections with hu + kv + lw = 0 that the lattice centring allows, each once."),
    (r"g_max|beams|lies outside", "Change the number of beams or `g_max` in the direction that the message names."),
    (r"solver|paraxial|multislice|frozen|slices", "Take the solver that the message names; `auto` always fits."),
    (r"grids? differ|no … in common|the … differ|do not match|contradict|differ in (size|the shape)|another cell",
     "Bring both to the same grid, reflections and thicknesses; `--intersect` compares what both have."),
    (r"thickness", "Give thicknesses in Å: a list, or first:last:step. A picture shows one."),
    (r"\b(energy|energies|voltage|kV|eV)\b", "Energies are in eV in Python (200e3) and voltages in kV on the command line (200)."),
    (r"refuses access|API key|is no key", "Get a key from the database and set it as the message says."),
    (r"status|answers?\b|not what OPTIMADE|leave alone|left alone|is not what it was|has entries without|no collection",
     "The database is busy, has moved or has changed. Try later, check the address, and report it if it stays so."),
    (r"installation has no trained model|no model|is no model|learned simulator|what it has learned",
     "Train a model (`lacbed train`) and name its folder with `--model`, or compute the pattern exactly."),
    (r"not a number (at|after)|lower the learning rate", "Lower the learning rate or clip the gradient, then resume."),
    (r"drop |choose a built-in|built-in crystal", "Choose from `lacbed crystals`, or give a CIF."),
    (r"no built-in|nor is there a file", "Spell the name as `lacbed crystals` does, or give the path of a CIF."),
    (r"cannot be free|--free|Ug:|free parameters|changes these images|no measured image",
     "Free only what symmetry allows and the images show; the message lists the names."),
    (r"(^|\s)--[a-z]", "Give the option as the message shows it; `--help` has examples."),
    (r"has no key|it knows|unknown|of a training config|needs …$|a change is|config", "Use the keys that are listed."),
    (r"must|expected|got …|needs?\b|choose|give|is (one|three|a|neither)|takes|raise|lower|select|without",
     "Change the value to what the message asks for."),
)  # fmt: skip
"""What to do for messages with certain words; the first that fits counts."""

FALLBACK = "See the note above this table."
"""For messages about which nothing else is said."""

INFORMS = "Nothing; it tells how the result was made."
"""For remarks about which nothing else is said."""

WARNING_ADVICE = (
    (r"no built-in", "Search with another word; `lacbed crystals` alone lists all."),
    (r"worker process died", "Use fewer `--workers`, or a machine with more memory; the other crystals are safe."),
    (r"split changes", "Finish the data set before you split it."),
    (r"Debye-Waller|set on every site", "Give a value if you know one: `--b-iso`, or `_atom_site_U_iso_or_equiv` in "
     "the CIF; intensities at high angles depend on it."),
    (r"neutral atoms", "Nothing to do: there are no tables of ions that hold at small angles."),
    (r"occupancy 0", "Nothing to do, unless the atom should be there: correct its occupancy."),
    (r"symmetry|space group|operations", "Compare with the source of the structure, and correct the CIF if the choice is wrong."),
    (r"leaks|on several sides|split", "Do not quote errors of this split as those of new crystals: take "
     "`--kind compound` or `prototype`."),
    (r"not finished", "Run the same command again; it goes on where it stopped."),
    (r"left out|cannot be used|pixels saturated|without contrast", "Nothing to do if you can do without; else mend what is named."),
    (r"row …|cannot be (read|computed)|another shape|and should be|differ",
     "Build the data set again in another folder, or copy it again from where it is whole."),
    (r"Felix", "A difference to know when you compare with Felix; see [coming from Felix](coming-from.md#felix)."),
    (r"higher Laue zones are asked", "Add the option if the pattern shows lines of higher zones."),
    (r"felix\.hkl", "Name the reflections with `--hkl` or in `felix.hkl`."),
    (r"too few reflections", "Check orientation and half-width by eye: `lacbed fit` draws experiment and simulation."),
    (r"do not fit the images|contradict|that the model does not explain|no thickness fits",
     "Check zone axis, indices, cell, orientation and half-width: `lacbed experiment import --orientation fit --half-width fit`."),
    (r"end of the scan|edge of its range|ran to the end", "Widen the range (`--thickness`), or free less."),
    (r"beams", "Give more beams: `--beams`."),
    (r"do not change these images|the fit diverged|impossible crystal", "Free fewer parameters (`--free`), or start nearer."),
    (r"unlike what was learned", "Compute the pattern exactly: `lacbed simulate`, or `lacbed predict --check`."),
    (r"fitted to the Bragg lines|starts from the half-width|averaged", "For your information."),
)  # fmt: skip
"""What to do about warnings with certain words; the first that fits counts."""

WARNINGS_HEAD = """
## Warnings and remarks

These do not stop anything: they stand under the result, in its report and among its metadata.

| remark | what to do |
|---|---|
"""

USAGE = """
## Mistakes in the words of a command

The parser of the command line says these itself; the help of the command follows in the message.

| message | what to do |
|---|---|
| `No such option: …` | Check the spelling; options begin with two dashes. |
| `No such command '…'` | `lacbed --help` lists the commands. |
| `Missing argument '…'` | Give what is named in capitals, most often the crystal or a file. |
| `Missing option '…'` | Give it; `-o FILE` says where the result goes. |
| `Option '…' requires an argument` | Put a value after it. |
| `Invalid value for '…': …` | Write a number where a number is wanted. |
| `Got unexpected extra argument (…)` | Put quotation marks around a value with blanks: `--hkl "0,0,0 2,0,0"`. |

## Other endings

| message | code | what to do |
|---|---|---|
| `lacbed: stopped; no unfinished file was left behind` | 130, 143 | You (or the system) stopped it. Nothing to mend. |
| `… (this is a fault in lacbed; please report it, with the output under LACBED_TRACEBACK=1)` | 1 | Run the command \
again with `LACBED_TRACEBACK=1` before it and report what it prints. |
"""

HEAD = """# Errors

Every error and every warning that the program prints is on this page, with what to do. The list is read from the source when this
site is built. `…` stands for what differs from case to case: search for the words around it.

On the command line an error is one line that begins with `lacbed:`, and the exit code is 2. In Python it is an
exception, a subclass of `lacbed.LacbedError`. Nothing has been written or overwritten when an error appears.
"""


def area_of(module: str) -> tuple[str, str]:
    """Heading of a module's messages, and what holds for all of them."""
    for prefix, title, advice in AREAS:
        if module.startswith(prefix):
            return title, advice
    raise LookupError(f"no area of the page of errors takes {module}; add one to AREAS")


def advice_for(message: Message) -> str:
    """What to do about a message."""
    for pattern, advice in WARNING_ADVICE if message.kind == "warning" else ADVICE:
        if re.search(pattern, message.text):
            return advice
    return INFORMS if message.kind == "warning" else FALLBACK


def page(found: Sequence[Message] | None = None) -> str:
    """The page as Markdown."""
    by_area: dict[str, dict[str, str]] = {}
    notes: dict[str, str] = {}
    everything = messages() if found is None else found
    for message in (m for m in everything if m.kind != "warning"):
        title, notes[title] = area_of(message.module)
        by_area.setdefault(title, {})[message.text] = advice_for(message)
    parts = [HEAD]
    for _, title, _ in AREAS:
        rows = by_area.pop(title, None)
        if rows:
            parts.append(f"\n## {title}\n\n{notes[title]}\n\n| message | what to do |\n|---|---|\n")
            parts += _rows(rows)
    remarks = {m.text: advice_for(m) for m in everything if m.kind == "warning"}
    return "".join([*parts, *([WARNINGS_HEAD, *_rows(remarks)] if remarks else []), USAGE])


def _rows(advice: dict[str, str]) -> list[str]:
    return [f"| {shown(text)} | {what} |\n" for text, what in advice.items()]


def shown(text: str) -> str:
    """A message as a cell of a table."""
    return f"<code>{html.escape(text, quote=False).replace('|', '&#124;').replace(GAP, '<i>…</i>')}</code>"
