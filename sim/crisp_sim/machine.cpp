// The whole machine under Verilator, behind a C interface that Python loads: its registers are read and written, its memory is a
// model, and the clock runs until it raises its interrupt.
//
// machine_ports.h, generated from the machine's signature, says how wide the bus is and what the trace port is called.
// One Machine object is one simulated machine; there is no other state.

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "Vtop.h"
#include "machine_ports.h"
#include "memory.hpp"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

namespace crisp {

constexpr int NO_ANSWER = -1;

class Machine {
  public:
    Memory memory;
    uint64_t cycle = 0;
    std::vector<uint8_t> records;  // cycle, 8 bytes, then the payload of the trace port

    Machine() : context_(std::make_unique<VerilatedContext>()) {
        context_->threads(1);
#if VM_TRACE
        context_->traceEverOn(true);
#endif
        top_ = std::make_unique<Vtop>(context_.get(), "machine");
        reset();
    }

    ~Machine() {
        top_->final();
#if VM_TRACE
        if (trace_) trace_->close();
#endif
    }

    bool open_trace(const char* path) {
#if VM_TRACE
        trace_ = std::make_unique<VerilatedVcdC>();
        top_->trace(trace_.get(), 99);
        trace_->open(path);
        return true;
#else
        return path == nullptr;
#endif
    }

    void reset() {
        top_->s_axi_awvalid = top_->s_axi_wvalid = top_->s_axi_arvalid = top_->s_axi_bready = top_->s_axi_rready = 0;
        memory.reset(*top_);
        top_->rst = 1;
        for (int i = 0; i < 4; ++i) {
            settle();
            rise();
        }
        memory.check_reset(*top_, cycle);
        top_->rst = 0;
    }

    // Returns the response, or NO_ANSWER after `patience` cycles.
    int write_register(uint32_t address, uint32_t value, uint64_t patience) {
        top_->s_axi_awaddr = address;
        top_->s_axi_wdata = value;
        top_->s_axi_wstrb = 15;
        top_->s_axi_awvalid = top_->s_axi_wvalid = top_->s_axi_bready = 1;
        int response = NO_ANSWER;
        for (const uint64_t end = cycle + patience; cycle < end && response == NO_ANSWER;) {
            bool address_taken = false, data_taken = false;
            step([&] {
                address_taken = top_->s_axi_awvalid && top_->s_axi_awready;
                data_taken = top_->s_axi_wvalid && top_->s_axi_wready;
                if (top_->s_axi_bvalid) response = top_->s_axi_bresp;
            });
            if (address_taken) top_->s_axi_awvalid = 0;
            if (data_taken) top_->s_axi_wvalid = 0;
        }
        top_->s_axi_awvalid = top_->s_axi_wvalid = top_->s_axi_bready = 0;
        return response;
    }

    int read_register(uint32_t address, uint32_t* value, uint64_t patience) {
        top_->s_axi_araddr = address;
        top_->s_axi_arvalid = top_->s_axi_rready = 1;
        int response = NO_ANSWER;
        for (const uint64_t end = cycle + patience; cycle < end && response == NO_ANSWER;) {
            bool address_taken = false;
            step([&] {
                address_taken = top_->s_axi_arvalid && top_->s_axi_arready;
                if (top_->s_axi_rvalid) {
                    response = top_->s_axi_rresp;
                    *value = top_->s_axi_rdata;
                }
            });
            if (address_taken) top_->s_axi_arvalid = 0;
        }
        top_->s_axi_arvalid = top_->s_axi_rready = 0;
        return response;
    }

    // Runs until the interrupt is high, or `cycles` have passed; returns whether it is.
    bool advance(uint64_t cycles) {
        bool interrupt = false;
        for (const uint64_t end = cycle + cycles; cycle < end && !interrupt;) {
            step([&] { interrupt = top_->INTERRUPT; });
        }
        return interrupt;
    }

    void idle(uint64_t cycles) {
        for (const uint64_t end = cycle + cycles; cycle < end;) step([] {});
    }

  private:
    std::unique_ptr<VerilatedContext> context_;
    std::unique_ptr<Vtop> top_;
#if VM_TRACE
    std::unique_ptr<VerilatedVcdC> trace_;
#endif

