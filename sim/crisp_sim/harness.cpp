// The layer engine under Verilator, behind a C interface that Python loads: it feeds streams from buffers and fills
// buffers from streams, one clock cycle after the other, until the engine is done or stands still.
//
// engine_ports.h, generated from the engine's signature, names the streams, their widths and the fields of a window's word.
// One Engine object is one simulated engine; there is no other state.

#include <cstdint>
#include <cstring>
#include <memory>
#include <type_traits>

#include "Vtop.h"
#include "engine_ports.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "payloads are copied as bytes, the first lowest");

namespace {

// Verilator stores up to 64 bits in an integer and more in an array of 32-bit words: the same bytes either way.
template <class Payload>
void put_bytes(Payload& payload, const void* bytes, size_t count) {
    static_assert(std::is_trivially_copyable_v<Payload>);
    std::memcpy(&payload, bytes, count);
}

// Sets a number of at most 56 bits in a zeroed payload from bit `shift` on.
void deposit(uint8_t* payload, unsigned shift, uint64_t value) {
    value <<= shift % 8;
    for (uint8_t* byte = payload + shift / 8; value; ++byte, value >>= 8) *byte |= uint8_t(value);
}

// xorshift64*: idle and stall cycles, repeatable on every machine.
class Random {
  public:
    void seed(uint64_t value) { state_ = value * 2 + 1; }
    bool chance(uint32_t threshold) {  // threshold / 2^32
        if (threshold == 0) return false;
        state_ ^= state_ >> 12;
        state_ ^= state_ << 25;
        state_ ^= state_ >> 27;
        return uint32_t((state_ * 0x2545F4914F6CDD1DULL) >> 32) < threshold;
    }

  private:
    uint64_t state_ = 1;
};

// A stream into the engine, from records of equal length.
struct Source {
    const uint8_t* records = nullptr;
    uint64_t count = 0;
    uint64_t moved = 0;
    bool offered = false;

    bool complete() const { return moved == count; }

    template <class Payload>
    void drive(CData& valid, Payload& payload, size_t record_bytes, bool idle) {
        if (offered) return;
        valid = !complete() && !idle;
        if (!valid) return;
        put_bytes(payload, records + moved * record_bytes, record_bytes);
        offered = true;
    }
    // What was taken is withdrawn after the rising edge, when the next cycle's inputs are driven.
    bool collect(CData ready) {
        if (!offered || !ready) return false;
        ++moved;
        offered = false;
        return true;
    }
};

// The stream of windows, gathered from a matrix of pixels: one window for each tile of pixels, of the listed words only.
struct Windows {
    const int8_t* pixels = nullptr;  // [tiles x COLUMNS][stride]
    uint64_t stride = 0;
    const uint32_t* words = nullptr;
    uint64_t words_per_window = 0;
    uint64_t count = 0;  // words in all
    uint64_t moved = 0;
    uint64_t tile = 0;
    uint64_t place = 0;  // in `words`
    bool offered = false;

    bool complete() const { return moved == count; }

    template <class Payload>
    void drive(CData& valid, Payload& payload, bool idle) {
        if (offered) return;
        valid = !complete() && !idle;
        if (!valid) return;
        uint8_t bytes[WINDOW_BYTES + 8] = {};
        const uint64_t word = words[place];
        const int8_t* group = pixels + tile * COLUMNS * stride + word * GROUP_SIZE;
        for (unsigned lane = 0; lane < COLUMNS; ++lane, group += stride) {
            std::memcpy(bytes + WINDOW_DATA_SHIFT / 8 + lane * GROUP_SIZE, group, GROUP_SIZE);
        }
        deposit(bytes, WINDOW_ADDRESS_SHIFT, word);
        deposit(bytes, WINDOW_LAST_SHIFT, place + 1 == words_per_window);
        put_bytes(payload, bytes, WINDOW_BYTES);
        offered = true;
    }
    bool collect(CData ready) {
        if (!offered || !ready) return false;
        ++moved;
        if (++place == words_per_window) {
            place = 0;
            ++tile;
        }
        offered = false;
        return true;
    }
};

// A stream out of the engine, into a buffer of known length.
struct Sink {
    uint8_t* records = nullptr;
    uint64_t count = 0;
    uint64_t moved = 0;
    bool overflow = false;

