from tests.sw.experiment.made import made_records

from crisp.experiment.records import collect, separate

RECORDS = made_records(networks=("resnet20",), sizes=(3,), values=(0.9,))


def test_what_was_asked_for_other_patterns_has_a_line_of_its_own():
    crisp = [record for record in RECORDS if record["method"] == "crisp"]

    def asked(n, block, records=crisp):
        return [{**record, "block": block, "options": {"n": n, "group": 4}} for record in records]

    others = [record for record in RECORDS if record["method"] != "crisp"]
    found = separate([*others, *asked(2, 16), *asked(1, 16), *asked(2, 64), *asked(3, 32, crisp[:2])])
    names = {(record["options"]["n"], record["block"]): record["method"] for record in found if record["base_method"] == "crisp"}
    assert names == {(2, 16): "crisp 2:4", (1, 16): "crisp", (2, 64): "crisp 2:4 B=64", (3, 32): "crisp 3:4 B=32"}
    assert [record for record in found if record["base_method"] != "crisp"] == others
    assert separate(RECORDS) == RECORDS


def test_the_dense_network_is_the_librarys_not_a_variant():
    dense = [record for record in RECORDS if record["method"] == "dense"]
    variants = [{**record, "method": "long-dense", "top1_float": 0.1} for record in dense]
    for records in ([*RECORDS, *variants], [*variants, *RECORDS]):
        top1 = {record["top1_dense"] for record in collect(records) if record["method"] == "crisp"}
        assert top1 == {record["top1_float"] for record in dense}