    template <class Observe>
    void step(Observe observe) {
        memory.drive(*top_, cycle);
        settle();
        memory.sample(*top_, cycle);
        if (TRACE_BYTES && top_->TRACE_VALID) record();
        observe();
        rise();
    }

    void record() {
        const size_t begin = records.size();
        records.resize(begin + 8 + TRACE_BYTES);
        std::memcpy(&records[begin], &cycle, 8);
        std::memcpy(&records[begin + 8], &top_->TRACE_PAYLOAD, TRACE_BYTES);
    }

    // Inputs of the cycle are set together with the falling edge, which no register sees: two evaluations a cycle.
    void settle() {
        top_->clk = 0;
        top_->eval();
#if VM_TRACE
        if (trace_) trace_->dump(10 * cycle);
#endif
    }
    void rise() {
        top_->clk = 1;
        top_->eval();
#if VM_TRACE
        if (trace_) trace_->dump(10 * cycle + 5);
#endif
        ++cycle;
    }
};

}  // namespace crisp

using crisp::Machine;

extern "C" {

Machine* crisp_create() { return new Machine(); }

void crisp_destroy(Machine* machine) { delete machine; }

void crisp_reset(Machine* machine) { machine->reset(); }

int crisp_open_trace(Machine* machine, const char* path) { return machine->open_trace(path); }

void crisp_set_memory(Machine* machine, uint64_t latency, double bandwidth, uint64_t outstanding, double stall, uint64_t seed) {
    machine->memory.options = {latency, bandwidth, outstanding, uint32_t(stall * 4294967295.0)};
    machine->memory.random.seed(seed);
}

void crisp_map(Machine* machine, uint64_t base, uint64_t size, uint8_t* bytes, int readable, int writable) {
    machine->memory.regions.push_back({base, size, bytes, readable != 0, writable != 0});
}

void crisp_unmap(Machine* machine, uint64_t base) {
    auto& regions = machine->memory.regions;
    for (auto region = regions.begin(); region != regions.end();) region = region->base == base ? regions.erase(region) : region + 1;
}

// Each fault is five numbers: whether it is a write's, response, low and high address, transaction.
void crisp_set_faults(Machine* machine, const uint64_t* numbers, uint64_t count) {
    std::vector<crisp::Fault> faults;
    for (uint64_t i = 0; i < count; ++i, numbers += 5) {
        faults.push_back({numbers[0] != 0, uint8_t(numbers[1]), numbers[2], numbers[3], numbers[4]});
    }
    machine->memory.set_faults(faults.data(), faults.size());
}

int crisp_write_register(Machine* machine, uint32_t address, uint32_t value, uint64_t patience) {
    return machine->write_register(address, value, patience);
}

int crisp_read_register(Machine* machine, uint32_t address, uint32_t* value, uint64_t patience) {
    return machine->read_register(address, value, patience);
}

int crisp_advance(Machine* machine, uint64_t cycles) { return machine->advance(cycles); }

void crisp_idle(Machine* machine, uint64_t cycles) { machine->idle(cycles); }

uint64_t crisp_cycle(Machine* machine) { return machine->cycle; }

uint64_t crisp_outstanding(Machine* machine) { return machine->memory.outstanding(); }

void crisp_statistics(Machine* machine, crisp::Statistics* out) { *out = machine->memory.statistics; }

uint64_t crisp_num_violations(Machine* machine) { return machine->memory.violations.size(); }

void crisp_violations(Machine* machine, crisp::Violation* out) {
    std::memcpy(out, machine->memory.violations.data(), machine->memory.violations.size() * sizeof(crisp::Violation));
}

void crisp_clear_violations(Machine* machine) {
    machine->memory.violations.clear();
    machine->memory.statistics.violations = 0;
}

uint64_t crisp_record_bytes(Machine* machine) { return machine->records.size(); }

// Copies all records of the trace port and forgets them.
void crisp_take_records(Machine* machine, uint8_t* out) {
    std::memcpy(out, machine->records.data(), machine->records.size());
    machine->records.clear();
}

}  // extern "C"