    bool complete() const { return moved == count; }

    template <class Payload>
    bool collect(CData valid, CData ready, const Payload& payload) {
        if (!valid || !ready) return false;
        if (complete()) {
            overflow = true;
            return true;
        }
        std::memcpy(records + moved * OUTPUT_BYTES, &payload, OUTPUT_BYTES);
        ++moved;
        return true;
    }
};

enum Status : int { RUNNING = 0, FINISHED = 1, STALLED = 2, OVERFLOWED = 3, EARLY = 4 };

class Engine {
  public:
    Source sources[NUM_SOURCES];
    Windows windows;
    Sink sinks[NUM_SINKS];
    Random random;
    uint32_t idle = 0;
    uint32_t stall = 0;
    uint64_t cycle = 0;
    uint64_t last_progress = 0;
    uint64_t done_count = 0;
    uint64_t done_cycle = 0;

    Engine() : context_(std::make_unique<VerilatedContext>()) {
        context_->threads(1);
#if VM_TRACE
        context_->traceEverOn(true);
#endif
        top_ = std::make_unique<Vtop>(context_.get(), "engine");
        reset();
    }

    ~Engine() {
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
#define CRISP_RESET_SOURCE(index, valid, ready, payload) \
    top_->valid = 0;                                     \
    sources[index] = Source();
        CRISP_SOURCES(CRISP_RESET_SOURCE)
#define CRISP_RESET_SINK(index, valid, ready, payload) \
    top_->ready = 0;                                   \
    sinks[index] = Sink();
        CRISP_SINKS(CRISP_RESET_SINK)
        top_->WINDOW_VALID = 0;
        windows = Windows();
        top_->rst = 1;
        for (int i = 0; i < 4; ++i) {
            settle();
            rise();
        }
        top_->rst = 0;
        done_count = 0;
        start();
    }

    void start() {
        last_progress = cycle;
        done_count = 0;
    }

    // Runs until all buffers are through (and the engine is done and idle, if `until_done`), nothing has moved for
    // `patience` cycles, or `max_cycles` have passed.
    Status advance(bool until_done, uint64_t max_cycles, uint64_t patience) {
        for (const uint64_t end = cycle + max_cycles; cycle < end;) {
            bool progress = false;
#define CRISP_DRIVE_SOURCE(index, valid, ready, payload) \
    sources[index].drive(top_->valid, top_->payload, SOURCE_BYTES[index], random.chance(idle));
            CRISP_SOURCES(CRISP_DRIVE_SOURCE)
            windows.drive(top_->WINDOW_VALID, top_->WINDOW_PAYLOAD, random.chance(idle));
#define CRISP_DRIVE_SINK(index, valid, ready, payload) top_->ready = !random.chance(stall);
            CRISP_SINKS(CRISP_DRIVE_SINK)
            settle();
#define CRISP_COLLECT_SOURCE(index, valid, ready, payload) progress |= sources[index].collect(top_->ready);
            CRISP_SOURCES(CRISP_COLLECT_SOURCE)
            progress |= windows.collect(top_->WINDOW_READY);
            bool overflow = false;
#define CRISP_COLLECT_SINK(index, valid, ready, payload)                           \
    progress |= sinks[index].collect(top_->valid, top_->ready, top_->payload); \
    overflow |= sinks[index].overflow;
            CRISP_SINKS(CRISP_COLLECT_SINK)
            const bool busy = top_->ENGINE_BUSY;
            const bool done = top_->ENGINE_DONE;
            if (done) {
                ++done_count;
                done_cycle = cycle;
                progress = true;
            }
            rise();
            if (progress) last_progress = cycle;
            if (overflow) return OVERFLOWED;
            if (done && !complete()) return EARLY;  // what leaves in the cycle of o_done itself has left
            if (complete() && (!until_done || (done_count && !busy))) return FINISHED;
            if (cycle - last_progress > patience) return STALLED;
        }
        return RUNNING;
    }

