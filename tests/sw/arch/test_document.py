import dataclasses
from pathlib import Path

from crisp.arch import COUNTERS, END, EXECUTE, LOAD, PRESETS, RUN, STORE, WORDS, Config, PackedWeights, unpack
from crisp.arch.document import example_weights, formats_markdown

DOCS = Path(__file__).parents[3] / "docs"


def test_formats_page_is_up_to_date() -> None:
    assert (DOCS / "formats.md").read_text(encoding="utf-8") == formats_markdown(), "docs/formats.md is stale: run `make docs`"


def test_every_field_is_listed() -> None:
    for word in (*WORDS, RUN, LOAD, EXECUTE, STORE, END, COUNTERS):
        section = formats_markdown().split(f"### `{word.name}`: {word.width} bits\n")[1].split("#")[0]
        for field in word.fields:
            assert f"| `{field.name}` | {'yes' if field.signed else 'no'} | {field.low} to {field.high} | {field.doc} |" in section


def test_bytes_of_the_example_are_the_example() -> None:
    page = formats_markdown().split("### Example")[1].split("## Words")[0]
    data = bytes.fromhex("".join("".join(line.split("`")[1::2]) for line in page.splitlines() if line.endswith("` |")))
    weights, pattern = example_weights()
    read = PackedWeights.from_bytes(data, pattern.shape, pattern.block, pattern.group, 4)
    assert read.pattern == pattern
    assert unpack(read).tolist() == weights.tolist()


def test_contract_lists_the_configuration() -> None:
    lines = (DOCS / "contract.md").read_text(encoding="utf-8").splitlines()
    configs = [Config.preset(name) for name in PRESETS]
    assert any(line.startswith(f"| field | {' | '.join(PRESETS)} |") for line in lines)
    rows = {f"`{field.name}`": [getattr(config, field.name) for config in configs] for field in dataclasses.fields(Config)}
    rows["*multipliers*"] = [config.macs for config in configs]
    rows["*KiB on chip*"] = [f"{config.on_chip_bytes / 1024:.1f}" for config in configs]
    for name, values in rows.items():
        assert any(line.startswith(f"| {name} | {' | '.join(map(str, values))} |") for line in lines), name
