/* Registers of the CRISP accelerator. Written by `crisp docs` from sw/crisp/arch/registers.py; see docs/registers.md. */
#ifndef CRISP_REGISTERS_H
#define CRISP_REGISTERS_H

#define CRISP_MAGIC 0x50535243u
#define CRISP_VERSION_MAJOR 1u
#define CRISP_VERSION_MINOR 0u
#define CRISP_ADDRESS_SPACE_BYTES 4096u
#define CRISP_MEMORY_ADDRESS_WIDTH 40u
#define CRISP_WINDOW_GRANULE 64u

/* Offsets in bytes; masks of fields where a register has several. */
#define CRISP_ID 0x000u
#define CRISP_VERSION 0x004u
#define CRISP_VERSION_MINOR_MASK 0x0000ffffu
#define CRISP_VERSION_MAJOR_MASK 0xffff0000u
#define CRISP_CONFIG_DIGEST 0x008u
#define CRISP_CONTROL 0x00cu
#define CRISP_CONTROL_START_MASK 0x00000001u
#define CRISP_CONTROL_SOFT_RESET_MASK 0x00000002u
#define CRISP_STATUS 0x010u
#define CRISP_STATUS_BUSY_MASK 0x00000001u
#define CRISP_STATUS_DONE_MASK 0x00000002u
#define CRISP_STATUS_ERROR_MASK 0x00000004u
#define CRISP_STATUS_RESETTING_MASK 0x00000008u
#define CRISP_STATUS_BUS_STUCK_MASK 0x00000010u
#define CRISP_INTERRUPT_ENABLE 0x014u
#define CRISP_INTERRUPT_ENABLE_DONE_MASK 0x00000001u
#define CRISP_INTERRUPT_ENABLE_ERROR_MASK 0x00000002u
#define CRISP_INTERRUPT_STATUS 0x018u
#define CRISP_INTERRUPT_STATUS_DONE_MASK 0x00000001u
#define CRISP_INTERRUPT_STATUS_ERROR_MASK 0x00000002u
#define CRISP_ERROR_CODE 0x01cu
#define CRISP_ERROR_COMMAND 0x020u
#define CRISP_ERROR_ADDRESS_LOW 0x024u
#define CRISP_ERROR_ADDRESS_HIGH 0x028u
#define CRISP_WATCHDOG 0x02cu
#define CRISP_COMMAND_OFFSET 0x030u
#define CRISP_COMMAND_UNITS 0x034u
#define CRISP_LOADS_COMPLETED 0x038u
#define CRISP_EXECUTES_COMPLETED 0x03cu
#define CRISP_STORES_COMPLETED 0x040u
#define CRISP_PROGRAM_BASE_LOW 0x080u
#define CRISP_PROGRAM_BASE_HIGH 0x084u
#define CRISP_PROGRAM_SIZE 0x088u
#define CRISP_SCRATCH_BASE_LOW 0x090u
#define CRISP_SCRATCH_BASE_HIGH 0x094u
#define CRISP_SCRATCH_SIZE 0x098u
#define CRISP_INPUT_BASE_LOW 0x0a0u
#define CRISP_INPUT_BASE_HIGH 0x0a4u
#define CRISP_INPUT_SIZE 0x0a8u
#define CRISP_OUTPUT_BASE_LOW 0x0b0u
#define CRISP_OUTPUT_BASE_HIGH 0x0b4u
#define CRISP_OUTPUT_SIZE 0x0b8u
#define CRISP_CYCLES_LOW 0x100u
#define CRISP_CYCLES_HIGH 0x104u
#define CRISP_ACTIVE_LOW 0x108u
#define CRISP_ACTIVE_HIGH 0x10cu
#define CRISP_IDLE_WEIGHTS_LOW 0x110u
#define CRISP_IDLE_WEIGHTS_HIGH 0x114u
#define CRISP_IDLE_WINDOWS_LOW 0x118u
#define CRISP_IDLE_WINDOWS_HIGH 0x11cu
#define CRISP_IDLE_DRAIN_LOW 0x120u
#define CRISP_IDLE_DRAIN_HIGH 0x124u
#define CRISP_IDLE_OUTPUT_LOW 0x128u
#define CRISP_IDLE_OUTPUT_HIGH 0x12cu
#define CRISP_IDLE_TAIL_LOW 0x130u
#define CRISP_IDLE_TAIL_HIGH 0x134u
#define CRISP_IDLE_POOLING_LOW 0x138u
#define CRISP_IDLE_POOLING_HIGH 0x13cu
#define CRISP_IDLE_MEMORY_LOW 0x140u
#define CRISP_IDLE_MEMORY_HIGH 0x144u
#define CRISP_IDLE_COMMAND_LOW 0x148u
#define CRISP_IDLE_COMMAND_HIGH 0x14cu
#define CRISP_BLOCKS_WALKED_LOW 0x150u
#define CRISP_BLOCKS_WALKED_HIGH 0x154u
#define CRISP_BLOCKS_SKIPPED_LOW 0x158u
#define CRISP_BLOCKS_SKIPPED_HIGH 0x15cu
#define CRISP_BYTES_READ_LOW 0x160u
#define CRISP_BYTES_READ_HIGH 0x164u
#define CRISP_BYTES_WRITTEN_LOW 0x168u
#define CRISP_BYTES_WRITTEN_HIGH 0x16cu