    // Copies an output port that belongs to no stream.
    void read(unsigned index, uint8_t* out) {
        settle();
        switch (index) {
#define CRISP_READ(index, member, bytes)            \
    case index:                                     \
        std::memcpy(out, &top_->member, bytes); \
        break;
            CRISP_READINGS(CRISP_READ)
        }
    }

    // For each source, then the windows, then each sink: valid, ready, moved, count.
    void status(uint64_t* out) {
        settle();
#define CRISP_STATUS_SOURCE(index, valid, ready, payload) \
    write_status(out, top_->valid, top_->ready, sources[index].moved, sources[index].count);
        CRISP_SOURCES(CRISP_STATUS_SOURCE)
        write_status(out, top_->WINDOW_VALID, top_->WINDOW_READY, windows.moved, windows.count);
#define CRISP_STATUS_SINK(index, valid, ready, payload) \
    write_status(out, top_->valid, top_->ready, sinks[index].moved, sinks[index].count);
        CRISP_SINKS(CRISP_STATUS_SINK)
    }

  private:
    std::unique_ptr<VerilatedContext> context_;
    std::unique_ptr<Vtop> top_;
#if VM_TRACE
    std::unique_ptr<VerilatedVcdC> trace_;
#endif

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
    bool complete() const {
        if (!windows.complete()) return false;
        for (const Source& source : sources)
            if (!source.complete()) return false;
        for (const Sink& sink : sinks)
            if (!sink.complete()) return false;
        return true;
    }
    static void write_status(uint64_t*& out, bool valid, bool ready, uint64_t moved, uint64_t count) {
        *out++ = valid;
        *out++ = ready;
        *out++ = moved;
        *out++ = count;
    }
};

uint32_t threshold(double probability) { return uint32_t(probability * 4294967295.0); }

}  // namespace

extern "C" {

Engine* crisp_create() { return new Engine(); }

void crisp_destroy(Engine* engine) { delete engine; }

void crisp_reset(Engine* engine) { engine->reset(); }

int crisp_open_trace(Engine* engine, const char* path) { return engine->open_trace(path); }

void crisp_set_stalls(Engine* engine, uint64_t seed, double idle, double stall) {
    engine->random.seed(seed);
    engine->idle = threshold(idle);
    engine->stall = threshold(stall);
}

void crisp_set_source(Engine* engine, unsigned index, const uint8_t* records, uint64_t count) {
    engine->sources[index] = Source{records, count};
}

void crisp_set_windows(Engine* engine, const int8_t* pixels, uint64_t tiles, uint64_t stride, const uint32_t* words,
                       uint64_t words_per_window) {
    engine->windows = Windows{pixels, stride, words, words_per_window, tiles * words_per_window};
}

void crisp_set_sink(Engine* engine, unsigned index, uint8_t* records, uint64_t count) {
    engine->sinks[index] = Sink{records, count};
}

void crisp_start(Engine* engine) { engine->start(); }

int crisp_advance(Engine* engine, int until_done, uint64_t max_cycles, uint64_t patience) {
    return engine->advance(until_done != 0, max_cycles, patience);
}

uint64_t crisp_cycle(Engine* engine) { return engine->cycle; }

uint64_t crisp_done_count(Engine* engine) { return engine->done_count; }

uint64_t crisp_done_cycle(Engine* engine) { return engine->done_cycle; }

void crisp_read(Engine* engine, unsigned index, uint8_t* out) { engine->read(index, out); }

void crisp_status(Engine* engine, uint64_t* out) { engine->status(out); }

}  // extern "C"
