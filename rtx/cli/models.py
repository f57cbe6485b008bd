"""`rtx models`: list, look at, add, export, fetch, check."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from rtx.cli.terminal import console

if TYPE_CHECKING:
    from rtx.nets.cards import Card

models = typer.Typer(help="Models: list, look at, add, export, fetch, check.", no_args_is_help=True)


@models.command("list")
def list_models() -> None:
    """What models there are, and whether their weights are here."""
    from rtx.nets import cards

    grid = Table("name", "what", "clip", "classes", "weights")
    for name in cards.names():
        card = cards.card(name)
        clip = card.clip
        shape = f"{clip.frames} frames over {(clip.frames - 1) * clip.stride_ms / 1000:.1f} s, {clip.size} px"
        grid.add_row(name, card.title, shape, str(len(card.labels) or "-"), _whose(card))
    console.print(grid)


def _whose(card: Card) -> str:
    """Where a model's weights are, in words."""
    if card.bare:
        return "none to fetch: rtx models add"
    if card.home:
        return "yours"
    if card.weights is not None and card.weights.source is None:
        return "part of rtx"
    return "in the cache" if card.here else "not fetched yet"


@models.command("show")
def show_model(name: str) -> None:
    """A model's card and classes."""
    from rtx.nets import cards

    card = cards.card(name)
    console.print(f"[bold]{card.name}[/]: {card.title}\n{card.paper}")
    if card.bare:
        console.print(
            f"weights: none that rtx can fetch; {card.published or 'nobody publishes them'}\n"
            f"         rtx models add CHECKPOINT --arch {card.arch} --labels FILE", soft_wrap=True,
        )  # fmt: skip
    elif card.weights is None:
        console.print("weights: the network brings its own")
    else:
        own = "yours" if card.home else "part of rtx"
        origin = card.weights.source.package if card.weights.source else own
        console.print(f"weights: {origin} ({card.weights.licence})")
        console.print(f"         {card.file if card.here else 'not fetched yet'}", soft_wrap=True)
    console.print(
        f"clip: {card.clip.frames} frames every {card.clip.stride_ms:g} ms, {card.clip.size} x {card.clip.size} pixels"
    )
    if card.labels:
        console.print(f"{len(card.labels)} classes: {escape(', '.join(card.labels))}")
    else:
        console.print("classes: by number; a labels.txt beside its card names them")


@models.command("add")
def add_model(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A state dict: .pth, .pt, .safetensors.")],
    arch: Annotated[str, typer.Option("--arch", help="Its architecture, see [bold]rtx models list[/]: r3d_18, ...")],
    labels: Annotated[Path, typer.Option("--labels", help="A text file: a class's name on each line.")],
    name: Annotated[
        str | None, typer.Option("--name", help="What to call it. [dim](default: the file's name)[/]")
    ] = None,
    clip: Annotated[
        list[str] | None,
        typer.Option(
            "--clip", metavar="KEY=VALUE", help="What it was trained on, e.g. stride_ms=40, mean=[114,107,99]."
        ),
    ] = None,
    arguments: Annotated[
        list[str] | None, typer.Option("--argument", metavar="KEY=VALUE", help="Of the architecture, e.g. shortcut=A.")
    ] = None,
) -> None:
    """Make a model of your own checkpoint: opened without running anything in it, kept beside a card."""
    from rtx import resources
    from rtx.config import pairs
    from rtx.nets.add import add

    called = name or re.sub(r"[^a-z0-9_-]+", "-", checkpoint.stem.lower()).strip("-")
    there = (resources.own_models() / called / "card.toml").exists()
    card = add(checkpoint, arch, labels, called, pairs("--clip", clip or []), pairs("--argument", arguments or []))
    instead = ", in place of the model of this name" if there else ""
    console.print(
        f"{card.name}: {card.title}, {len(card.labels)} classes{instead}; rtx run 0 --model {card.name}",
        soft_wrap=True,
    )


@models.command("export")
def export_model(
    name: Annotated[str, typer.Argument(metavar="MODEL")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE.onnx")],
    explainer: Annotated[
        str, typer.Option(help="What reads features, separated by commas: [bold]'ksigma, cam | selective'[/]")
    ] = "cam",
) -> None:
    """Write a model with explainers as one ONNX file that runs without rtx: frames in, scores and heatmaps out."""
    from rtx.explain.chain import chain_for
    from rtx.explain.registry import parse_several
    from rtx.nets import cards

    chains = parse_several(explainer)
    for chain in chains:
        chain_for(str(chain), None, cards.card(name).labels)
    from rtx.api import load
    from rtx.engine.export import export, output_of

    with console.status(f"writing {name}"):
        export(load(name, "cpu", "fp32"), chains, output)
    maps = ", ".join(output_of(chain) for chain in chains)
    console.print(f"{output}: {output.stat().st_size / 2**20:.0f} MB; clip, target -> logits, {maps}", soft_wrap=True)


@models.command("pull")
def pull_model(name: str) -> None:
    """Fetch a model's weights into the cache, by hash."""
    from rtx.nets import cards, weights

    with console.status(f"fetching the weights of {name}"):
        path = weights.pull(cards.card(name))
    console.print(f"{name}: {path.stat().st_size / 2**20:.0f} MB, checked", soft_wrap=True)


@models.command("check")
def check_model(name: str) -> None:
    """Check the weights' hash, then classify a plain clip to see that the network runs."""
    from rtx.nets import cards, weights

    card = cards.card(name)
    if card.weights is not None:
        weights.check(card)
    from rtx.api import load
    from rtx.engine.engine import Engine

    engine = Engine(load(name), "cam")
    engine.warm_up()
    console.print(f"{name}: weights whole, network runs on {engine.backend.device} in {engine.backend.precision}")