/* Error codes. */
enum crisp_error_code {
    CRISP_ERROR_NONE = 0, /* No error. */
    CRISP_ERROR_OPCODE = 1, /* A command has no known opcode. */
    CRISP_ERROR_TRUNCATED = 2, /* The command list ends within a command, or without END. */
    CRISP_ERROR_RESERVED = 3, /* Bits of a command that no field has are not zero. */
    CRISP_ERROR_WAIT = 4, /* A command waits for one that does not come before it: it would wait forever. */
    CRISP_ERROR_TARGET = 8, /* LOAD: the target is no buffer; STORE: it is not 0. */
    CRISP_ERROR_ZERO_DIMENSION = 9, /* A count that must be at least 1 is 0. */
    CRISP_ERROR_ROWS = 10, /* More than one row for a target that has no rows. */
    CRISP_ERROR_ROW_BYTES = 11, /* The bytes of a row are no whole words of the target. */
    CRISP_ERROR_PATCHES = 12, /* Patches that the machine cannot cut. */
    CRISP_ERROR_ALIGNMENT = 13, /* Offset or row stride are no multiple of the bus width, or the first channel none of the array's rows. */
    CRISP_ERROR_WINDOW_PERMISSION = 14, /* LOAD from a window that is only written, or STORE to one that is only read. */
    CRISP_ERROR_WINDOW_RANGE = 15, /* Bytes beyond the window's end, or a window beyond the address space. */
    CRISP_ERROR_BUFFER_RANGE = 16, /* Words beyond the end of an on-chip buffer. */
    CRISP_ERROR_CLUSTER = 17, /* A cluster that there is not, or one named for a buffer that all share. */
    CRISP_ERROR_SHARING = 24, /* Sharing has no such value, or none that this kind or an open sum can have. */
    CRISP_ERROR_BLOCKS = 25, /* Groups of a block, or of the last block, are out of range. */
    CRISP_ERROR_WINDOW_WORDS = 26, /* A window's words do not fit the column buffer, or are not those of its blocks. */
    CRISP_ERROR_WALK = 27, /* A step of the walk over pixels is as long as its ring or its row. */
    CRISP_ERROR_METADATA_COUNT = 40, /* A block row keeps no block, or more than its window has. */
    CRISP_ERROR_METADATA_INDEX = 41, /* A block's index is not ascending, or beyond its window. */
    CRISP_ERROR_METADATA_N = 42, /* N of a block is more than M. */
    CRISP_ERROR_RUN_RANGE = 43, /* The runs of a window leave the run buffer, lie more than a ring away, or do not list as many words as it has. */
    CRISP_ERROR_ACTIVATION_RANGE = 44, /* An EXECUTE reads or writes beyond the end of the activation buffer. */
    CRISP_ERROR_METADATA_RANGE = 45, /* Counts, entries, steps or channels of an EXECUTE lie beyond the end of their buffer. */
    CRISP_ERROR_READ_RESPONSE = 56, /* Memory answered a read with SLVERR or DECERR. */
    CRISP_ERROR_WRITE_RESPONSE = 57, /* Memory answered a write with SLVERR or DECERR. */
    CRISP_ERROR_WATCHDOG = 58, /* Nothing moved for as many cycles as WATCHDOG allows. */
};

#endif
