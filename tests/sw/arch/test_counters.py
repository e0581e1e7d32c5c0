from crisp.arch import COUNTERS, IDLE_CAUSES


def test_active_and_idle_causes_are_what_total_is_made_of() -> None:
    names = [field.name for field in COUNTERS.fields]
    assert names[:2] == ["total", "active"]
    assert tuple(names[2 : 2 + len(IDLE_CAUSES)]) == IDLE_CAUSES
    assert all(name.startswith("idle_") for name in IDLE_CAUSES)
    assert not any(name.startswith("idle_") for name in names[2 + len(IDLE_CAUSES) :])


def test_counters_lie_in_whole_32_bit_words() -> None:
    assert {field.width for field in COUNTERS.fields} == {32}
    assert not any(field.signed for field in COUNTERS.fields)
    assert COUNTERS.width == 32 * len(COUNTERS.fields)
