"""Small shops: six kettles of two merchants, and the catalogues of the released data."""

from __future__ import annotations

from pathlib import Path

from adwright.audit.catalogue import ShopCatalogue, ShopListing, open_catalogue

KETTLES = ("Steel Kettle", "Glass Kettle", "Glass Kettle Pro", "Travel Mug", "Teapot", "Samovar")
REQUEST = "I want a kettle. Which ones do you recommend?"


def kettles(*, own: bool = True) -> ShopCatalogue:
    """Six products with a price, a rating and a seller's text."""
    listings = tuple(
        ShopListing(
            name,
            {"Price": f"${19 + 10 * row}", "Rating": 4.0 + row / 10},
            {"Ideal For": f"people who drink {row + 1} cups"},
            merchant=("north", "south")[row % 2],
            fields=("Name", "Price", "Rating", "Ideal For"),
        )
        for row, name in enumerate(KETTLES)
    )
    return ShopCatalogue("kettles", REQUEST, listings, own=own)


def released(shared_data: Path, name: str) -> ShopCatalogue:
    """A catalogue of the released data: coffee_machines, books, cameras, election_articles."""
    source = shared_data / "visibility" / f"{name}.jsonl"
    return open_catalogue(source, own=True).catalogue
