"""``edgekd data``: look at data, list known data sets, fetch one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekd.cli.output import print_table, printable, start_output
from edgekd.report_format import number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SHOWN = 20


@click.group()
def data() -> None:
    """Look at images before they are trained on; list and fetch known data sets."""


@data.command()
@click.argument("where", metavar="PATH|NAME")
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Change a key of the recipe's table data.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, all names included.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for inspection.json and, of a public data set, a contact sheet for each class.",
)
@click.option(
    "--contact-sheet", "sheets", is_flag=True, help="Contact sheets of own data too; they show patients' images."
)
@click.option("--quiet", "-q", is_flag=True, help="Warnings and errors only.")
def inspect(where: str, settings: tuple[str, ...], as_json: bool, out: Path | None, sheets: bool, quiet: bool) -> None:
    """What is in a folder, a table, an NPZ or TFRecord file, or a known data set, and what is wrong with it.

    Every image is decoded. Counted are classes and splits, sizes, grey levels, unreadable files, images that stand
    there twice, in two splits or under two labels, and images that are nearly the same. Nothing is changed.
    """
    import json

    from edgekd import api
    from edgekd.artifact import write_json
    from edgekd.data.look import look
    from edgekd.data.sheets import write_sheets
    from edgekd.errors import UserError, writing_to

    progress = start_output(quiet)
    changes = api.parse_overrides(settings)
    for key in changes:
        if not key.startswith("data."):
            raise UserError(f'--set "{key}": only keys of the table data mean something here')
    if sheets and out is None:
        raise UserError("--contact-sheet needs a folder to write to: --out DIR")
    config = api.load_recipe(None, data=where, overrides=changes).data
    found = look(config, progress=progress)
    written = {}
    if out is not None:
        with writing_to(out, "free space, or name another folder with --out"):
            out.mkdir(parents=True, exist_ok=True)
            if sheets or found.public:
                written = write_sheets(found, config, out)
            write_json(out / "inspection.json", {**found.document, "sheets": written})
    if as_json:
        click.echo(json.dumps({**found.document, "sheets": written}, indent=2))
        return
    _print_tables(found.document)
    for line in _lines(found.document):
        click.echo(printable(line))
    if out is not None:
        click.echo(f"written: {out / 'inspection.json'}")
        for file, what in written.items():
            click.echo(printable(f"  {out / file}: {what}"))
        if not written:
            click.echo(
                "  no contact sheets, as the data is not public by name; --contact-sheet writes them all the same"
            )


@data.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def list_(as_json: bool) -> None:
    """The data sets that are known by name: size, task, licence."""
    import dataclasses
    import json

    from edgekd.data.known import known

    rows = known()
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(row) for row in rows], indent=2))
        return
    header = ["name", "task", "classes", "train", "val", "test", "licence", "source"]
    print_table(
        header,
        [
            [
                row.name,
                row.task or "–",
                number(row.num_classes, 0),
                *(number(count, 0) for count in row.counts or (None, None, None)),
                row.licence or "–",
                row.source,
            ]
            for row in rows
        ],
    )


@data.command()
@click.argument("name", metavar="NAME")
@click.option("--quiet", "-q", is_flag=True, help="Warnings and errors only.")
def fetch(name: str, quiet: bool) -> None:
    """Download a known data set unless it is here, and check its digest."""
    from edgekd.data import known

    start_output(quiet)
    fetched = known.fetch(name)
    click.echo(f"{name}: {fetched.path or 'has no file of its own'}, SHA-256 {fetched.sha256}")


def _print_tables(document: Mapping[str, Any]) -> None:
    splits, levels = list(document["splits"]), ["mean grey", "std", "1 %", "99 %"]
    several = len(splits) > 1
    rows = []
    for row in document["classes"]:
        counts = list(row["counts"].values())
        shown = [*counts, sum(counts)] if several else counts
        rows.append([row["name"], *(f"{count:,}" for count in shown), *_levels(row["intensities"])])
    header = ["class", *splits, *(["sum"] if several else []), *levels]
    print_table(header, rows, title=f"{document['name']}: {document['num_images']:,} images")
    if several:
        by_split = document["intensities"]
        rows = [[name, f"{count:,}", *_levels(by_split[name])] for name, count in document["splits"].items()]
        print_table(["split", "images", *levels], rows)


def _levels(intensities: Mapping[str, float] | None) -> list[str]:
    if intensities is None:
        return ["–"] * 4
    return [f"{intensities['mean']:.1f}", f"{intensities['std']:.1f}", f"{intensities['p1']}", f"{intensities['p99']}"]


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    sizes = document["sizes"]
    if sizes["median"]:
        smallest, median, largest = (" x ".join(map(str, sizes[name])) for name in ("smallest", "median", "largest"))
        spread = "all" if smallest == largest else f"from {smallest} to {largest}, the middle one"
        yield f"sizes: {spread} {median}; modes: {', '.join(f'{name} {n:,}' for name, n in document['modes'].items())}"
    if document["imbalance"]:
        yield f"imbalance: {document['imbalance']:g} images of the largest class for one of the smallest"
    if document["num_blank"]:
        yield f"blank: {document['num_blank']:,} image(s) of one colour"
    yield from _listed("unreadable", [f"{row['name']}: {row['reason']}" for row in document["unreadable"]])
    yield from _listed("the same pixel for pixel", [_equal(row) for row in document["duplicates"]])
    for row in document["between"]:
        first, second = row["splits"]
        if row["exact"] or row["near"]:
            yield (
                f"{second} and {first}: {row['exact']:,} image(s) of {second} stand in {first} too, pixel for pixel, "
                f"and {row['near']:,} nearly"
            )
    yield from _listed("one image, several labels", [_equal(row) for row in document["conflicts"]])
    yield from _listed("nearly the same", [_equal(row) for row in document["near"]])
    yield from _listed(
        "classes with nearly the same name", [" = ".join(names) for names in document["lookalike_classes"]]
    )
    for text in document["warnings"]:
        yield f"warning: {text}"
    for text in document["notes"]:
        yield f"note: {text}"
    refused = document["refused"]
    yield f"a build would refuse this: {refused}" if refused else "a build would take this"


def _equal(row: Mapping[str, Any]) -> str:
    if len(set(row["labels"])) == 1:
        return " = ".join(row["images"])
    return " = ".join(f"{name} ({label})" for name, label in zip(row["images"], row["labels"], strict=True))


def _listed(title: str, rows: Sequence[str]) -> Iterator[str]:
    if rows:
        yield f"{title}: {len(rows):,}"
        yield from (f"  {row}" for row in rows[:SHOWN])
        if len(rows) > SHOWN:
            yield f"  and {len(rows) - SHOWN:,} more; --json names all"
