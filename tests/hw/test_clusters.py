"""Clusters, in the machine: the golden machine's bits for every way to share tiles out, and faults of any of them."""

import dataclasses
import functools

import numpy as np
import pytest
from tests.hw.accelerator_host import Host, Outcome, check_records, run_as_golden
from tests.hw.cluster_programs import pack, random_program
from tests.hw.test_accelerator import MEMORIES

from crisp.arch import ENTRY, IDLE_CAUSES, Config, ErrorCode, ExecuteKind, LoadTarget, Opcode, Sharing, Spread
from crisp.golden.clusters import shares
from crisp_sim.machine import MachineSimulator

TINY = Config.preset("tiny")


@functools.cache
def simulator(clusters: int) -> MachineSimulator:
    return MachineSimulator(dataclasses.replace(TINY, clusters=clusters))


@pytest.mark.parametrize("memory", ["quick", "pauses"])
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("clusters", [1, 2, 4])
def test_random_programs(clusters: int, seed: int, memory: str) -> None:
    """Commands one behind the other, of every sharing and spread; counters add up, and the bus's rules are kept."""
    machine = simulator(clusters)
    machine.set_memory(MEMORIES[memory])
    made = random_program(machine.config, seed, 16)
    commands = made.commands
    machine.take_trace()
    with Host(machine, made.program, made.image) as host:
        counters = run_as_golden(host, commands)
        others = sum(host.read_wide(f"IDLE_{name}") for name in ("POOLING", "MEMORY", "COMMAND"))
        assert host.read_wide("CYCLES") == counters["active"] + sum(counters[cause] for cause in IDLE_CAUSES) + others
    machine.check_bus()

    records = machine.take_trace()
    check_records(records, commands, counters)
    for record in records:
        fields = commands[record["command"]][1]
        if fields["kind"] == ExecuteKind.PRODUCT:
            # Blocks of all clusters, walked or not: as many as row tiles and pixel tiles have.
            pixel_tiles = -(-fields["pixels"] // machine.config.columns)
            blocks = fields["row_tiles"] * pixel_tiles * fields["block_columns"]
            assert record["blocks_walked"] + record["blocks_skipped"] == blocks


@pytest.mark.parametrize("cluster", range(4))
def test_faults_of_any_cluster(cluster: int) -> None:
    """A block index that a cluster should not have is told, with the first command that has this cluster take part."""
    machine = simulator(4)
    machine.set_memory(MEMORIES["quick"])
    made = next(
        program
        for program in (random_program(machine.config, seed, 16) for seed in range(100))
        if all((LoadTarget.ENTRIES, number) in program.places for number in range(4))
    )
    place = made.places[LoadTarget.ENTRIES, cluster] - made.program.constants_offset
    wrong = ENTRY.pack(index=9, n_minus_1=0).to_bytes(2, "little")
    constants = made.program.constants[:place] + wrong + made.program.constants[place + 2 :]
    # Cluster 0's own entries are loaded behind those of all, so each cluster has what it alone was sent.
    first = next(
        index
        for index, (opcode, fields) in enumerate(made.commands)
        if opcode is Opcode.EXECUTE
        and fields["kind"] == ExecuteKind.PRODUCT
        and cluster in [share.cluster for share in shares(fields, machine.config)]
    )
    with Host(machine, dataclasses.replace(made.program, constants=constants), made.image) as host:
        outcome = host.run()
        assert outcome is not None
        assert (outcome.code, outcome.command) == (ErrorCode.METADATA_INDEX, first)
        host.soft_reset()
    with Host(machine, made.program, made.image) as host:
        assert host.run() == Outcome(ErrorCode.NONE, 0, 0)


def test_clusters_that_there_are_not() -> None:
    """The rules of LOAD.cluster: told as the golden model does, before the LOAD has an effect."""
    machine = simulator(2)
    machine.set_memory(MEMORIES["quick"])
    made = random_program(machine.config, 1, 4)
    commands = made.program.decode()
    steps = next(command for command in commands if command.unpack().get("target") == LoadTarget.STEPS)
    runs = next(command for command in commands if command.unpack().get("target") == LoadTarget.RUNS)
    for command, fields in (
        (steps, {"cluster": 2, "all_clusters": 0}),
        (steps, {"cluster": 1, "all_clusters": 1}),
        (runs, {"cluster": 1}),
        (runs, {"all_clusters": 1}),
    ):
        changed = [(one.opcode, one.unpack() | (fields if one is command else {})) for one in commands]
        data = b"".join(pack(opcode, values) for opcode, values in changed)
        with Host(machine, dataclasses.replace(made.program, commands=data), made.image) as host:
            fault = host.golden_fault()
            assert fault is not None
            assert fault.code is ErrorCode.CLUSTER
            assert host.run() == Outcome(fault.code, command.index, fault.address)
            host.soft_reset()


@pytest.mark.parametrize("spread", Spread)
@pytest.mark.parametrize("clusters", [2, 4])
def test_shares_are_equal(clusters: int, spread: Spread) -> None:
    """Where tiles are a multiple of the clusters, each cluster has as many results to compute as any other."""
    config = dataclasses.replace(TINY, clusters=clusters)
    command = {"row_tiles": 8, "pixels": 8 * config.columns, "sharing": Sharing.SHARED, "spread": spread}
    pixels = np.arange(command["pixels"])
    work = [len(share.row_tiles) * len(pixels[share.pixels]) for share in shares(command, config)]
    assert work == [8 * len(pixels) // clusters] * clusters
