import dataclasses

from tests.sw.small import ROOT

from crisp.prune import PruneOptions


def word(default):
    """Return a default as the table has it."""
    if default is None or default == ():
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    value = getattr(default, "value", default)
    return value if isinstance(value, str) else f"{value:g}"


def test_every_setting_is_in_the_table_with_its_default():
    text = (ROOT / "docs/pruning.md").read_text()
    table = text[text.index("## Every setting") : text.index("## Interrupted runs")]
    told = {}
    for line in table.splitlines():
        if line.startswith("| `"):
            names, defaults = (cell.strip("| ").replace("`", "").split(", ") for cell in line.split(" | ")[:2])
            told |= dict(zip(names, defaults, strict=True))
    assert told == {field.name: word(field.default) for field in dataclasses.fields(PruneOptions)}
