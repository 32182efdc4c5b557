"""Foreign models and frameworks as agents; one file and one extra each, imported when used."""
